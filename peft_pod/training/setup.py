"""Puts together what a training run needs: tokenizer, item IDs, tasks, processor, model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from peft import PeftModel, get_peft_model
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from peft_pod.corpus import TrainingPart
from peft_pod.indexing import Indexing
from peft_pod.indexing.tokens import word_tokens
from peft_pod.processing import PODProcessor, add_new_tokens, train_tokenizer
from peft_pod.tasks import Field, Task
from peft_pod.tuner import PODConfig, template_texts

from .base_model import check_base_model, is_scratch, load_base_model
from .item_start import start_items

IdTokens = Literal["whole", "pieces"]
ItemStart = Literal["random", "collaborative"]

_ENCODER_LIMITS = ("max_encoder_position_embeddings", "max_position_embeddings")
_DECODER_LIMITS = ("max_decoder_position_embeddings", "max_position_embeddings")
_SMALLEST_VOCABULARY = 200
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "spiece*", "*.model", "*.spm")


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
        id_tokens: how a tokenizer that is trained writes IDs that are text: `"whole"`, one token each, or `"pieces"`,
            pairs of digits. A base's own tokenizer writes them in its own pieces. IDs of new tokens are written with
            these, which any tokenizer is given.

    Raises:
        FileNotFoundError: the base has no tokenizer, or see `check_base_model`.
        ValueError: `id_tokens` is neither, `vocabulary_size` is too small, or see `check_base_model`.
    """
    if id_tokens not in get_args(IdTokens):
        raise ValueError(f"id_tokens must be one of {list(get_args(IdTokens))}, got {id_tokens!r}")
    check_base_model(base_model)
    if not is_scratch(base_model):
        tokenizer = _load_tokenizer(base_model)
        add_new_tokens(tokenizer, indexing.tokens())
        return tokenizer
    if vocabulary_size < _SMALLEST_VOCABULARY:
        raise ValueError(f"vocabulary_size must be at least {_SMALLEST_VOCABULARY}, got {vocabulary_size}")
    templates = [
        " ".join(part for part in template.parts if not isinstance(part, Field))
        for task in tasks
        for template in (*task.templates, task.bare)
    ]
    sentences = [explanation.text for explanation in train.explanations]
    token_words: list[str] = []
    words: list[str] = []
    for word in (*indexing.item_words, *indexing.user_words):
        (token_words if word_tokens(word) else words).append(word)
    if id_tokens == "whole":
        texts = [*templates, *sentences]
        return train_tokenizer(texts, vocabulary_size, whole_words=words, token_words=token_words)
    return train_tokenizer([*templates, *sentences, *words], vocabulary_size, token_words=token_words)


def _load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    folder = Path(base_model)
    # From a folder without any of its files, transformers would make a tokenizer that knows no words.
    if folder.is_dir() and not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        raise FileNotFoundError(
            f"base model {base_model!r} is a folder without a tokenizer; save it there by tokenizer.save_pretrained"
        )
    try:
        return AutoTokenizer.from_pretrained(base_model)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"the tokenizer of base model {base_model!r} cannot be loaded: {error}") from error


