"""Batches of all tasks' samples, and batches that alternate between tasks, each of one task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

BLOCK = 4096
"""Numbers of an array that are turned into Python's at once."""
WINDOW = 50


class SampleKey(NamedTuple):
    """Names one training sample: what is drawn for it follows from these three numbers and the seed.

    Attributes:
        task: the task ID.
        index: which sample of the task.
        round: how often the task's samples were gone through before. A small task is gone through many times while a
            large one is once, and each time other segments, templates and candidates must be drawn.
    """

    task: int
    index: int  # type: ignore[assignment]  # tuples have a method of that name, which nobody asks a key for
    round: int


class TaskBatchSampler(Sampler[list[SampleKey]], ABC):
    """Yields full batches of sample keys, of all tasks equally often; subclasses say which samples a step has.

    An epoch lasts until the largest task was gone through once; smaller tasks start over, newly shuffled, as often as
    they must.

    Of several processes, each has one of `num_processes` batches that follow each other. Put together they are the
    batch that one process with `num_processes * batch_size` samples would see.

    Args:
        sizes: number of samples of each task, in the order of task IDs.
        batch_size: samples of a batch.
        seed: of the shuffling.
        num_processes: how many ranks the batches are dealt to, in turn, as Accelerate does.
        tasks: IDs of the tasks that are drawn from; by default all.
        length: by what samples are put together, `TrainingSamples.length`; by default as shuffled.
        window: how many steps are sorted by it at once.

    Raises:
        ValueError: a task has no samples, there is no such task, or a number is not positive.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        num_processes: int = 1,
        tasks: Sequence[int] | None = None,
        length: Callable[[SampleKey], tuple[int, ...]] | None = None,
        window: int = WINDOW,
    ) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every task needs training samples, but the sizes are {list(sizes)}")
        if batch_size < 1 or num_processes < 1 or window < 1:
            raise ValueError(
                f"batch_size, num_processes and window must be positive, got {batch_size}, {num_processes} and {window}"
            )
        self.sizes = tuple(sizes)
        self.tasks = tuple(range(len(sizes)) if tasks is None else tasks)
        if not self.tasks or not set(self.tasks) <= set(range(len(sizes))):
            raise ValueError(f"tasks must be some of 0 to {len(sizes) - 1}, got {list(self.tasks)}")
        self.batch_size = batch_size
        self.seed = seed
        self.num_processes = num_processes
        self.length = length
        self.window = window
        self.epoch = 0
        self.drop_last = False
        # Accelerate passes the epoch on to `batch_sampler.sampler` once it has wrapped the batch sampler.
        self.sampler = self

    @property
    def cycles(self) -> int:
        """Steps of each task in an epoch, counted over all ranks together."""
        step = self.batch_size * self.num_processes
        return -(-max(self.sizes[task] for task in self.tasks) // step)

    def __len__(self) -> int:
        """Number of batches in an epoch, over all ranks."""
        return self.cycles * self.num_processes * len(self.tasks)

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffling of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for keys in self._steps(self.epoch):
            for start in range(0, len(keys), self.batch_size):
                yield keys[start : start + self.batch_size]

    @abstractmethod
    def _steps(self, epoch: int) -> Iterator[list[SampleKey]]:
        """The keys of each step of an epoch, those of all ranks together."""

    def _cut(self, keys: Iterator[SampleKey], rng: np.random.Generator) -> Iterator[list[SampleKey]]:
        """Cut keys into steps; a window's samples are measured only when its turn comes."""
        step = self.batch_size * self.num_processes
        while some := list(islice(keys, step * self.window)):
            if self.length is None:
                order = np.arange(len(some)).reshape(-1, step)
            else:
                lengths = [self.length(key) for key in some]
                order = np.array(sorted(range(len(some)), key=lengths.__getitem__)).reshape(-1, step)
                # Shuffled within a step too, so that no rank always has the longer half.
                order = rng.permuted(rng.permutation(order), axis=1)
            for rows in order.tolist():
                yield [some[row] for row in rows]

    def _keys(self, task: int, epoch: int) -> Iterator[SampleKey]:
        """A task's keys of an epoch, made as they are asked for: in memory is one shuffled order and not the tuples."""
        length = self.cycles * self.batch_size * self.num_processes
        rng = np.random.default_rng((self.seed, epoch, task))
        size = self.sizes[task]
        rounds = -(-length // size)
        return islice(self._rounds(task, rounds, epoch, rng), length)

    def _rounds(self, task: int, rounds: int, epoch: int, rng: np.random.Generator) -> Iterator[SampleKey]:
        size = self.sizes[task]
        for number in range(rounds):
            # As `rng.permutation(size)` draws it, in numbers half as wide.
            order = np.arange(size, dtype=np.int32 if size <= np.iinfo(np.int32).max else np.int64)
            rng.shuffle(order)
            for start in range(0, size, BLOCK):
                for index in order[start : start + BLOCK].tolist():
                    yield SampleKey(task, index, epoch * rounds + number)


class TaskAlternatingBatchSampler(TaskBatchSampler):
    """Yields batches of sample keys that take turns between tasks (POD paper, section 3.3).

    An epoch lasts until the largest task was gone through once; smaller tasks start over, newly shuffled, as often as
    they must, so that every cycle has one batch of each task and every batch is full.

    With several processes, `num_processes` batches of one task follow each other: dealt out in turn, as Accelerate
    does, they give all ranks the same task at a step. Put together they are the batch that one process with
    `num_processes * batch_size` samples would see.

    Args:
        sizes: number of samples of each task, in the order of task IDs.
        batch_size: samples of a batch.
        seed: of the shuffling.
        num_processes: how many ranks the batches are dealt to.
        tasks: IDs of the tasks that take turns; by default all.
        length: by what samples are put together, `TrainingSamples.length`. Within `window` steps of a task, samples
            are sorted by it and cut into batches, which are then shuffled, so that little of a batch is padding. Which
            samples a window holds is as without it. By default they are put together as shuffled.
        window: how many steps of a task are sorted at once.

    Raises:
        ValueError: a task has no samples, there is no such task, or a number is not positive.

    Example:
        >>> sampler = TaskAlternatingBatchSampler([4, 2], batch_size=2)
        >>> [batch[0].task for batch in sampler]
        [0, 1, 0, 1]
    """

    def _steps(self, epoch: int) -> Iterator[list[SampleKey]]:
        # Not the numbers that shuffle the samples, which are the same with and without lengths.
        steps = [
            self._cut(self._keys(task, epoch), np.random.default_rng((self.seed, epoch, task, 1)))
            for task in self.tasks
        ]
        for _ in range(self.cycles):
            for steps_of_task in steps:
                yield next(steps_of_task)
