"""What every baseline has in common: it is fitted on the training part alone and ranks the catalogue for a history."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from peft_pod.corpus.split import IntArray, TrainingPart

if TYPE_CHECKING:
    from typing import Self

FloatArray = npt.NDArray[np.float64]

_CELLS_AT_ONCE = 1_000_000
"""Scores held in memory at a time: a chunk of users times the whole catalogue."""


class Baseline(ABC):
    """A recommender without a language model, to compare one with.

    A subclass says in `_fit` what it learns from the training part and in `scores` how it scores the catalogue.

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
        """The k best items for each history, exactly.

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

        recommended: list[IntArray] = []
        for chunk in self._chunks(len(histories), self.num_items):
            seen = _flatten(histories[chunk], self.num_items, "histories")
            scores = self.scores(positions[chunk], histories[chunk])
            self._check_scores(scores, len(histories[chunk]))
            allowed = np.ones(scores.shape, dtype=bool)
            if candidates is not None:
                allowed[:] = False
                allowed[_flatten(candidates[chunk], self.num_items, "candidates")] = True
            if exclude_seen:
                allowed[seen] = False
            recommended.extend(best_items(np.where(allowed, scores, -np.inf), self._tie_order, k))
        return recommended

    def _check_scores(self, scores: FloatArray, batch: int) -> None:
        if scores.shape != (batch, self.num_items):
            raise ValueError(
                f"{type(self).__name__}.scores returned the shape {scores.shape}, not {(batch, self.num_items)}"
            )
        if np.isnan(scores).any():
            raise ValueError(f"{type(self).__name__}.scores returned a score that is not a number")

    @staticmethod
    def _chunks(num_histories: int, num_items: int) -> Iterator[slice]:
        size = max(1, _CELLS_AT_ONCE // num_items)
        for start in range(0, num_histories, size):
            yield slice(start, start + size)


def tie_order(train: TrainingPart) -> IntArray:
    """All items, most frequent in the training part first, equally frequent ones by a hash of their IDs.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=["a", "b", "c"], item_counts=np.array([1, 5, 2]))
        >>> tie_order(train).tolist()
        [1, 2, 0]
    """
    hashes = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "big") for i in train.item_ids]
    return np.lexsort((np.array(hashes, dtype=np.uint64), -train.item_counts)).astype(np.int64)


def best_items(scores: FloatArray, order: IntArray, k: int) -> list[IntArray]:
    """For each row the k items with the largest scores, best first; equal scores in the order given.

    Args:
        scores: shape `(batch, num_items)`; −inf means "never".
        order: all items, the one to prefer among equal scores first; shape `(num_items,)`.
        k: how many.

    Returns:
        For each row k items, or as many as have a score above −inf.

    Example:
        >>> best_items(np.array([[0.0, 2.0, 0.0]]), np.array([2, 1, 0]), k=2)[0].tolist()
        [1, 2]
    """
    k = min(k, scores.shape[1])
    # Negated, because numpy's partition is slow for the upper end of rows that mostly hold one value.
    costs = -np.take(scores, order, axis=1)
    threshold = np.partition(costs, k - 1, axis=1)[:, k - 1, None]
    below = costs < threshold
    level = costs == threshold
    # Of the items at the threshold only the first ones have room; a partition alone would take any of them.
    room = k - below.sum(axis=1, keepdims=True)
    kept = below | (level & (np.cumsum(level, axis=1, dtype=np.int32) <= room))
    columns = np.nonzero(kept)[1].reshape(-1, k)
    kept_costs = np.take_along_axis(costs, columns, axis=1)
    best = np.argsort(kept_costs, axis=1, kind="stable")
    items = order[np.take_along_axis(columns, best, axis=1)]
    lengths = (kept_costs < np.inf).sum(axis=1)
    return [row[:length] for row, length in zip(items, lengths, strict=True)]


def _flatten(lists: Sequence[IntArray], num_items: int, name: str) -> tuple[IntArray, IntArray]:
    """Row and item of each entry, checked against the catalogue."""
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.concatenate([np.asarray(items, dtype=np.int64) for items in lists])
    if items.size and (items.min() < 0 or items.max() >= num_items):
        wrong = items[(items < 0) | (items >= num_items)][0]
        raise ValueError(f"{name} names item {wrong}; positions in this catalogue run from 0 to {num_items - 1}")
    return rows, items