def build_model(
    base_model: str,
    processor: PODProcessor,
    *,
    train: TrainingPart | None = None,
    item_start: ItemStart = "random",
    seed: int = 0,
    dropout: float = 0.1,
    **pod: Any,
) -> PeftModel:
    """Load or make the base and put a POD adapter for the processor's tasks on it.

    Also gives the processor the longest input that the base takes with its prompts in front, and the longest answer.

    Args:
        base_model: see `load_base_model`.
        processor: its tokenizer and tasks are the model's.
        train: the training part, which collaborative vectors are made from.
        item_start: where the embeddings of items start: `"random"`, or from the `"collaborative"` vectors of `train`,
            which needs IDs of one token each or of new tokens.
        seed: of the random weights.
        dropout: of a base from scratch.
        **pod: further arguments of `PODConfig`. With `prompt_init="text"`, prompts start from the words of the tasks'
            templates unless texts or tokens are given. Where the base is frozen and IDs have new tokens, the rows of
            these are trained beside the adapter (`trainable_token_indices`), unless it is said what is.

    Raises:
        ValueError: `item_start` is none of those, lacks `train`, or would change rows of a frozen base that are not
            saved; the base has no positions left for an input beside the prompts, or is frozen and has output
            embeddings of its own, in which new tokens would have to be learned too; see also `load_base_model`,
            `start_items` and `PODConfig`.
    """
    if item_start not in get_args(ItemStart):
        raise ValueError(f"item_start must be one of {list(get_args(ItemStart))}, got {item_start!r}")
    if pod.get("prompt_init") == "text" and not {"prompt_init_text", "prompt_init_token_ids"} & pod.keys():
        texts = template_texts(processor.tasks)
        tokens = [processor.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        pod = {**pod, "prompt_init_token_ids": tokens}
    if not is_scratch(base_model):
        pod = _with_trained_tokens(pod, processor)
    config = PODConfig(tasks=processor.task_names, init_seed=seed, **pod)
    trained_rows = config.trainable_token_indices is not None
    add_tokens = config.train_base or trained_rows
    base = load_base_model(base_model, processor.tokenizer, seed=seed, dropout=dropout, add_tokens=add_tokens)
    if trained_rows and isinstance(config.trainable_token_indices, list) and not _shares_embeddings(base):
        raise ValueError(
            f"base model {base_model!r} has output embeddings of its own, so a frozen one cannot learn to answer with "
            'new tokens: train all of it (train_base=True), or write IDs as text (form="text", or another indexing)'
        )
    if item_start != "random":
        if train is None:
            raise ValueError(f"item_start={item_start!r} makes vectors of the training part and needs train=")
        vectors = processor.indexing.start_vectors(train, base.get_input_embeddings().embedding_dim)
        start_items(base, processor, vectors)
        saved = is_scratch(base_model) or config.train_base or trained_rows or config.modules_to_save
        if not saved:
            raise ValueError(
                f"item_start={item_start!r} changes embeddings of base model {base_model!r}, which is frozen, so they "
                "would not be saved with the adapter: train all of it (train_base=True), train the rows of the IDs "
                '(trainable_token_indices), or leave item_start="random"'
            )
    limit = longest_input(base)
    if limit is not None and processor.max_input_length is None:
        if limit - config.num_virtual_tokens < 2:
            raise ValueError(
                f"num_virtual_tokens is {config.num_virtual_tokens}, but base model {base_model!r} has {limit} "
                "positions for prompts and input together: use fewer"
            )
        processor.max_input_length = limit - config.num_virtual_tokens
    longest_answer = _first_limit(base, _DECODER_LIMITS)
    if longest_answer is not None:
        processor.max_target_length = min(processor.max_target_length, longest_answer)
    return get_peft_model(base, config)


def _with_trained_tokens(pod: dict[str, Any], processor: PODProcessor) -> dict[str, Any]:
    """Arguments of the configuration, with rows to train where the base is frozen and does not know tokens of IDs."""
    tokens = processor.new_token_ids()
    chosen = {"trainable_token_indices", "modules_to_save"} & pod.keys()
    if pod.get("train_base") or chosen or not tokens:
        return pod
    return {**pod, "trainable_token_indices": tokens}


def _shares_embeddings(base: PreTrainedModel) -> bool:
    outputs = base.get_output_embeddings()
    return outputs is None or outputs.weight is base.get_input_embeddings().weight


def longest_input(base: PreTrainedModel) -> int | None:
    """How many positions the encoder has; `None` where positions are relative and have no end, as in T5."""
    return _first_limit(base, _ENCODER_LIMITS)


def _first_limit(base: PreTrainedModel, names: Sequence[str]) -> int | None:
    limits = [getattr(base.config, name, None) for name in names]
    return next((limit for limit in limits if isinstance(limit, int)), None)
