"""Interactions as numbers: what repeats, what is at the same time, and in which order rows go."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..encoding import EncodedInteractions
from ..filters import exact_duplicates, repeated
from ..ragged import IntArray
from ..schema import MAX_TIMESTAMP, CorpusFormatError
from ..spool import as_dataset, rows_in_order
from .rules import Rules


@dataclass(frozen=True)
class Coded:
    """Users and items of a table by numbers, in the order of their first appearance.

    The numbers are small and arrays are sorted in place, so that tens of millions of rows take few bytes each.

    Attributes:
        user_ids: the ID of each user.
        item_ids: likewise of each item.
        users: for each row the number of its user.
        items: likewise of its item.
        times: when.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    times: IntArray

    @classmethod
    def of(cls, table: pa.Table) -> Coded:
        """Number the users and items of a table with `user_id`, `item_id` and `timestamp`."""
        users, items = (whole(table[name].dictionary_encode()) for name in ("user_id", "item_id"))
        numbers = [ids.indices.to_numpy(zero_copy_only=False) for ids in (users, items)]
        return cls(users.dictionary, items.dictionary, numbers[0], numbers[1], table["timestamp"].to_numpy())

    def order(self, parts: npt.NDArray[np.int32]) -> IntArray | None:
        """Rows, those of a user together and in the order of time as far as `parts` of a second tell it.

        Returns:
            Places of rows; `None` where they can stay as they are.
        """
        users: npt.NDArray[np.int32] | IntArray = self.users
        # Users are numbered by their first appearance, so where a number falls, rows of a user are apart.
        if (users[1:] < users[:-1]).any():
            users = _rank(self.user_ids)[users]
        elif not parts.any():
            return None
        return np.lexsort((parts, self.times, users)) if parts.any() else np.argsort(users, kind="stable")

    def apply(
        self, rules: Rules, table: pa.Table, order: IntArray | None, counts: MutableMapping[str, int]
    ) -> IntArray:
        """Apply the rules for rows that repeat, and count what they and ties in time amount to.

        Args:
            rules: the rules.
            table: what is coded here.
            order: which rows are earlier, as `order` gives it.
            counts: where to put the counts.

        Returns:
            Places of the rows to drop.

        Raises:
            CorpusFormatError: a rule refuses what there is.
        """
        suspects = self._repeating(order)
        sub = Coded(self.user_ids, self.item_ids, self.users[suspects], self.items[suspects], self.times[suspects])
        places = sub._dropped(rules, rows_in_order(table, suspects) if len(suspects) else table.slice(0, 0), counts)
        dropped = suspects[places]
        counts["interactions at the same time as an earlier one of their user"] = self._ties(dropped)
        counts["interactions"] = len(self.users) - len(dropped)
        counts["users"] = len(self.user_ids)
        return dropped

    def _repeating(self, order: IntArray | None) -> IntArray:
        """Rows of a user with an item that the user has another row with; in most tables few or none."""
        pairs = self.users.astype(np.int64) * len(self.item_ids) + self.items
        ascending = np.sort(pairs)
        several = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])
        del ascending
        if len(several) == 0:
            return several
        places = np.minimum(np.searchsorted(several, pairs), len(several) - 1)
        repeating = several[places] == pairs
        return np.flatnonzero(repeating) if order is None else order[repeating[order]]

    def _dropped(self, rules: Rules, table: pa.Table, counts: MutableMapping[str, int]) -> IntArray:
        encoded = EncodedInteractions(
            self.user_ids, self.item_ids, self.users.astype(np.int64), self.items.astype(np.int64), self.times
        )
        rows = np.arange(len(self.users))
        twice = exact_duplicates(as_dataset(table), encoded, rows) if len(rows) else rows
        counts["exact duplicates of an earlier row"] = len(twice)
        if len(twice) and rules.exact_duplicates == "error":
            raise CorpusFormatError(
                f"{self._who(twice[0])} is there again, one of {len(twice)} exact duplicates in all; drop them, or load"
                " with the option exact_duplicates='drop' or 'keep'"
            )
        if rules.exact_duplicates == "drop":
            rows = np.delete(rows, twice)
        counts["exact duplicates dropped"] = len(self.users) - len(rows)
        again = repeated(encoded, rows, "last" if rules.repeats == "last" else "first")
        counts["other rows of a user with an item that they have already"] = len(again)
        if len(again) and rules.repeats == "error":
            raise CorpusFormatError(
                f"{self._who(rows[again[0]])} is there more than once, as {len(again)} rows are in all; drop all but "
                "one, or load with the option repeats='first', 'last' or 'keep'"
            )
        repeats = again if rules.repeats in ("first", "last") else again[:0]
        counts["repeats dropped"] = len(repeats)
        return np.setdiff1d(np.arange(len(self.users)), np.delete(rows, repeats))

    def _who(self, row: int) -> str:
        user, item = self.user_ids[int(self.users[row])], self.item_ids[int(self.items[row])]
        return f"user {user.as_py()!r} with item {item.as_py()!r}"

    def _ties(self, dropped: IntArray) -> int:
        keys = self.users.astype(np.int64) * (2 * MAX_TIMESTAMP) + self.times
        if len(dropped):
            keys = np.delete(keys, dropped)
        keys.sort()
        return int((keys[1:] == keys[:-1]).sum())


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _rank(ids: pa.Array) -> npt.NDArray[np.int32]:
    """For each ID its place in the order of IDs: by number where all are short numbers, else by text."""
    are_numbers = pc.all(pc.match_substring_regex(ids, r"^[0-9]{1,18}$")).as_py()
    keys = [ids.cast(pa.int64()), ids] if are_numbers else [ids]
    table = pa.table({str(number): key for number, key in enumerate(keys)})
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in table.column_names])
    rank = np.empty(len(ids), dtype=np.int32)
    rank[order.to_numpy()] = np.arange(len(ids))
    return rank
