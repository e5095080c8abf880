"""Rules that choose interactions: which rows stay, and how many each rule dropped."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from .encoding import EncodedInteractions
from .ragged import IntArray
from .schema import arrow_column

Repeats = Literal["keep", "first", "last"]
"""What becomes of interactions of one user with one item: all stay, or only the first or the last one in time."""


def exact_duplicates(interactions: Dataset, encoded: EncodedInteractions, rows: IntArray) -> IntArray:
    """Places, among `rows`, of interactions that equal an earlier one in every column.

    Args:
        interactions: the table.
        encoded: the same by positions.
        rows: the interactions that are looked at, in order.
    """
    pairs, times = encoded.pairs[rows], encoded.times[rows]
    order = np.lexsort((times, pairs))
    same = (pairs[order][1:] == pairs[order][:-1]) & (times[order][1:] == times[order][:-1])
    in_group = np.zeros(len(rows), dtype=bool)
    in_group[order[1:][same]] = True
    in_group[order[:-1][same]] = True
    suspects = np.flatnonzero(in_group)
    if len(suspects) == 0:
        return suspects
    keys = [pairs[suspects], times[suspects]]
    for name in ("rating", "review"):
        if name in interactions.column_names:
            values = arrow_column(interactions, name).take(rows[suspects])
            codes = values.dictionary_encode(null_encoding="encode").combine_chunks().indices
            keys.append(codes.to_numpy(zero_copy_only=False).astype(np.int64))
    _, first = np.unique(np.stack(keys, axis=1), axis=0, return_index=True)
    is_first = np.zeros(len(suspects), dtype=bool)
    is_first[first] = True
    return suspects[~is_first]


def repeated(encoded: EncodedInteractions, rows: IntArray, keep: Repeats) -> IntArray:
    """Places, among `rows`, of interactions of a user with an item that the user has another interaction with.

    Args:
        encoded: the interactions by positions.
        rows: the interactions that are looked at, in order.
        keep: which one of each user and item is not counted as repeated: for `"first"` and `"keep"` the earliest, for
            `"last"` the latest. Among equal times the order of the table decides.
    """
    pairs = encoded.pairs[rows]
    order = np.lexsort((encoded.times[rows], pairs))
    same = pairs[order][1:] == pairs[order][:-1]
    return np.sort(order[:-1][same] if keep == "last" else order[1:][same])


def latest(encoded: EncodedInteractions, rows: IntArray, count: int) -> IntArray:
    """Places, among `rows`, of the last interactions of each user.

    Args:
        encoded: the interactions by positions.
        rows: the interactions that are looked at, in order.
        count: how many of each user, or all where there are fewer. Among equal times the order of the table decides.
    """
    users = encoded.users[rows]
    order = np.lexsort((encoded.times[rows], users))
    ends = np.searchsorted(users[order], users[order], side="right")
    return np.sort(order[ends - np.arange(len(order)) <= count])


def below_rating(interactions: Dataset, rows: IntArray, threshold: float) -> tuple[IntArray, IntArray]:
    """Places, among `rows`, of interactions rated below `threshold`, and of those without a rating.

    Raises:
        ValueError: the corpus has no ratings.
    """
    if "rating" not in interactions.column_names:
        raise ValueError(
            f"min_rating is {threshold}, but the corpus has no ratings; its columns are {interactions.column_names}"
        )
    ratings = pc.fill_null(arrow_column(interactions, "rating"), float("nan")).to_numpy()[rows]
    return np.flatnonzero(ratings < threshold), np.flatnonzero(np.isnan(ratings))
