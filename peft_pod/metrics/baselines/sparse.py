"""Baselines that score few items of the catalogue for a history, or all histories alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray

from .base import Baseline
from .selection import FloatArray, best_of_rows, least_of_best, places_in

_ROWS_AT_ONCE = 1024
"""Histories that are scored at a time."""

_CELLS_AT_ONCE = 2_000_000
"""Cells of a table of histories times items that may follow the scored ones."""


class SparseBaseline(Baseline):
    """A baseline that gives most items the score 0, for which it never makes a table of users times items.

    Items with a score come first, best first; the others follow in the order of ties (see `Baseline`).
    """

    @abstractmethod
    def sparse_scores(self, users: IntArray, histories: Sequence[IntArray]) -> sparse.csr_matrix:
        """The scores above 0, see `Baseline.scores`; what is not stored is 0; shape `(batch, num_items)`."""

    def scores(self, users: IntArray, histories: Sequence[IntArray]) -> FloatArray:
        """The scores with all zeros, see `Baseline.scores`."""
        dense: FloatArray = self.sparse_scores(users, histories).toarray()
        return dense

    def _best(self, users: IntArray, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        best = np.full((len(histories), k), -1, dtype=np.int64)
        places = places_in(self._tie_order)
        for start in range(0, len(histories), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            scored = self._checked_sparse_scores(users[rows], histories[rows])
            entries, scores = self._leading_entries(scored, hidden[rows], places, k)
            top = best_of_rows(entries, scores, k)
            filled = followed(top, _mapped(hidden[rows], places), len(places))
            best[rows] = np.where(filled >= 0, self._tie_order[filled], -1)
        return best

    def _leading_entries(
        self, scored: sparse.csr_matrix, hidden: Ragged, places: IntArray, k: int
    ) -> tuple[Ragged, FloatArray]:
        """For each row the places of the items that may be among the k best, in the order of ties, and their scores."""
        lengths = np.diff(scored.indptr).astype(np.int64)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        # As many more as are hidden: those may be the best ones.
        leading = (scored.data > 0) & (scored.data >= least_of_best(scored.data, lengths, k + hidden.lengths)[owners])
        cells = owners[leading] * len(places) + places[scored.indices[leading]]
        visible = ~np.isin(cells, hidden.owners * len(places) + places[hidden.values])
        cells, scores = cells[visible], scored.data[leading][visible]
        order = np.argsort(cells)
        rows, taken = np.divmod(cells[order], len(places))
        return Ragged.from_lengths(taken, np.bincount(rows, minlength=len(lengths))), scores[order]

    def _listed_scores(self, users: IntArray, histories: Ragged, listed: Ragged) -> FloatArray:
        scored = self._checked_sparse_scores(users, histories)
        if len(listed.values) == 0:
            return np.empty(0)
        return np.asarray(scored[listed.owners, listed.values], dtype=np.float64).reshape(-1)

    def _checked_sparse_scores(self, users: IntArray, histories: Ragged) -> sparse.csr_matrix:
        scored = self.sparse_scores(users, histories)
        name = f"{type(self).__name__}.sparse_scores"
        if scored.shape != (len(histories), self.num_items):
            raise ValueError(f"{name} returned the shape {scored.shape}, not {(len(histories), self.num_items)}")
        if not (np.isfinite(scored.data).all() and (scored.data >= 0).all()):
            raise ValueError(f"{name} returned a score that is negative or not a finite number")
        return scored


class StaticBaseline(Baseline):
    """A baseline that has one score for each item, whoever is asked for.

    `_fit` must call `_set_scores`.
    """

    def _set_scores(self, item_scores: FloatArray) -> None:
        self._item_scores = item_scores
        self._tie_order = self._tie_order[np.argsort(-item_scores[self._tie_order], kind="stable")]

    def scores(self, users: IntArray, histories: Sequence[IntArray]) -> FloatArray:
        """The same scores for each user, see `Baseline.scores`."""
        return np.broadcast_to(self._item_scores, (len(histories), len(self._item_scores)))

    def _best(self, users: IntArray, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        places = places_in(self._tie_order)
        nothing = np.full((len(histories), k), -1, dtype=np.int64)
        filled = followed(nothing, _mapped(hidden, places), len(places))
        return np.where(filled >= 0, self._tie_order[filled], -1)

    def _listed_scores(self, users: IntArray, histories: Ragged, listed: Ragged) -> FloatArray:
        return self._item_scores[listed.values]


def followed(top: IntArray, hidden: Ragged, size: int) -> IntArray:
    """Fill up each row with the smallest numbers that are neither in it nor hidden.

    Args:
        top: distinct numbers, −1 beyond the last; shape `(rows, k)`.
        hidden: for each row the numbers to leave out.
        size: the numbers are those below it.

    Returns:
        The filled rows; −1 where no number is left; shape `(rows, k)`.

    Example:
        >>> followed(np.array([[4, -1, -1], [7, 8, 9]]), Ragged.of([[0, 2], [1]]), size=10).tolist()
        [[4, 1, 3], [7, 8, 9]]
    """
    filled = top.copy()
    counts, lengths = (top >= 0).sum(axis=1), hidden.lengths
    short = np.flatnonzero(counts < top.shape[1])
    # The longer the history, the further down the first free number may be.
    short = short[np.argsort(lengths[short], kind="stable")]
    stop = len(short)
    while stop > 0:
        window = min(size, top.shape[1] + int(lengths[short[stop - 1]]))
        rows = short[max(0, stop - max(1, _CELLS_AT_ONCE // window)) : stop]
        stop -= len(rows)
        filled[rows] = _followed_in(filled[rows], hidden.take(rows), window)
    return filled


def _followed_in(top: IntArray, hidden: Ragged, window: int) -> IntArray:
    """`followed`, where each row finds what it lacks among the numbers below `window`."""
    free = np.ones((len(top), window), dtype=bool)
    for rows, numbers in ((hidden.owners, hidden.values), (np.arange(len(top)).repeat(top.shape[1]), top.reshape(-1))):
        near = (numbers >= 0) & (numbers < window)
        free[rows[near], numbers[near]] = False
    places = (top >= 0).sum(axis=1, keepdims=True) + np.cumsum(free, axis=1) - 1
    free &= places < top.shape[1]
    rows, numbers = np.nonzero(free)
    top[rows, places[rows, numbers]] = numbers
    return top


def _mapped(lists: Ragged, places: IntArray) -> Ragged:
    return Ragged(places[lists.values], lists.offsets)
