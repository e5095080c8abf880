"""Puts together what a training run needs: tokenizer, item IDs, tasks, processor, model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from peft import PeftModel, get_peft_model
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from peft_pod.corpus import TrainingPart
from peft_pod.indexing import Indexing, collaborative_vectors
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.tasks import Field, Task
from peft_pod.tuner import PODConfig

from .base_model import is_scratch, load_base_model
from .id_start import start_ids

IdTokens = Literal["whole", "pieces"]

_POSITION_LIMITS = ("max_encoder_position_embeddings", "max_position_embeddings")


def build_tokenizer(
    base_model: str,
    train: TrainingPart,
    indexing: Indexing,
    tasks: Sequence[Task],
    *,
    vocabulary_size: int = 4000,
    id_tokens: IdTokens = "whole",
) -> PreTrainedTokenizerBase:
    """The base's tokenizer, or for a base from scratch one trained on the training part.

    Args:
        base_model: see `load_base_model`.
        train: its sentences are learned from.
        indexing: its words are learned from.
        tasks: their templates are learned from.
        vocabulary_size: the most tokens of a tokenizer that is trained, besides whole IDs.
        id_tokens: how a tokenizer that is trained writes IDs: `"whole"`, one token each, or `"pieces"`, pairs of
            digits. A base's own tokenizer writes them in its own pieces.

    Raises:
        ValueError: `id_tokens` is neither.
    """
    if id_tokens not in get_args(IdTokens):
        raise ValueError(f"id_tokens must be one of {list(get_args(IdTokens))}, got {id_tokens!r}")
    if not is_scratch(base_model):
        return AutoTokenizer.from_pretrained(base_model)
    templates = [
        " ".join(part for part in template.parts if not isinstance(part, Field))
        for task in tasks
        for template in (*task.templates, task.bare)
    ]
    sentences = [explanation.text for explanation in train.explanations]
    words = [*indexing.item_words, *indexing.user_words]
    if id_tokens == "whole":
        return train_tokenizer([*templates, *sentences], vocabulary_size, whole_words=words)
    return train_tokenizer([*templates, *sentences, *words], vocabulary_size)


def build_model(
    base_model: str,
    processor: PODProcessor,
    *,
    train: TrainingPart | None = None,
    seed: int = 0,
    dropout: float = 0.1,
    **pod: Any,
) -> PeftModel:
    """Load or make the base and put a POD adapter for the processor's tasks on it.

    Also gives the processor the longest input that the base takes with its prompts in front.

    Args:
        base_model: see `load_base_model`.
        processor: its tokenizer and tasks are the model's.
        train: where given, the embeddings of IDs start from `collaborative_vectors` of this training part, which
            needs IDs of one token each; at random where it is left out.
        seed: of the random weights.
        dropout: of a base from scratch.
        **pod: further arguments of `PODConfig`.
    """
    base = load_base_model(base_model, processor.tokenizer, seed=seed, dropout=dropout)
    if train is not None:
        start_ids(base, processor, collaborative_vectors(train, base.get_input_embeddings().embedding_dim))
    config = PODConfig(tasks=processor.task_names, init_seed=seed, **pod)
    limit = longest_input(base)
    if limit is not None and processor.max_input_length is None:
        processor.max_input_length = limit - config.num_virtual_tokens
    return get_peft_model(base, config)


def longest_input(base: PreTrainedModel) -> int | None:
    """How many positions the encoder has; `None` where positions are relative and have no end, as in T5."""
    limits = [getattr(base.config, name, None) for name in _POSITION_LIMITS]
    return next((limit for limit in limits if isinstance(limit, int)), None)
