"""What both sides of `benchmarks.inference` answer: trained models and batches of real questions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel

from peft_pod.commands.data import split_of_run
from peft_pod.commands.run_folder import RunFolder
from peft_pod.corpus import Corpus, load_corpus
from peft_pod.corpus.split import Split
from peft_pod.generation import Recommender
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODCollator, PODProcessor, TrainingSamples, train_tokenizer
from peft_pod.tasks import Sample, load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer

from .training_setup import trained_whole

SMALL = {"small_sequential": "sequential", "small_explanation": "explanation"}
ROWS = ("sequential", "topn", "topn_trie", "explanation", *SMALL)
RUN = "run"
USERS_A_BATCH = {"sequential": 32, "topn": 8, "topn_trie": 32, "explanation": 16} | dict.fromkeys((*SMALL, RUN), 32)


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

    def batches(
        self, size: int | None = None, *, by_length: bool = True
    ) -> Iterator[tuple[dict[str, torch.Tensor], list[Sample]]]:
        """Batches, of similar length or else in the order of the questions, and their samples."""
        size = self.users_a_batch if size is None else size
        encoded = [(self.processor(sample, self.task), sample) for sample in self.samples]
        if by_length:
            encoded.sort(key=lambda pair: len(pair[0]["input_ids"]))
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
    small_train_steps: int,
    run: str | None = None,
) -> Iterator[tuple[str, Asked]]:
    """Each kind of question in turn.

    Args:
        rows: their names, of `ROWS`.
        data_dir: with the files of Amazon Beauty (2014); `None`: the embedded corpus.
        reviews_dir: with the reviews of Musical Instruments (2014); `None`: the embedded corpus.
        users: how many questions of each kind.
        train_steps: of the model that finds items.
        text_train_steps: of the one that explains.
        small_train_steps: of each of the small ones.
        run: folder of a run of `peft-pod train`, whose model finds next items in a row `RUN` behind the others.
    """
    items = [row for row in rows if row in ("sequential", "topn", "topn_trie")]
    if items:
        split = _purchases(data_dir)
        tokenizer = train_tokenizer(["item user _"] * 99, 500)
        indexing = load_indexing("random").fit(split.train, seed=0)
        processor = PODProcessor(tokenizer, indexing, [load_task("sequential"), load_task("topn")])
        model = trained(trained_whole("small", processor), processor, split, train_steps)
        # The model has not learned to do without candidates in its input, which changes no time.
        bare = PODProcessor(tokenizer, indexing, [load_task("sequential"), load_task("topn", candidates_in="trie")])
        for row in items:
            task, used = row.removesuffix("_trie"), bare if row == "topn_trie" else processor
            samples = used.task(task).evaluation_samples(split, "validation", 0)[:users]
            yield row, Asked(task, model, used, samples, USERS_A_BATCH[row])
    if "explanation" in rows:
        split = _sentences(reviews_dir)
        texts = [explanation.text for explanation in split.train.explanations]
        tokenizer = train_tokenizer([*texts, *["item user _"] * 99], 4000)
        indexing = load_indexing("random").fit(split.train, seed=0)
        processor = PODProcessor(tokenizer, indexing, [load_task("explanation")])
        model = trained(trained_whole("small", processor), processor, split, text_train_steps)
        samples = processor.task("explanation").evaluation_samples(split, "validation", 0)[:users]
        yield "explanation", Asked("explanation", model, processor, samples, USERS_A_BATCH["explanation"])
    for row in rows:
        if row in SMALL:
            task = SMALL[row]
            split = _purchases(data_dir) if task == "sequential" else _sentences(reviews_dir)
            yield row, _small(row, split, users, small_train_steps)
    if run is not None:
        yield RUN, _of_run(run, users)


def _purchases(data_dir: str | None) -> Split:
    return load_corpus("amazon-2014/beauty" if data_dir else "embedded", data_dir=data_dir).split()


def _sentences(reviews_dir: str | None) -> Split:
    if reviews_dir is None:
        return load_corpus("embedded").split()
    return load_corpus("amazon-2014", data_dir=reviews_dir).with_explanations().split()


def _small(row: str, split: Split, users: int, steps: int) -> Asked:
    """A small model with IDs that it learns soon, so that its answers differ from user to user.

    Items are paths of clusters, which start from who took them; in explanations items and users are a token each.
    """
    task = load_task(SMALL[row], **({"segments": "prefixes"} if row == "small_sequential" else {}))
    indexing = load_indexing("collaborative" if task.target == "item" else "random").fit(split.train, seed=0)
    processor = PODProcessor(build_tokenizer("scratch:mini", split.train, indexing, [task]), indexing, [task])
    model = build_model(
        "scratch:mini", processor, train=split.train, item_start="collaborative", dropout=0.0, train_base=True
    )
    model = trained(model, processor, split, steps, batch_size=64, learning_rate=1e-3)
    samples = task.evaluation_samples(split, "validation", 0)[:users]
    return Asked(task.name, model, processor, samples, USERS_A_BATCH[row])


def _of_run(run: str, users: int) -> Asked:
    """A trained model, and the questions of its corpus' test part, whose answers are not looked at."""
    folder = RunFolder.existing(run)
    recommender = Recommender.from_pretrained(folder.model, device="cpu")
    split = split_of_run(Corpus.load_from_disk(folder.corpus), folder.corpus_arguments())
    processor = recommender.processor
    samples = processor.task("sequential").evaluation_samples(split, "test", folder.seed())[:users]
    return Asked("sequential", recommender.model, processor, samples, USERS_A_BATCH[RUN])


def trained(
    model: PeftModel,
    processor: PODProcessor,
    split: Split,
    steps: int,
    *,
    batch_size: int = 16,
    learning_rate: float = 5e-4,
) -> PeftModel:
    """A model after some steps."""
    if not steps:
        return model.eval()
    with tempfile.TemporaryDirectory() as folder:
        arguments = PODTrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
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
