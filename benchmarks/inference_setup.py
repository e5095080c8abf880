"""What both sides of `benchmarks.inference` answer: trained models and batches of real questions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel

from peft_pod.corpus import load_corpus
from peft_pod.corpus.split import Split
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODCollator, PODProcessor, TrainingSamples, train_tokenizer
from peft_pod.tasks import Sample, load_task
from peft_pod.training import PODTrainer, PODTrainingArguments

from .training_setup import trained_whole

ROWS = ("sequential", "topn", "topn_trie", "explanation")
USERS_A_BATCH = {"sequential": 32, "topn": 8, "topn_trie": 32, "explanation": 16}


@dataclass
class Asked:
    """Questions of one kind, and the model that answers them.

    Attributes:
        task: its name.
        model: trained.
        processor: encodes the questions.
        samples: the questions.
        users_a_batch: how many are answered together.
    """

    task: str
    model: PeftModel
    processor: PODProcessor
    samples: Sequence[Sample]
    users_a_batch: int

    def batches(self, size: int | None = None) -> Iterator[tuple[dict[str, torch.Tensor], list[Sample]]]:
        """Batches of similar length, and their samples."""
        size = self.users_a_batch if size is None else size
        encoded = sorted(
            ((self.processor(sample, self.task), sample) for sample in self.samples),
            key=lambda pair: len(pair[0]["input_ids"]),
        )
        collate = PODCollator(self.processor.tokenizer.pad_token_id)
        for start in range(0, len(encoded), size):
            part = encoded[start : start + size]
            features = [{name: value for name, value in pair[0].items() if name != "labels"} for pair in part]
            yield collate(features), [pair[1] for pair in part]


def questions(
    rows: Sequence[str],
    *,
    data_dir: str | None,
    reviews_dir: str | None,
    users: int,
    train_steps: int,
    text_train_steps: int,
) -> Iterator[tuple[str, Asked]]:
    """Each kind of question in turn.

    Args:
        rows: their names, of `ROWS`.
        data_dir: with the files of Amazon Beauty (2014); `None`: the embedded corpus.
        reviews_dir: with the reviews of Musical Instruments (2014); `None`: the embedded corpus.
        users: how many questions of each kind.
        train_steps: of the model that finds items.
        text_train_steps: of the one that explains.
    """
    items = [row for row in rows if row != "explanation"]
    if items:
        name = "amazon-2014/beauty" if data_dir else "embedded"
        split = load_corpus(name, data_dir=data_dir).split()
        tokenizer = train_tokenizer(["item user _"] * 99, 500)
        indexing = load_indexing("random").fit(split.train, seed=0)
        processor = PODProcessor(tokenizer, indexing, [load_task("sequential"), load_task("topn")])
        model = trained(processor, split, train_steps)
        # The model has not learned to do without candidates in its input, which changes no time.
        bare = PODProcessor(tokenizer, indexing, [load_task("sequential"), load_task("topn", candidates_in="trie")])
        for row in items:
            task, used = row.removesuffix("_trie"), bare if row == "topn_trie" else processor
            samples = used.task(task).evaluation_samples(split, "validation", 0)[:users]
            yield row, Asked(task, model, used, samples, USERS_A_BATCH[row])
    if "explanation" in rows:
        corpus = (
            load_corpus("amazon-2014", data_dir=reviews_dir).with_explanations()
            if reviews_dir
            else load_corpus("embedded")
        )
        split = corpus.split()
        texts = [explanation.text for explanation in split.train.explanations]
        tokenizer = train_tokenizer([*texts, *["item user _"] * 99], 4000)
        indexing = load_indexing("random").fit(split.train, seed=0)
        processor = PODProcessor(tokenizer, indexing, [load_task("explanation")])
        model = trained(processor, split, text_train_steps)
        samples = processor.task("explanation").evaluation_samples(split, "validation", 0)[:users]
        yield "explanation", Asked("explanation", model, processor, samples, USERS_A_BATCH["explanation"])


def trained(processor: PODProcessor, split: Split, steps: int) -> PeftModel:
    """A T5 of t5-small's shape, trained for some steps so that users get different answers."""
    model = trained_whole("small", processor)
    if not steps:
        return model.eval()
    with tempfile.TemporaryDirectory() as folder:
        arguments = PODTrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=16,
            learning_rate=5e-4,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            use_cpu=True,
            report_to=["none"],
        )
        samples = TrainingSamples(split.train, processor, seed=0)
        PODTrainer(model, arguments, processor=processor, train_dataset=samples).train()
    return model.eval()


def listed(samples: Sequence[Sample]) -> list[Any] | None:
    """The candidates of each sample; `None` where the whole catalogue may be found."""
    return None if samples[0].candidates is None else [sample.candidates for sample in samples]
