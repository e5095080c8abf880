"""Prompts and whole-word embeddings of several adapters put together into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import torch

from .config import PromptDistillationConfig
from .layer import PromptLayer

COMBINATION_TYPES = ("linear", "cat")


def check_combinable(
    configs: Mapping[str, PromptDistillationConfig], adapters: Sequence[str], weights: Sequence[float], kind: str
) -> None:
    """Check that adapters can be put together.

    Args:
        configs: the configurations of a model's adapters.
        adapters: those to put together.
        weights: a weight for each.
        kind: `"linear"` or `"cat"`.

    Raises:
        ValueError: an adapter is unknown, or they differ in what must be the same; the message says in what.
    """
    if kind not in COMBINATION_TYPES:
        raise ValueError(f"combination_type must be one of {list(COMBINATION_TYPES)} for POD, got {kind!r}")
    for field, given in (("adapters", adapters), ("weights", weights)):
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError(f"{field} must be a list, got {given!r}")
    if not adapters or len(adapters) != len(weights):
        raise ValueError(f"give one weight an adapter, and at least one: got {list(adapters)} and {list(weights)}")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
            raise ValueError(f"weights must be finite numbers, got {weight!r} in {list(weights)}")
    for name in adapters:
        if name not in configs:
            raise ValueError(f"there is no adapter {name!r}; this model has {list(configs)}")
        for field in ("modules_to_save", "trainable_token_indices"):
            if getattr(configs[name], field):
                raise ValueError(
                    f"adapter {name!r} has {field}: modules and tokens that were trained can't be combined"
                )
    must_agree = ["tasks", "num_tasks", "whole_word_embedding", "max_whole_words", "uses_lora"]
    if kind == "linear":
        must_agree.append("num_virtual_tokens")
    first = configs[adapters[0]]
    for name in adapters[1:]:
        for field in must_agree:
            here, there = getattr(first, field), getattr(configs[name], field)
            if here != there:
                raise ValueError(
                    f"adapters {adapters[0]!r} and {name!r} cannot be combined by {kind!r}: {field} is {here!r} in the "
                    f"one and {there!r} in the other"
                )


@torch.no_grad()
def combine(
    layer: PromptLayer, adapters: Sequence[str], weights: Sequence[float], kind: str
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """The weighted sum of adapters' prompts (`"linear"`), or their weighted prompts side by side (`"cat"`).

    Whole-word embeddings are added to tokens, so both kinds take their weighted sum, as `"cat"` of LoRA comes to the
    weighted sum of what the adapters add.

    Args:
        layer: the prompts of the model's adapters.
        adapters: names of those to put together.
        weights: a weight for each.
        kind: `"linear"` or `"cat"`.

    Returns:
        Prompts by task, `(num_virtual_tokens, hidden)` each, and the whole-word table, `None` where there is none.
    """
    prompts = {}
    with_prompts = [
        (layer.task_prompts(name), weight)
        for name, weight in zip(adapters, weights, strict=True)
        if layer.task_prompts(name)
    ]
    for key in with_prompts[0][0] if with_prompts else ():
        rows = [weight * tasks[key] for tasks, weight in with_prompts]
        prompts[key] = torch.cat(rows) if kind == "cat" else torch.stack(rows).sum(0)
    if adapters[0] not in layer.pod_whole_words:
        return prompts, None
    tables = [weight * layer.pod_whole_words[name] for name, weight in zip(adapters, weights, strict=True)]
    return prompts, torch.stack(tables).sum(0)
