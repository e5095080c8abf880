"""Batches that mix tasks, which those that alternate are compared with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .sampler import BLOCK, SampleKey, TaskBatchSampler


class MixedBatchSampler(TaskBatchSampler):
    """Yields batches of sample keys that are drawn from all tasks together.

    An epoch has the same samples as one of `TaskAlternatingBatchSampler` with the same arguments, in as many batches:
    each task equally often, smaller ones going through theirs again. They are only dealt out by chance, so a batch has
    about as many samples of each task, not exactly. With several processes, each has a part of the batch that one with
    `num_processes * batch_size` samples would see.

    Args:
        sizes: number of samples of each task, in the order of task IDs.
        batch_size: samples of a batch.
        seed: of the shuffling.
        num_processes: how many ranks the batches are dealt to.
        tasks: IDs of the tasks that are mixed; by default all.
        length: by what samples are put together, `TrainingSamples.length`: within `window` steps they are sorted by
            it, whatever their tasks, and cut into batches, which are then shuffled. Where tasks differ in length,
            batches are nearly of one task again. By default they are put together as shuffled.
        window: how many steps are sorted at once.

    Raises:
        ValueError: a task has no samples, there is no such task, or a number is not positive.

    Example:
        >>> batches = list(MixedBatchSampler([40, 20], batch_size=8))
        >>> {len(batch) for batch in batches}, sorted({key.task for key in batches[0]})
        ({8}, [0, 1])
        >>> [sum(key.task == task for batch in batches for key in batch) for task in (0, 1)]
        [40, 40]
    """

    def _steps(self, epoch: int) -> Iterator[list[SampleKey]]:
        # Neither the numbers that shuffle a task's samples nor those that shuffle its steps.
        rng = np.random.default_rng((self.seed, epoch, 0, 2))
        # Each task's samples come shuffled, so it is enough to draw whose turn it is: a byte a sample.
        turns = np.arange(len(self.tasks), dtype=np.min_scalar_type(len(self.tasks)))
        turns = np.repeat(turns, self.cycles * self.batch_size * self.num_processes)
        rng.shuffle(turns)
        return self._cut(self._drawn(turns, epoch), rng)

    def _drawn(self, turns: np.ndarray, epoch: int) -> Iterator[SampleKey]:
        keys = [self._keys(task, epoch) for task in self.tasks]
        for start in range(0, len(turns), BLOCK):
            for turn in turns[start : start + BLOCK].tolist():
                yield next(keys[turn])
