"""What every baseline has in common: it is fitted on the training part alone and ranks the catalogue for a history."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, TrainingPart

from .selection import FloatArray, best_items, best_of_lists, tie_order

if TYPE_CHECKING:
    from typing import Self

_CELLS_AT_ONCE = 1_000_000
"""Scores held in memory at a time: a chunk of users times the whole catalogue."""


class Baseline(ABC):
    """A recommender without a language model, to compare one with.

    A subclass says in `_fit` what it learns from the training part and in `scores` how it scores the catalogue. One
    that scores only a few items for a history, or all histories alike, is faster as a `SparseBaseline` or a
    `StaticBaseline`.

    Items with equal scores are ordered by their frequency in the training part, most frequent first, and then by a
    hash of their IDs (BLAKE2b). So the result is deterministic and does not depend on the order of the catalogue,
    which on some corpora gives the held-out items away.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.metrics import load_baseline
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> baseline = load_baseline("popularity").fit(split.train)
        >>> baseline.recommend([split.history(0, "test")], k=10)[0].shape
        (10,)
    """

    num_items: int | None = None

    def fit(self, train: TrainingPart) -> Self:
        """Learn from the training part, and from nothing else; returns the baseline itself.

        Raises:
            ValueError: the catalogue is empty.
        """
        if train.num_items == 0:
            raise ValueError("the training part has no items; a baseline needs a catalogue to rank")
        self._tie_order = tie_order(train)
        self._fit(train)
        self.num_items = train.num_items  # last: it says that the baseline is fitted
        return self

    @abstractmethod
    def _fit(self, train: TrainingPart) -> None:
        """Learn what `scores` needs."""

    @abstractmethod
    def scores(self, users: IntArray, histories: Sequence[IntArray]) -> FloatArray:
        """Score the whole catalogue for some users; larger is better.

        Args:
            users: position of each user in the training part; shape `(batch,)`.
            histories: for each of them the items taken so far, oldest first.

        Returns:
            Finite numbers or −inf, which means "never recommend"; shape `(batch, num_items)`.
        """

    def recommend(
        self,
        histories: Sequence[IntArray],
        k: int = 10,
        *,
        users: Sequence[int] | IntArray | None = None,
        exclude_seen: bool = True,
        candidates: Sequence[IntArray] | None = None,
    ) -> list[IntArray]:
        """The best items for each history.

        Args:
            histories: for each user the items taken so far, oldest first.
            k: how many items to recommend.
            users: position of each user in the training part; counted from 0 where it is not given. Only baselines
                that depend on the user look at it.
            exclude_seen: whether the items of the history are left out.
            candidates: for each user the items to rank; all items where it is not given.

        Returns:
            For each history the positions of the items, best first: k distinct ones, fewer where fewer are eligible.

        Raises:
            RuntimeError: the baseline is not fitted.
            ValueError: `k` is below 1, `users` or `candidates` do not have one entry for each history, an item is
                not in the catalogue, or a score is not a number.
        """
        if self.num_items is None:
            raise RuntimeError(f"{type(self).__name__} is not fitted; call fit(split.train) first")
        if k < 1:
            raise ValueError(f"k is {k}; at least one item must be asked for")
        positions = np.arange(len(histories)) if users is None else np.asarray(users, dtype=np.int64)
        for name, given in (("users", positions), ("candidates", candidates)):
            if given is not None and len(given) != len(histories):
                raise ValueError(f"{name} has {len(given)} entries for {len(histories)} histories; give one for each")
        known = _checked(histories, self.num_items, "histories")
        hidden = known if exclude_seen else Ragged.from_lengths(np.empty(0, np.int64), np.zeros(len(known), np.int64))
        k = min(k, self.num_items)
        if candidates is None:
            best = self._best(positions, known, hidden, k)
        else:
            best = self._best_listed(positions, known, hidden, _checked(candidates, self.num_items, "candidates"), k)
        return [row[:length] for row, length in zip(best, (best >= 0).sum(axis=1).tolist(), strict=True)]

    def _best(self, users: IntArray, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        """The k best items of the catalogue but the hidden ones, −1 beyond the last; shape `(len(histories), k)`."""
        best = np.full((len(histories), k), -1, dtype=np.int64)
        for rows in self._chunks(len(histories)):
            scores = self._checked_scores(users[rows], histories[rows])
            allowed = np.ones(scores.shape, dtype=bool)
            allowed[hidden[rows].owners, hidden[rows].values] = False
            best[rows] = best_items(np.where(allowed, scores, -np.inf), self._tie_order, k)
        return best

    def _best_listed(self, users: IntArray, histories: Ragged, hidden: Ragged, listed: Ragged, k: int) -> IntArray:
        """The k best of the listed items, otherwise like `_best`."""
        best = np.full((len(histories), k), -1, dtype=np.int64)
        for rows in self._chunks(len(histories)):
            scores = self._listed_scores(users[rows], histories[rows], listed[rows])
            best[rows] = best_of_lists(listed[rows], scores, hidden[rows], self._tie_order, k)
        return best

    def _listed_scores(self, users: IntArray, histories: Ragged, listed: Ragged) -> FloatArray:
        """Scores of the listed items, one list after the other."""
        scores: FloatArray = self._checked_scores(users, histories)[listed.owners, listed.values]
        return scores

    def _checked_scores(self, users: IntArray, histories: Ragged) -> FloatArray:
        scores = self.scores(users, histories)
        if scores.shape != (len(histories), self.num_items):
            expected = (len(histories), self.num_items)
            raise ValueError(f"{type(self).__name__}.scores returned the shape {scores.shape}, not {expected}")
        if np.isnan(scores).any():
            raise ValueError(f"{type(self).__name__}.scores returned a score that is not a number")
        return scores

    def _chunks(self, num_histories: int) -> Iterator[slice]:
        size = max(1, _CELLS_AT_ONCE // len(self._tie_order))
        for start in range(0, num_histories, size):
            yield slice(start, start + size)


def _checked(lists: Sequence[IntArray], num_items: int, name: str) -> Ragged:
    """The lists, checked against the catalogue."""
    rows = Ragged.of(lists)
    wrong = rows.values[(rows.values < 0) | (rows.values >= num_items)]
    if len(wrong):
        raise ValueError(f"{name} names item {wrong[0]}; positions in this catalogue run from 0 to {num_items - 1}")
    return rows
