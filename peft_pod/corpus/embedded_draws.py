"""Random draws that come out the same on every machine and numpy version."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 4096


class UniformDraws:
    """Draws made of nothing but uniform doubles from PCG64 and exactly rounded arithmetic.

    numpy may change how `Generator.choice` or `shuffle` use the bit stream, and `exp` or a vectorised `sum` may differ
    in the last digit from machine to machine. A corpus with a published fingerprint can stand neither.

    Args:
        seed: non-negative; the caller's seed.
        stream: which of the independent streams of that seed.

    Example:
        >>> draws = UniformDraws(seed=0, stream=0)
        >>> 0 <= draws.below(10) < 10
        True
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64([seed, stream]))
        self._block: list[float] = []
        self._position = 0

    def uniform(self) -> float:
        """A number from 0 (inclusive) to 1 (exclusive)."""
        if self._position == len(self._block):
            self._block = self._generator.random(_BLOCK).tolist()
            self._position = 0
        self._position += 1
        return self._block[self._position - 1]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` − 1, all equally likely."""
        # The product of a number just below 1 can round up to `end`.
        return min(int(self.uniform() * end), end - 1)

    def between(self, first: int, last: int) -> int:
        """A whole number from `first` to `last`, both included, all equally likely."""
        return first + self.below(last - first + 1)

    def pick(self, values: Sequence[T]) -> T:
        """One of `values`, all equally likely."""
        return values[self.below(len(values))]

    def weighted(self, weights: Sequence[float]) -> int:
        """A position in `weights`, likely in proportion to the weight there. The weights must not all be 0."""
        cumulative = list(accumulate(weights))
        return min(bisect_right(cumulative, self.uniform() * cumulative[-1]), len(weights) - 1)

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """All of `values` in a random order."""
        keys = [self.uniform() for _ in values]
        return [values[position] for position in sorted(range(len(values)), key=keys.__getitem__)]
