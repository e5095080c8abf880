"""The folders of the P5 and POD papers: `sequential.txt` and `datamaps.json`, plain or with `.gz`."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from datasets import Dataset

from .corpus import Corpus
from .lines import find_file, is_whole_number, malformed, read_lines, read_text
from .schema import CorpusFormatError


def read_pod_folder(data_dir: Path, *, name: str) -> Corpus:
    """Read a folder of the P5 and POD papers.

    Users and items have their original IDs (of reviewer and product), which `datamaps.json` gives for the indices of
    `sequential.txt`. The indices are dropped: they were handed out in the order in which items appear in users'
    histories, held-out items included, so that a model could read the answer off them. The catalogue is ordered by
    original ID, which knows nothing of the histories. Users keep the order of the lines: that order tells nothing
    about items once the items' own order does not follow it.

    Only the order of a user's items is known, not the time: `timestamp` is the position in the line, from 0. There
    are no titles in the folder: an item's title is its original ID. An item that stands in a line more than once was
    taken more than once. Where a file is there plain and compressed, the plain one is read.

    Args:
        data_dir: the folder.
        name: what to call the corpus.

    Raises:
        FileNotFoundError: one of the files is missing.
        CorpusFormatError: a file is damaged; the message has its name and the line's number.
        ValueError: `name` is empty.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be what to call the corpus, got {name!r}")
    sequential = find_file(data_dir, "sequential.txt", or_gzip=True)
    user_of, item_of = _read_maps(find_file(data_dir, "datamaps.json", or_gzip=True))
    users: list[str] = []
    items: list[str] = []
    positions: list[int] = []
    lines: dict[str, int] = {}
    for number, line in read_lines(sequential):
        user, *taken = line.split()
        if user not in user_of:
            _refuse_index(sequential, number, "user", user, "id2user")
        if lines.setdefault(user, number) != number:
            malformed(sequential, number, f"user {user} has line {lines[user]} already")
        if not taken:
            malformed(sequential, number, f"user {user} has no items; expected 'user item item …'")
        try:
            items.extend([item_of[index] for index in taken])
        except KeyError as error:
            _refuse_index(sequential, number, "item", error.args[0], "id2item")
        users.extend([user_of[user]] * len(taken))
        positions.extend(range(len(taken)))
    interactions = pa.table({"user_id": users, "item_id": items, "timestamp": pa.array(positions, pa.int64())})
    catalogue = sorted(item_of.values())
    return Corpus.from_tables(
        name,
        {
            "interactions": Dataset(interactions),
            "items": Dataset.from_dict({"item_id": catalogue, "title": catalogue}),
        },
    )


def _refuse_index(path: Path, number: int, what: str, index: str, table: str) -> NoReturn:
    if not is_whole_number(index):
        malformed(path, number, f"expected the number of {'a' if what == 'user' else 'an'} {what}, got {index!r}")
    malformed(path, number, f"{what} {index} is not in {table!r} of datamaps.json")


def _read_maps(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    try:
        maps = json.loads(read_text(path), object_pairs_hook=partial(_distinct_keys, path))
    except json.JSONDecodeError as error:
        malformed(path, error.lineno, f"not JSON: {error.msg} (column {error.colno})")
    return _read_map(path, maps, "id2user"), _read_map(path, maps, "id2item")


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
        if not isinstance(original, str) or not original:
            raise CorpusFormatError(f"{path}: {name!r} gives {original!r} for {index!r}; expected a non-empty string")
        if index_of.setdefault(original, index) != index:
            raise CorpusFormatError(
                f"{path}: {name!r} gives {original!r} for both {index_of[original]!r} and {index!r}"
            )
    return found
