"""The items that were taken most often lately, for everybody."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import TrainingPart

from .sparse import StaticBaseline


class RecentPopularityBaseline(StaticBaseline):
    """Rank the catalogue by how often each item occurs among the latest training interactions.

    `score(i)` counts the interactions with item i among the latest `share` of all training interactions by their
    timestamps; those at the very time where the share begins all count (Ji et al., "A Re-visit of the Popularity
    Baseline in Recommender Systems", SIGIR 2020, count within a window of time; here its length follows from the number
    of interactions in it). Items with equal scores are ordered by their count in the whole training part.

    The moment is the end of the training part for all users. Under leave-one-out some of what is counted is later than
    the item that is predicted; under a temporal split nothing is.

    Where a corpus has no times, and its timestamps are places in each user's own history (0, 1, 2 …), they say nothing
    about what was taken at the same time. Then the latest `share` of each user's own training items is counted, at
    least one of each.

    Args:
        share: of the training interactions that count as recent, above 0 and at most 1.

    Raises:
        ValueError: `share` is no number between 0 and 1.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=["a", "b"], num_items=2, item_counts=np.array([3, 1]))
        >>> train.sequences, train.timestamps = [np.array([0, 0, 0]), np.array([1])], [[10, 20, 30], [90]]
        >>> RecentPopularityBaseline(share=0.25).fit(train).recommend([[]], k=2)[0].tolist()
        [1, 0]
    """

    def __init__(self, share: float = 0.1) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ValueError(f"share is {share!r}; it must be a number above 0 and at most 1, such as 0.1")
        self.share = share

    def _fit(self, train: TrainingPart) -> None:
        taken, times = Ragged.of(train.sequences), Ragged.of(train.timestamps)
        recent = _latest_of_each(times, self.share) if are_places(times) else _latest_of_all(times, self.share)
        counts = np.bincount(taken.values[recent], minlength=train.num_items)
        self._set_scores(counts.astype(np.float64))


def are_places(times: Ragged) -> bool:
    """Whether timestamps only number each user's own interactions, from 0 or from 1.

    Example:
        >>> are_places(Ragged.of([[0, 1, 2], [0]])), are_places(Ragged.of([[5, 9], [7]]))
        (True, False)
    """
    return any(np.array_equal(times.values, times.places + first) for first in (0, 1))


def _latest_of_all(times: Ragged, share: float) -> npt.NDArray[np.bool_]:
    if len(times.values) == 0:
        return np.zeros(0, dtype=bool)
    first = len(times.values) - max(1, round(share * len(times.values)))
    recent: npt.NDArray[np.bool_] = times.values >= np.partition(times.values, first)[first]
    return recent


def _latest_of_each(times: Ragged, share: float) -> npt.NDArray[np.bool_]:
    from_end = np.repeat(times.lengths, times.lengths) - times.places
    recent: npt.NDArray[np.bool_] = from_end <= np.maximum(1, np.repeat(np.rint(share * times.lengths), times.lengths))
    return recent
