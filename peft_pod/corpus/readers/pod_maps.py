"""`datamaps.json` of a POD folder: which index stands for which user and item."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..lines import find_file, is_whole_number, malformed, read_text
from ..ragged import IntArray
from ..schema import CorpusFormatError

_TABLES = {"user": "id2user", "item": "id2item"}


@dataclass(frozen=True)
class PodMaps:
    """The original IDs of users and items by the indices of the files.

    Args:
        user_of: for each index of a user its original ID.
        item_of: likewise of an item.
    """

    user_of: dict[str, str]
    item_of: dict[str, str]

    @cached_property
    def _items(self) -> tuple[pa.Array, pa.Array]:
        return pa.array(list(self.item_of), pa.string()), pa.array(list(self.item_of.values()), pa.string())

    def item_ids(self, path: Path, indices: Sequence[str], lines: IntArray) -> pa.Array:
        """The original IDs of items.

        Args:
            path: the file that the indices are from, for messages.
            indices: of items.
            lines: for each index its line in the file, for messages.

        Raises:
            CorpusFormatError: an index is not in the map.
        """
        known, ids = self._items
        places = pc.index_in(pa.array(indices, pa.string()), value_set=known)
        if places.null_count:
            first = places.is_null().index(True).as_py()
            refuse_index(path, int(lines[first]), "item", indices[first])
        return ids.take(places)


def read_pod_maps(data_dir: Path) -> PodMaps:
    """Read `datamaps.json[.gz]`.

    Raises:
        FileNotFoundError: it is missing.
        CorpusFormatError: it is damaged, or gives one ID for two indices or two IDs for one.
    """
    path = find_file(data_dir, "datamaps.json", or_gzip=True)
    maps = load_json(path)
    return PodMaps(_read_map(path, maps, _TABLES["user"]), _read_map(path, maps, _TABLES["item"]))


def load_json(path: Path) -> Any:
    """A whole JSON file, whose objects have each key once.

    Raises:
        CorpusFormatError: it is damaged.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=partial(_distinct_keys, path))
    except json.JSONDecodeError as error:
        malformed(path, error.lineno, f"not JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        if isinstance(error, CorpusFormatError):
            raise
        # A number of thousands of digits, or brackets within brackets without an end.
        raise CorpusFormatError(f"{path} cannot be read as JSON: {error}") from error


def refuse_index(path: Path, number: int, what: Literal["user", "item"], index: str) -> NoReturn:
    """Refuse a line with an index that the maps don't have.

    Raises:
        CorpusFormatError: always.
    """
    if not is_whole_number(index):
        malformed(path, number, f"expected the number of {'a' if what == 'user' else 'an'} {what}, got {index!r}")
    malformed(path, number, f"{what} {index} is not in {_TABLES[what]!r} of datamaps.json")


def read_lists(path: Path, lines: Any, maps: PodMaps) -> tuple[list[str], pa.Array, IntArray]:
    """Lines of the form `user item item …`.

    Args:
        path: the file, for messages.
        lines: number and content of each line.
        maps: the original IDs.

    Returns:
        The users' IDs, the items' IDs one user after the other, and how many items each user has.

    Raises:
        CorpusFormatError: a line has another form, or a user has two.
    """
    users: list[str] = []
    indices: list[str] = []
    lengths: list[int] = []
    numbers: dict[str, int] = {}
    for number, line in lines:
        user, *taken = line.split()
        if user not in maps.user_of:
            refuse_index(path, number, "user", user)
        if numbers.setdefault(user, number) != number:
            malformed(path, number, f"user {user} has line {numbers[user]} already")
        if not taken:
            malformed(path, number, f"user {user} has no items; expected 'user item item …'")
        users.append(maps.user_of[user])
        indices.extend(taken)
        lengths.append(len(taken))
    counts = np.array(lengths, dtype=np.int64)
    return users, maps.item_ids(path, indices, np.repeat(list(numbers.values()), counts)), counts


def _distinct_keys(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file. `json` alone would keep the last of several entries for one key and say nothing."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise CorpusFormatError(f"{path}: an object has the key {twice!r} more than once")
    return entries


def _read_map(path: Path, maps: object, name: str) -> dict[str, str]:
    found = maps.get(name) if isinstance(maps, dict) else None
    if not isinstance(found, dict):
        has = sorted(maps) if isinstance(maps, dict) else type(maps).__name__
        raise CorpusFormatError(f"{path}: expected an object with the object {name!r} in it, got {has}")
    index_of: dict[str, str] = {}
    for index, original in found.items():
        if not isinstance(original, str) or not original.strip():
            raise CorpusFormatError(f"{path}: {name!r} gives {original!r} for {index!r}; expected a non-empty string")
        if not index.isprintable() or not original.isprintable():
            raise CorpusFormatError(f"{path}: {name!r} gives {original!r} for {index!r}, not a printable text")
        if index_of.setdefault(original, index) != index:
            raise CorpusFormatError(
                f"{path}: {name!r} gives {original!r} for both {index_of[original]!r} and {index!r}"
            )
    return found
