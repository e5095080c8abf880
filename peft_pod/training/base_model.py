"""The base model: from the Hub, from a folder, or from scratch."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    set_seed,
)

SCRATCH = "scratch:"


@dataclass(frozen=True)
class ScratchSize:
    """Shape of a T5 that is trained from random weights; names as in `T5Config`."""

    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int


SCRATCH_SIZES = {
    "tiny": ScratchSize(d_model=64, d_kv=16, d_ff=256, num_layers=2, num_heads=4),
    "mini": ScratchSize(d_model=128, d_kv=32, d_ff=512, num_layers=2, num_heads=4),
    "lean": ScratchSize(d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4),
    "medium": ScratchSize(d_model=256, d_kv=32, d_ff=1024, num_layers=3, num_heads=8),
    "small": ScratchSize(d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8),
}
"""Sizes of `scratch:<size>`; `small` has the shape of t5-small."""


def is_scratch(name: str) -> bool:
    """Whether a base is to be made from random weights."""
    return name.startswith(SCRATCH)


def check_base_model(name: str) -> None:
    """Check that a base can be used, without loading its weights.

    Args:
        name: see `load_base_model`.

    Raises:
        FileNotFoundError: there is no such folder, and no such repository can be reached on the Hub.
        ValueError: the size of a base from scratch is unknown, the configuration cannot be read, or the base is not an
            encoder-decoder.
    """
    if is_scratch(name):
        size = name.removeprefix(SCRATCH)
        if size not in SCRATCH_SIZES:
            raise ValueError(f"unknown size {size!r} in base model {name!r}; sizes are {list(SCRATCH_SIZES)}")
        return
    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, "config.json")):
        raise FileNotFoundError(f"base model {name!r} is a folder without a config.json: it holds no model")
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"base model {name!r} is neither a folder that exists nor a model that can be loaded from the Hub: {error}"
        ) from error
    if not config.is_encoder_decoder:
        raise ValueError(
            f"base model {name!r} is a {config.model_type!r} model, not an encoder-decoder; try T5 or BART"
        )


def load_base_model(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    dropout: float = 0.1,
    add_tokens: bool = True,
    **kwargs: Any,
) -> PreTrainedModel:
    """Load a base model, or make one.

    Args:
        name: id on the Hub (`google-t5/t5-small`), a folder, or `scratch:<size>` with a size of `SCRATCH_SIZES`.
        tokenizer: the tokenizer the model will be used with; a base from scratch gets its vocabulary, another base is
            given rows for tokens it lacks.
        seed: of the random weights.
        dropout: of a base from scratch.
        add_tokens: whether rows may be added: where all of the base is trained, or these rows, they are saved too.
        **kwargs: passed on to `AutoModelForSeq2SeqLM.from_pretrained`.

    Raises:
        FileNotFoundError: see `check_base_model`.
        ValueError: likewise; or rows are missing and may not be added.

    Example:
        >>> from peft_pod.processing import train_tokenizer
        >>> model = load_base_model("scratch:tiny", train_tokenizer(["a few words"]))
        >>> model.config.d_model
        64
    """
    check_base_model(name)
    if is_scratch(name):
        set_seed(seed)
        size = SCRATCH_SIZES[name.removeprefix(SCRATCH)]
        base = AutoModelForSeq2SeqLM.from_config(_scratch_config(size, tokenizer, dropout))
        with torch.no_grad():
            # T5 starts its embeddings with a deviation of 1 and scales the decoder's output down instead. Without that
            # scale, this is the deviation at which the first predictions are near uniform.
            base.get_input_embeddings().weight.mul_(base.config.d_model**-0.5)
        return base
    model = AutoModelForSeq2SeqLM.from_pretrained(name, **kwargs)
    if fit_embeddings(model, tokenizer) and not add_tokens:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, more than base model {name!r} has embeddings for: the rows it "
            "lacks would start at random and be neither trained nor saved. Train all of the base (train_base=True), "
            "train these rows (trainable_token_indices), or use a base that fits its tokenizer"
        )
    return model


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give a base rows for tokens of its tokenizer that it lacks; returns whether it lacked any.

    Each number of a new row is drawn from a normal distribution with the mean and the deviation that the others have in
    that place, always the same ones. So new tokens differ from each other and are as long as others.
    """
    before = model.get_input_embeddings().num_embeddings
    if len(tokenizer) <= before:
        return False
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings, outputs = model.get_input_embeddings().weight, model.get_output_embeddings()
    _start_rows(embeddings, before)
    if outputs is not None and outputs.weight is not embeddings:
        _start_rows(outputs.weight, before)
    return True


@torch.no_grad()
def _start_rows(weight: torch.Tensor, start: int) -> None:
    known = weight[:start].float()
    drawn = torch.randn(len(weight) - start, weight.shape[1], generator=torch.Generator().manual_seed(0))
    weight[start:] = (known.mean(0) + known.std(0) * drawn.to(known.device)).to(weight)


def _scratch_config(size: ScratchSize, tokenizer: PreTrainedTokenizerBase, dropout: float) -> T5Config:
    return T5Config(
        **asdict(size),
        vocab_size=len(tokenizer),
        dropout_rate=dropout,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        # As in T5 1.1. Said by this name and not by `tie_word_embeddings=False`, which `config.json` does not keep.
        scale_decoder_outputs=False,
        # The largest distance that relative positions tell apart; a candidate list of 100 IDs is longer than T5's 128.
        relative_attention_max_distance=512,
    )
