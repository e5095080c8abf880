"""Samples as torch datasets: drawn anew every time for training, fixed for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from peft_pod.corpus import Part, Split, TrainingPart
from peft_pod.tasks import Sample

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

    def length(self, key: SampleKey) -> tuple[int, ...]:
        """How long the sample of a key is, without encoding it: IDs, letters of a written answer, template words."""
        sample = self.sample(key)
        ids = sum(len(items) for items in sample.items.values())
        return ids, len(sample.target_text or ""), len(sample.template.parts)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        return self.processor(self.sample(key), self.processor.tasks[key.task].name)


class EvaluationSamples(Dataset[dict[str, Any]]):
    """Samples of one task that are the same every time, encoded once.

    Args:
        samples: the samples.
        processor: encodes them.
        task: name of their task.
    """

    def __init__(self, samples: Sequence[Sample], processor: PODProcessor, task: str) -> None:
        self.samples = samples
        self.task = task
        self._encoded = [processor(sample, task) for sample in samples]

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
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._encoded[index]


def limited(samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` of the samples, drawn from the seed, in their order; all of them for `None`."""
    if limit is None or len(samples) <= limit:
        return samples
    kept = np.sort(np.random.default_rng(seed).choice(len(samples), size=limit, replace=False))
    return [samples[position] for position in kept]
