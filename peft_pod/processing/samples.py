"""Samples as torch datasets: drawn anew every time for training, fixed for evaluation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from peft_pod.corpus import Part, Split, TrainingPart
from peft_pod.tasks import Sample

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

    Raises:
        ValueError: the corpus has no samples for one of the tasks.
    """

    def __init__(self, train: TrainingPart, processor: PODProcessor, *, seed: int = 0) -> None:
        self.train = train
        self.processor = processor
        self.seed = seed
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
        return self.processor.tasks[key.task].training_sample(self.train, key.index, rng)

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


def limited(samples: Sequence[Sample], limit: int | None, seed: int) -> Sequence[Sample]:
    """At most `limit` of the samples, drawn from the seed, in their order; all of them for `None`."""
    if limit is None or len(samples) <= limit:
        return samples
    kept = np.sort(np.random.default_rng(seed).choice(len(samples), size=limit, replace=False))
    return [samples[position] for position in kept]
