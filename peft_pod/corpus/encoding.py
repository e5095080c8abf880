"""Interactions as numbers: positions of users and items instead of their IDs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from .ragged import IntArray, Ragged
from .schema import CorpusFormatError, arrow_column


@dataclass(frozen=True)
class EncodedInteractions:
    """The interactions of a corpus by positions, in the order of the table.

    Attributes:
        user_ids: the users, in the order of their first appearance in the table.
        item_ids: the catalogue, in its order.
        users: for each interaction the position of its user.
        items: likewise of its item.
        times: when.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    users: IntArray
    items: IntArray
    times: IntArray

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.item_ids)

    @cached_property
    def order(self) -> IntArray:
        """Rows by user, then time; ties in time keep the order of the table."""
        return np.lexsort((self.times, self.users))

    def by_user(self, column: IntArray) -> Ragged:
        """A column of the table as a row for each user, oldest first."""
        return Ragged.from_lengths(column[self.order], np.bincount(self.users, minlength=self.num_users))

    @property
    def pairs(self) -> IntArray:
        """For each interaction one number that tells its user and item from all other pairs."""
        return self.users * self.num_items + self.items


def encode(interactions: Dataset, items: Dataset) -> EncodedInteractions:
    """Number the users and items of a corpus.

    Args:
        interactions: the table of that name, see `peft_pod.corpus.schema`.
        items: likewise.

    Raises:
        CorpusFormatError: an interaction names an item that is not in the catalogue, or the catalogue names one twice.

    Example:
        >>> from datasets import Dataset
        >>> encoded = encode(
        ...     Dataset.from_dict({"user_id": ["u", "v"], "item_id": ["b", "a"], "timestamp": [1, 2]}),
        ...     Dataset.from_dict({"item_id": ["a", "b"], "title": ["A", "B"]}),
        ... )
        >>> encoded.users.tolist(), encoded.items.tolist()
        ([0, 1], [1, 0])
    """
    catalogue = arrow_column(items, "item_id").combine_chunks()
    if len(pc.unique(catalogue)) != len(catalogue):
        twice = next(item_id for item_id, count in Counter(catalogue.to_pylist()).items() if count > 1)
        raise CorpusFormatError(f"item {twice!r} stands more than once in the table 'items'")
    # Arrow numbers the values of a dictionary in the order of their first appearance.
    users = arrow_column(interactions, "user_id").dictionary_encode().combine_chunks()
    return EncodedInteractions(
        user_ids=users.dictionary,
        item_ids=catalogue,
        users=users.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        items=positions(arrow_column(interactions, "item_id"), catalogue, "interactions", "item_id"),
        times=arrow_column(interactions, "timestamp").to_numpy().astype(np.int64, copy=False),
    )


def positions(values: pa.ChunkedArray, known: pa.Array, table: str, column: str) -> IntArray:
    """Positions of `values` in `known`.

    Args:
        values: a column of IDs.
        known: all IDs there are.
        table: name of the values' table, for the message.
        column: name of the column, likewise.

    Raises:
        CorpusFormatError: a value is not known.
    """
    codes = pc.index_in(values.cast(known.type), value_set=known)
    if codes.null_count:
        unknown = values[codes.is_null().index(True).as_py()].as_py()
        raise CorpusFormatError(
            f"table {table!r} has {column} {unknown!r}, which the corpus does not have; "
            "add it to the table it belongs to or drop the row"
        )
    return codes.to_numpy().astype(np.int64)
