"""The best of scored items, with a stated order among equals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, TrainingPart

FloatArray = npt.NDArray[np.float64]

_CELLS_AT_ONCE = 2_000_000
"""Cells of a table that is made of rows of different lengths."""


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


def places_in(order: IntArray) -> IntArray:
    """For each item its place in an order of all items.

    Example:
        >>> places_in(np.array([2, 0, 1])).tolist()
        [1, 2, 0]
    """
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def best_items(scores: FloatArray, order: IntArray, k: int) -> IntArray:
    """For each row the k items with the largest scores, best first; equal scores in the order given.

    Args:
        scores: shape `(batch, num_items)`; −inf means "never".
        order: all items, the one to prefer among equal scores first; shape `(num_items,)`.
        k: how many, at most `num_items`.

    Returns:
        The items, −1 beyond the last one with a score above −inf; shape `(batch, k)`.

    Example:
        >>> best_items(np.array([[0.0, 2.0, 0.0]]), np.array([2, 1, 0]), k=2).tolist()
        [[1, 2]]
    """
    columns = best_columns(np.take(scores, order, axis=1), k)
    return np.where(columns >= 0, order[columns], -1)


def best_columns(scores: FloatArray, k: int) -> IntArray:
    """For each row the columns of the k largest scores, best first; of equal scores the first.

    Args:
        scores: shape `(batch, columns)`; −inf means "never".
        k: how many, at most the number of columns.

    Returns:
        The columns, −1 beyond the last one with a score above −inf; shape `(batch, k)`.
    """
    # Negated, because numpy's partition is slow for the upper end of rows that mostly hold one value.
    costs = -scores
    threshold = np.partition(costs, k - 1, axis=1)[:, k - 1, None]
    below = costs < threshold
    level = costs == threshold
    # Of the items at the threshold only the first ones have room; a partition alone would take any of them.
    room = k - below.sum(axis=1, keepdims=True)
    kept = below | (level & (np.cumsum(level, axis=1, dtype=np.int32) <= room))
    columns = np.nonzero(kept)[1].reshape(-1, k)
    kept_costs = np.take_along_axis(costs, columns, axis=1)
    best = np.argsort(kept_costs, axis=1, kind="stable")
    found = np.take_along_axis(columns, best, axis=1)
    found[np.take_along_axis(kept_costs, best, axis=1) == np.inf] = -1
    return found


def best_of_lists(lists: Ragged, scores: FloatArray, hidden: Ragged, order: IntArray, k: int) -> IntArray:
    """For each list the k best items that are not hidden, best first; equal scores in the order given.

    Args:
        lists: items; one that stands twice in a list counts once, with the same score.
        scores: of each entry of the lists, one list after the other.
        hidden: for each list the items to leave out.
        order: all items, the one to prefer among equal scores first.
        k: how many.

    Returns:
        The items, −1 beyond the last; shape `(len(lists), k)`.

    Example:
        >>> lists, hidden = Ragged.of([[0, 1, 2], [2]]), Ragged.of([[1], []])
        >>> best_of_lists(lists, np.array([1.0, 9.0, 2.0, 0.0]), hidden, np.arange(3), k=2).tolist()
        [[2, 0], [2, -1]]
    """
    places = places_in(order)
    cells, first = np.unique(lists.owners * len(order) + places[lists.values], return_index=True)
    if len(hidden.values):
        kept = ~np.isin(cells, hidden.owners * len(order) + places[hidden.values])
        cells, first = cells[kept], first[kept]
    rows = Ragged.from_lengths(cells % len(order), np.bincount(cells // len(order), minlength=len(lists)))
    found = best_of_rows(rows, scores[first], k)
    return np.where(found >= 0, order[found], -1)


def best_of_rows(rows: Ragged, scores: FloatArray, k: int) -> IntArray:
    """For each row the k values with the largest scores, best first; of equal scores the one that stands first.

    Args:
        rows: values of at least 0.
        scores: of each value, one row after the other.
        k: how many.

    Returns:
        The values, −1 beyond the last one with a score above −inf; shape `(len(rows), k)`.

    Example:
        >>> best_of_rows(Ragged.of([[4, 7, 9], []]), np.array([1.0, 2.0, 1.0]), k=2).tolist()
        [[7, 4], [-1, -1]]
    """
    best = np.full((len(rows), k), -1, dtype=np.int64)
    for chosen, places, there in _tables(rows.lengths):
        columns = best_columns(np.where(there, scores[places], -np.inf), min(k, places.shape[1]))
        values = rows.values[np.take_along_axis(places, np.maximum(columns, 0), axis=1)]
        best[chosen, : columns.shape[1]] = np.where(columns >= 0, values, -1)
    return best


def least_of_best(scores: FloatArray, lengths: IntArray, wanted: IntArray) -> FloatArray:
    """For each row a score that is not above the `wanted`-th largest one, but close to it.

    Args:
        scores: one row after the other.
        lengths: of the rows.
        wanted: for each row a number of at least 1.

    Returns:
        −inf for a row with fewer scores than wanted; shape `(len(lengths),)`.

    Example:
        >>> least_of_best(np.array([3.0, 1.0, 2.0, 9.0]), np.array([3, 1]), np.array([2, 2])).tolist()
        [2.0, -inf]
    """
    least = np.full(len(lengths), -np.inf)
    for chosen, places, there in _tables(lengths):
        # Rows that share a table share a place in it.
        place = int(wanted[chosen].max()) - 1
        if place < places.shape[1]:
            costs = np.where(there, -scores[places], np.inf)
            costs.partition(place, axis=1)
            least[chosen] = -costs[:, place]
    return least


def _tables(lengths: IntArray) -> Iterator[tuple[IntArray, IntArray, npt.NDArray[np.bool_]]]:
    """Rows of different lengths in tables with little padding: which rows, the place of each cell, whether it is one.

    Rows of like length share a table. Empty rows are in none.
    """
    starts = np.cumsum(lengths) - lengths
    by_length = np.argsort(lengths, kind="stable")
    stop = len(by_length)
    while stop > 0 and lengths[by_length[stop - 1]] > 0:
        width = int(lengths[by_length[stop - 1]])
        chosen = by_length[max(0, stop - max(1, _CELLS_AT_ONCE // width)) : stop]
        stop -= len(chosen)
        there = np.arange(width) < lengths[chosen][:, None]
        yield chosen, np.where(there, starts[chosen][:, None] + np.arange(width), 0), there
