"""Runs of the console script in this process, small enough to take a second."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)

from peft_pod.commands import main
from peft_pod.processing import train_tokenizer
from peft_pod.tasks import ExplanationTask, SequentialTask

SMALL = {
    "recipe": "none",
    "corpus_options": ["num_users=40", "num_items=60"],
    "base_model": "scratch:tiny",
    "vocabulary_size": 400,
    "max_steps": 6,
    "per_device_train_batch_size": 8,
    "logging_steps": 1,
    "learning_rate": 0.00002,
    "item_beams": 4,
    "text_beams": 2,
    "evaluation_limit": 7,
    "disable_tqdm": True,
}


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def call(*arguments: object) -> Done:
    """Run `peft-pod ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # --help ends the process itself
            status = stop.code
    return Done(status, out.getvalue(), err.getvalue())


def small(**changes: object) -> dict[str, object]:
    """The options of a small run, some changed; `None` leaves one out."""
    return {name: value for name, value in {**SMALL, **changes}.items() if value is not None}


def flags(options: dict[str, object]) -> list[str]:
    found = []
    for name, value in options.items():
        found += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return found


def train(options: dict[str, object], folder: Path, *more: object) -> Done:
    return call("train", *flags(options), "--output_dir", folder, *more)


def read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tokenizer_of_pieces() -> PreTrainedTokenizerBase:
    """One that was not made for the corpus, as that of a base model is not: IDs are several tokens each."""
    templates = [template.text for task in (SequentialTask, ExplanationTask) for template in task.templates]
    return train_tokenizer(["user_12 item_34", *templates] * 9, 600)


def save_t5(folder: Path, width: int = 16) -> Path:
    """A T5 with random weights and its tokenizer, as a base model from elsewhere."""
    tokenizer = tokenizer_of_pieces()
    set_seed(1)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_bart(folder: Path, positions: int) -> Path:
    """A BART with so many positions and its tokenizer."""
    tokenizer = tokenizer_of_pieces()
    set_seed(1)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=positions,
        pad_token_id=0, bos_token_id=None, eos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=1,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
