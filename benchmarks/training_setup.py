"""What both sides of `benchmarks.training` train: corpus, tokenizer, tasks and model, the same in every process."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import T5Config, T5ForConditionalGeneration, set_seed

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, TrainingSamples, train_tokenizer
from peft_pod.tasks import load_task
from peft_pod.training import build_model

TASKS = ("sequential", "topn", "explanation")
VOCABULARY = 32_128
SHAPES = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
PROMPTS = 10
MOST = 70
HISTORIES: dict[str, Any] = {"min_history": 30, "max_history": MOST}
LEARNING_RATE = 5e-4


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        shape: of the model, in `SHAPES`.
        batches: batches of each task in an epoch; the corpus has as many users as fill them.
        threads: of PyTorch.
        device: `"cpu"` or `"cuda"`.
        segments: of the sequential task.
        dropout: of the model.
        batch_size: samples of a batch.
        seed: of everything that is drawn.
    """

    shape: str
    batches: int
    threads: int
    device: str
    segments: str = "random"
    dropout: float = 0.1
    batch_size: int = 16
    seed: int = 0

    def without_dropout(self) -> Setting:
        """The same without dropout."""
        return replace(self, dropout=0.0)


class Material:
    """Corpus, processor and model of a setting.

    The embedded corpus has histories and sentences. IDs are numbered as the original's are and written in four tokens,
    about as t5-small's tokenizer writes them (`item`, `_`, and two pieces of digits). The model has t5-small's 32,128
    tokens; that the tokenizer uses few of them changes no time.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        users = setting.batches * setting.batch_size
        # Fewer sentences than users, so that an epoch has `batches` batches of each task.
        self.split = load_corpus("embedded", num_users=users, review_probability=0.8 / MOST, **HISTORIES).split()
        tasks = [load_task("sequential", segments=setting.segments), load_task("topn"), load_task("explanation")]
        indexing = load_indexing("sequential").fit(self.split.train, seed=setting.seed)
        texts = [explanation.text for explanation in self.split.train.explanations]
        # "item" and "_" stay apart, since no text has them together.
        tokenizer = train_tokenizer([*texts, *["item user _"] * 99], 500)
        self.processor = PODProcessor(tokenizer, indexing, tasks)
        self.samples = TrainingSamples(self.split.train, self.processor, seed=setting.seed)

    @cached_property
    def model(self) -> PeftModel:
        """A T5 with random weights, the same ones each time, trained whole."""
        setting = self.setting
        model = trained_whole(setting.shape, self.processor, seed=setting.seed, dropout=setting.dropout)
        return model.to(self.setting.device)


def trained_whole(shape: str, processor: PODProcessor, *, seed: int = 0, dropout: float = 0.1) -> PeftModel:
    """A T5 with random weights, the same ones each time, and an adapter that trains the base too.

    Args:
        shape: in `SHAPES`.
        processor: its tokenizer has at most t5-small's 32,128 tokens, which the model has.
        seed: of the weights.
        dropout: of the base.
    """
    set_seed(seed)
    tokenizer = processor.tokenizer
    config = T5Config(
        **SHAPES[shape],
        vocab_size=VOCABULARY,
        dropout_rate=dropout,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return build_model(str(Path(folder)), processor, seed=seed, num_virtual_tokens=PROMPTS, train_base=True)
