"""Samples as torch datasets: drawn anew every time for training, fixed for evaluation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from peft_pod.corpus import Part, Split, TrainingPart
from peft_pod.tasks import HISTORY, Sample

from .collator import BARE, BARE_COLUMNS
from .processor import PODProcessor
from .sampler import SampleKey


class TrainingSamples(Dataset[dict[str, Any]]):
    """Training samples of all tasks, encoded when asked for.

    What is drawn for a sample (segment, template, negatives) follows from the seed and the sample's key alone, so it
    does not matter which process or worker asks, or whether training was interrupted.

    Args:
        train: the training part.
        processor: holds the tasks and encodes the samples.
        seed: of everything that is drawn.
        history_dropout: the share of the items of histories that are left out at random, against learning histories by
            heart; from 0 (none) to below 1. At least one item of each history stays.

    Raises:
        ValueError: the corpus has no samples for one of the tasks, or the share is none.
    """

    def __init__(
        self, train: TrainingPart, processor: PODProcessor, *, seed: int = 0, history_dropout: float = 0.0
    ) -> None:
        if not 0 <= history_dropout < 1:
            raise ValueError(f"history_dropout must be a share from 0 to below 1, got {history_dropout}")
        self.train = train
        self.processor = processor
        self.seed = seed
        self.history_dropout = history_dropout
        self.bare_too = False
        self.sizes = [task.training_size(train) for task in processor.tasks]
        for task, size in zip(processor.tasks, self.sizes, strict=True):
            if size == 0:
                raise ValueError(
                    f"the corpus has no training samples for the task {task.name!r}"
                    f"{'; it has no explanations' if task.target == 'text' else ''}. Leave the task out"
                )

    def __len__(self) -> int:
        return sum(self.sizes)

    def sample(self, key: SampleKey) -> Sample:
        """Draw the sample of a key."""
        rng = np.random.default_rng((self.seed, key.round, key.task, key.index))
        sample = self.processor.tasks[key.task].training_sample(self.train, key.index, rng)
        history = sample.items.get(HISTORY, ())
        if self.history_dropout == 0 or len(history) == 0:
            return sample
        return replace(sample, items={**sample.items, HISTORY: thinned(history, self.history_dropout, rng)})

    def with_bare_questions(self) -> TrainingSamples:
        """The same samples, each of them encoded by the task's bare template too: `bare_input_ids` and so on."""
        samples = copy.copy(self)
        samples.bare_too = True
        return samples

    def length(self, key: SampleKey) -> tuple[int, ...]:
        """How long the sample of a key is, without encoding it: IDs, letters of a written answer, template words."""
        sample = self.sample(key)
        ids = sum(len(items) for items in sample.items.values())
        return ids, len(sample.target_text or ""), len(sample.template.parts)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        task, sample = self.processor.tasks[key.task], self.sample(key)
        encoded = self.processor(sample, task.name)
        if self.bare_too:
            bare = self.processor(replace(sample, template=task.bare, target_item=None, target_text=None), task.name)
            encoded.update({name: bare[name.removeprefix(BARE)] for name in BARE_COLUMNS})
        return encoded


class EvaluationSamples(Dataset[dict[str, Any]]):
    """Samples of one task that are the same every time, encoded when asked for.

    Args:
        samples: the samples.
        processor: encodes them.
        task: name of their task.
    """

    def __init__(self, samples: Sequence[Sample], processor: PODProcessor, task: str) -> None:
        self.samples = samples
        self.processor = processor
        self.task = task

    @classmethod
    def of_part(
        cls, split: Split, part: Part, processor: PODProcessor, *, seed: int = 0, limit: int | None = None
    ) -> dict[str, EvaluationSamples]:
        """The validation or test samples of every task, by its name.

        Args:
            split: the split corpus.
            part: `"validation"` or `"test"`.
            processor: holds the tasks.
            seed: of the candidates.
            limit: at most so many of each task, drawn from the seed.
        """
        by_task = {}
        for task in processor.tasks:
            samples = limited(task.evaluation_samples(split, part, seed), limit, seed)
            if samples:
                by_task[task.name] = cls(samples, processor, task.name)
        return by_task

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.processor(self.samples[index], self.task)


def thinned(items: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """The items without a share of them, left out at random; one of them where all would be.

    Args:
        items: at least one.
        share: how likely each is left out.
        rng: draws.

    Example:
        >>> thinned([4, 7, 1, 3], 0.5, np.random.default_rng(0))
        [4]
    """
    draws = rng.random(len(items))
    kept = np.flatnonzero(draws >= share).tolist()
    return [items[place] for place in kept or [int(draws.argmax())]]


def limited(samples: Sequence[Sample], limit: int | None, seed: int) -> Sequence[Sample]:
    """At most `limit` of the samples, drawn from the seed, in their order; all of them for `None`."""
    if limit is None or len(samples) <= limit:
        return samples
    kept = np.sort(np.random.default_rng(seed).choice(len(samples), size=limit, replace=False))
    return [samples[position] for position in kept]
