"""How much of a model's attention falls on its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peft_pod.processing import PODCollator, PODProcessor
from peft_pod.processing.collator import IGNORED_LABEL
from peft_pod.tasks import Sample
from peft_pod.training.attention import base_of, using_attention

_TOLERANCE = 0.02
"""By so much the weights of a query may miss 1: half precision rounds each of them."""

FROM_TOKENS, FROM_PROMPTS, FROM_ANSWER = "encoder_from_tokens", "encoder_from_prompts", "decoder"
PLACES = (FROM_TOKENS, FROM_PROMPTS, FROM_ANSWER)
"""Who attends: the tokens of the question and the prompts in the encoder, and the answer in the decoder's
cross-attention."""


class AttentionUnreadableError(ValueError):
    """An architecture gives no attention weights over the whole input."""


@dataclass(frozen=True)
class PromptAttention:
    """The share of attention that falls on the prompts, mean over questions, of each question over its queries.

    Attributes:
        questions: how many.
        uniform: the share if every position got the same attention: k prompts of k + n positions, mean over questions.
        heads: for each of `PLACES` the share by layer and head; shape `(layers, heads)`.
    """

    questions: int
    uniform: float
    heads: dict[str, np.ndarray]

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON: by layer the mean over heads, and the share of each head."""
        places = {
            place: {"layers": shares.mean(axis=1).tolist(), "heads": shares.tolist()}
            for place, shares in self.heads.items()
        }
        return {"questions": self.questions, "uniform": self.uniform, **places}


def prompt_attention(
    model: Any, processor: PODProcessor, samples: Sequence[Sample], task: str, *, batch_size: int = 8
) -> PromptAttention:
    """Measure the share of attention that falls on the prompts, on questions with their right answers.

    The model runs as in training, without dropout, and gives its own attention weights, for which it uses eager
    attention meanwhile. Padding neither attends nor is counted.

    Args:
        model: a PEFT model with a POD adapter, in evaluation mode.
        processor: encodes the questions.
        samples: the questions, with answers, all of one task.
        task: its name.
        batch_size: so many questions at once; attention weights are large.

    Raises:
        ValueError: there are no prompts, no questions or no answers, or the model is in training mode.
        AttentionUnreadableError: its architecture gives no attention weights over the whole input.
    """
    num_prompts = model.peft_config[model.active_adapter].num_virtual_tokens
    if not num_prompts:
        raise ValueError("the model has no prompts on which attention could fall: its num_virtual_tokens is 0")
    if not samples:
        raise ValueError(f"there are no questions of the task {task!r} whose attention could be read")
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes attention; call model.eval() first")
    encoded = [processor(sample, task) for sample in samples]
    if any("labels" not in features for features in encoded):
        raise ValueError(f"a question of the task {task!r} has no answer, which the decoder would read")
    # Questions of one length stand together, so that little is padded.
    encoded.sort(key=lambda features: len(features["input_ids"]))
    collate, device = PODCollator(processor.tokenizer.pad_token_id), next(model.parameters()).device
    sums: dict[str, np.ndarray] = {}
    uniform = 0.0
    base = base_of(model)
    with using_attention(base, "eager" if base._can_set_attn_implementation() else "auto"), torch.inference_mode():
        for start in range(0, len(encoded), batch_size):
            batch = collate(encoded[start : start + batch_size])
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            lengths = batch["attention_mask"].sum(dim=1)
            uniform += float((num_prompts / (num_prompts + lengths)).sum())
            for place, shares in attention_shares(model, batch, num_prompts).items():
                sums[place] = sums.get(place, 0) + shares.sum(dim=0).double().cpu().numpy()
    return PromptAttention(
        len(encoded), uniform / len(encoded), {place: sums[place] / len(encoded) for place in PLACES}
    )


def share_on_prompts(weights: torch.Tensor, queries: torch.Tensor, num_prompts: int) -> torch.Tensor:
    """The share of attention that falls on the first keys, mean over the queries of each row.

    Args:
        weights: of attention, shape `(batch, heads, queries, keys)`; those of a query sum to 1.
        queries: which queries count, 1 or 0, at least one a row; shape `(batch, queries)`.
        num_prompts: how many keys in front are prompts.

    Returns:
        Shape `(batch, heads)`.

    Raises:
        ValueError: the weights of a query that counts don't sum to 1.

    Example:
        >>> uniform = torch.full((1, 2, 5, 8), 1 / 8)
        >>> share_on_prompts(uniform, torch.ones(1, 5), num_prompts=3).tolist()
        [[0.375, 0.375]]
    """
    counted = queries.to(weights.device)[:, None, :].float()
    totals = weights.float().sum(dim=-1)
    wrong = ((totals - 1).abs() * counted).max().item()
    if wrong > _TOLERANCE:
        raise ValueError(f"the attention weights of a query should sum to 1 and miss it by {wrong:.3f}")
    on_prompts = weights[..., :num_prompts].float().sum(dim=-1)
    return (on_prompts * counted).sum(dim=-1) / counted.sum(dim=-1)


def attention_shares(model: Any, batch: dict[str, torch.Tensor], num_prompts: int) -> dict[str, torch.Tensor]:
    """The shares of one batch.

    Args:
        model: as for `prompt_attention`; its attention must be one that gives weights.
        batch: of encoded questions with `labels`, as `PODCollator` makes it.
        num_prompts: how many prompts stand in front.

    Returns:
        For each of `PLACES` the shares by question, layer and head; shape `(batch, layers, heads)`.

    Raises:
        AttentionUnreadableError: the architecture gives no attention weights over the whole input.
    """
    outputs = model(**batch, output_attentions=True, return_dict=True, use_cache=False)
    tokens = torch.nn.functional.pad(batch["attention_mask"], (num_prompts, 0), value=0)
    prompts = torch.zeros_like(tokens)
    prompts[:, :num_prompts] = 1
    answers = (batch["labels"] != IGNORED_LABEL).long()
    keys = tokens.shape[1]
    wanted = {
        FROM_TOKENS: ("encoder_attentions", tokens),
        FROM_PROMPTS: ("encoder_attentions", prompts),
        FROM_ANSWER: ("cross_attentions", answers),
    }
    found = {}
    for place, (name, queries) in wanted.items():
        layers = _checked(model, name, getattr(outputs, name, None), (queries.shape[1], keys))
        try:
            found[place] = torch.stack([share_on_prompts(layer, queries, num_prompts) for layer in layers], dim=1)
        except ValueError as error:
            kind = model.config.model_type
            raise AttentionUnreadableError(
                f"what a base of type {kind!r} gives as {name} are no attention weights: {error}"
            ) from error
    return found


def _checked(model: Any, name: str, layers: Any, shape: tuple[int, int]) -> Sequence[torch.Tensor]:
    kind = model.config.model_type
    if not layers or any(layer is None for layer in layers):
        raise AttentionUnreadableError(
            f"a base of type {kind!r} gives no {name}, so what falls on the prompts cannot be read"
        )
    for layer in layers:
        found = tuple(layer.shape) if isinstance(layer, torch.Tensor) else type(layer).__name__
        if not isinstance(layer, torch.Tensor) or layer.ndim != 4 or tuple(layer.shape[2:]) != shape:
            raise AttentionUnreadableError(
                f"a base of type {kind!r} gives {name} of shape {found}, not of {shape[0]} queries over {shape[1]} "
                "keys: its attention is local, and what falls on the prompts cannot be read from it"
            )
    return layers
