"""How far a mean over users could be off: resampling users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_CELLS_AT_ONCE = 4_000_000
"""Counts held in memory at a time: a chunk of resamples times the different values that users have."""


@dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals by resampling users with replacement (Efron & Tibshirani, 1993, chapter 13).

    A resample of n users is n draws with replacement. How often each value was drawn is all that its mean depends on,
    and these counts have a multinomial distribution: they are drawn at once, for each value that occurs and not for
    each user. So the time grows with the number of different values, which ranks have few of.

    Args:
        resamples: how many resamples are drawn.
        confidence: share of the resamples that the interval holds, half of the others below and half above.
        seed: of the draws.

    Raises:
        ValueError: `resamples` is below 1, `confidence` is not between 0 and 1, or `seed` is negative.

    Example:
        >>> hits = np.array([1.0] * 20 + [0.0] * 80)
        >>> low, high = Bootstrap().intervals({"hr@10": hits})["hr@10"]
        >>> 0.1 < low < 0.2 < high < 0.3
        True
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"resamples is {self.resamples}; at least one is needed, and 1000 for stable ends")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must be between 0 and 1, such as 0.95")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be at least 0")

    def intervals(self, values: Mapping[str, FloatArray]) -> dict[str, tuple[float, float]]:
        """Intervals of means over the same users; all means are taken over the same resamples.

        Args:
            values: for each metric the value of each user; shape `(num_users,)`, the same users in the same order.

        Returns:
            For each metric the lower and the upper end.

        Raises:
            ValueError: there are no users, or the metrics are not of the same number of them.
        """
        if not values:
            return {}
        lengths = {len(column) for column in values.values()}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError(f"values must have the same users for every metric and at least one, not {lengths}")
        means = self._means(np.stack(list(values.values()), axis=1))
        outside = (1 - self.confidence) / 2
        low, high = np.quantile(means, [outside, 1 - outside], axis=0)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(values)}

    def _means(self, rows: FloatArray) -> FloatArray:
        """The means of each resample; shape `(resamples, metrics)`."""
        different, counts = np.unique(rows, axis=0, return_counts=True)
        rng = np.random.default_rng(self.seed)
        chunk = max(1, _CELLS_AT_ONCE // len(different))
        means = [
            rng.multinomial(len(rows), counts / len(rows), size=min(chunk, self.resamples - start)) @ different
            for start in range(0, self.resamples, chunk)
        ]
        found: FloatArray = np.concatenate(means) / len(rows)
        return found

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Bootstrap:
        """What `to_dict` wrote.

        Raises:
            ValueError: an entry is missing or there is one too many.
        """
        expected = set(asdict(cls()))
        if set(values) != expected:
            raise ValueError(f"the bootstrap must have {sorted(expected)}; it has {sorted(values)}")
        return cls(**values)
