"""The corpus' own IDs beside the positions by which everything inside refers to users and items."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from peft_pod.files import replacing

from .ragged import Ragged
from .schema import CorpusFormatError
from .split import IntArray, Split

ITEMS_FILE = "items.parquet"
USERS_FILE = "users.parquet"


@dataclass(frozen=True)
class Catalogue:
    """Users and items by their own IDs, and what each user is known to have taken.

    Attributes:
        item_ids: by position.
        titles: likewise.
        user_ids: by position.
        histories: for each user the positions of their items, oldest first; `None` where they were not kept.

    Raises:
        ValueError: titles or histories are not as many as the IDs they belong to, or an ID stands twice.

    Example:
        >>> catalogue = Catalogue(["B07", "B11"], ["Soap", "Brush"], ["ann"], [np.array([1])])
        >>> catalogue.item_position("B11"), catalogue.titles[1]
        (1, 'Brush')
    """

    item_ids: Sequence[str]
    titles: Sequence[str]
    user_ids: Sequence[str]
    histories: Sequence[IntArray] | None = None

    def __post_init__(self) -> None:
        if len(self.titles) != len(self.item_ids):
            raise ValueError(f"titles has {len(self.titles)} entries for {len(self.item_ids)} items; give one for each")
        if self.histories is not None and len(self.histories) != len(self.user_ids):
            raise ValueError(
                f"histories has {len(self.histories)} entries for {len(self.user_ids)} users; give one for each"
            )
        for name, ids in (("item_ids", self.item_ids), ("user_ids", self.user_ids)):
            if len(set(ids)) != len(ids):
                twice = next(one for one, count in Counter(ids).items() if count > 1)
                raise ValueError(f"{name} names {twice!r} more than once; an ID has one position")

    @classmethod
    def from_split(cls, split: Split) -> Catalogue:
        """Take users, items and whole histories of a split corpus: held-out items are known when a model is used."""
        train = split.train
        return cls(train.item_ids, train.item_titles, train.user_ids, split.all_histories())

    @cached_property
    def _item_positions(self) -> dict[str, int]:
        return {item_id: position for position, item_id in enumerate(self.item_ids)}

    @cached_property
    def _user_positions(self) -> dict[str, int]:
        return {user_id: position for position, user_id in enumerate(self.user_ids)}

    def item_position(self, item_id: str) -> int:
        """Position of an item.

        Raises:
            ValueError: the item is not in the catalogue.
        """
        if not self.has_item(item_id):
            raise ValueError(
                f"item {item_id!r} is not in the catalogue of {len(self.item_ids)} items"
                f"{self._hint(item_id, self._item_positions)}"
            )
        return self._item_positions[item_id]

    def item_positions(self, item_ids: Iterable[str]) -> dict[str, int | None]:
        """Positions of many items, each once, in the order in which they come first; `None` of unknown ones."""
        position = self._item_positions.get
        return {item_id: position(item_id) for item_id in item_ids}

    def has_item(self, item_id: str) -> bool:
        """Whether an item is in the catalogue; what is no string, such as a list, is not."""
        return isinstance(item_id, str) and item_id in self._item_positions

    def has_user(self, user_id: str) -> bool:
        """Whether a user is among those of the catalogue; what is no string, such as a list, is not."""
        return isinstance(user_id, str) and user_id in self._user_positions

    def user_position(self, user_id: str) -> int:
        """Position of a user.

        Raises:
            ValueError: the model was trained without this user.
        """
        if not self.has_user(user_id):
            raise ValueError(
                f"user {user_id!r} is not among the {len(self.user_ids)} users the model was trained on"
                f"{self._hint(user_id, self._user_positions)}"
            )
        return self._user_positions[user_id]

    def history(self, user: int) -> IntArray:
        """What the user at a position is known to have taken.

        Raises:
            ValueError: histories were not saved with the model.
        """
        if self.histories is None:
            raise ValueError("histories were not saved with this model: pass history=")
        return self.histories[user]

    def save(self, folder: str | os.PathLike[str], *, histories: bool = True) -> None:
        """Write the catalogue into a folder.

        Args:
            folder: where.
            histories: whether to write what each user took; leave it out of folders that are made public.
        """
        items = pa.table({"item_id": list(self.item_ids), "title": list(self.titles)})
        with replacing(Path(folder) / ITEMS_FILE) as temporary:
            pq.write_table(items, temporary)
        columns: dict[str, pa.Array] = {"user_id": pa.array(list(self.user_ids), pa.string())}
        if histories and self.histories is not None:
            rows = Ragged.of(self.histories)
            # Large lists in memory, since there may be more than 2^31 items; a file is the same for both.
            taken = pa.array(rows.values.astype(np.int32))
            columns["history"] = pa.LargeListArray.from_arrays(pa.array(rows.offsets), taken)
        with replacing(Path(folder) / USERS_FILE) as temporary:
            pq.write_table(pa.table(columns), temporary)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Catalogue:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: one of the two files is missing.
            CorpusFormatError: one of them is damaged.
        """
        for name in (ITEMS_FILE, USERS_FILE):
            if not (Path(folder) / name).is_file():
                raise FileNotFoundError(f"{folder} has no {name}: it was not saved by Recommender, or not to the end")
        items = _read_table(Path(folder) / ITEMS_FILE, ("item_id", "title"))
        users = _read_table(Path(folder) / USERS_FILE, ("user_id",))
        histories = None
        if "history" in users.column_names:
            column = users["history"].combine_chunks()
            flat = np.asarray(column.flatten()).astype(np.int64)
            histories = Ragged.from_lengths(flat, np.asarray(column.value_lengths(), dtype=np.int64))
        return cls(items["item_id"].to_pylist(), items["title"].to_pylist(), users["user_id"].to_pylist(), histories)

    @staticmethod
    def _hint(wanted: str, known: dict[str, int]) -> str:
        if isinstance(wanted, str):
            return ""
        return f"; IDs are strings, did you mean {str(wanted)!r}?" if str(wanted) in known else "; IDs are strings"


def _read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise CorpusFormatError(f"{path} is damaged or cut off: {error}") from error
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise CorpusFormatError(f"{path} lacks the columns {missing}; it has {table.column_names}")
    return table
