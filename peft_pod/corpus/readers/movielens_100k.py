"""MovieLens 100K as GroupLens released it: `u.data` and `u.item`, and `u.genre` and `u.info` where they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from datasets import Dataset, Features, Value

from ..corpus import Corpus
from ..lines import find_file, is_whole_number, malformed, read_lines
from ..schema import CorpusFormatError
from ..steps import Step
from .interactions import survey

Repeats = Literal["error", "first", "last"]

_DATA_FIELDS = ("user", "item", "rating", "timestamp")
_FIELDS_BEFORE_GENRES = 5
_NUM_GENRES = 19
_MOST_DIGITS = 18
"""Every number of so many digits fits into 64 bits."""
_FEATURES = Features(
    {"user_id": Value("string"), "item_id": Value("string"), "timestamp": Value("int64"), "rating": Value("float32")}
)


def read_movielens_100k(data_dir: Path, *, repeats: Repeats = "error") -> Corpus:
    """Read MovieLens 100K.

    Interactions are ordered by user and time; ratings of a user in the same second keep the order of `u.data`. The
    catalogue is ordered by title, since the numbers of the items were handed out in an order that follows the ratings
    (user 1 rated exactly the items 1 to 272), held-out ones included.

    Args:
        data_dir: the folder with `u.data` and `u.item`. With `u.genre` the items have a `text` that names their
            genres; with `u.info` the numbers of users, items and ratings are checked.
        repeats: what to do where a user rates an item more than once: refuse the file, since the released one has no
            such rows, or keep the `"first"` or `"last"` rating by time (by line, where the time is the same).

    Raises:
        FileNotFoundError: `u.data` or `u.item` is missing.
        CorpusFormatError: a line does not have the form it should; the message has the file and the line's number.
        ValueError: `repeats` is none of the three.
    """
    if repeats not in get_args(Repeats):
        raise ValueError(f"repeats must be one of {', '.join(map(repr, get_args(Repeats)))}, got {repeats!r}")
    data_path, item_path = find_file(data_dir, "u.data"), find_file(data_dir, "u.item")
    items = _read_items(item_path, _read_genres(data_dir / "u.genre"))
    ratings, num_lines = _read_ratings(data_path, set(items["item_id"]), repeats)
    found = {
        "users": (len(set(ratings["user_id"])), data_path),
        "items": (len(items["item_id"]), item_path),
        "ratings": (num_lines, data_path),
    }
    _check_counts(data_dir / "u.info", found)
    order = sorted(range(len(items["item_id"])), key=lambda row: (items["title"][row], int(items["item_id"][row])))
    tables = {
        "interactions": Dataset.from_dict(ratings, features=_FEATURES),
        "items": Dataset.from_dict({column: [values[row] for row in order] for column, values in items.items()}),
    }
    counts = {
        "rows read": num_lines,
        **survey(tables["interactions"]),
        # The survey is of what was kept, and finds none.
        "repeats dropped": num_lines - len(ratings["user_id"]),
        "items that nobody took": len(items["item_id"]) - len(set(ratings["item_id"])),
        "items": len(items["item_id"]),
    }
    step = Step("read movielens-100k", {"repeats": repeats}, counts)
    return Corpus.from_tables("movielens-100k", tables, [step])


def find_movielens_100k(path: Path) -> list[str]:
    """The files by which a folder is recognised."""
    names = ["u.data", "u.item"]
    return names if all((path / name).is_file() for name in names) else []


def _read_genres(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    genres: list[str] = []
    for number, line in read_lines(path, encoding="latin-1"):
        name, _, position = line.rpartition("|")
        if not name or position != str(len(genres)):
            malformed(path, number, f"expected 'genre|{len(genres)}', got {line!r}")
        genres.append(name)
    return genres


def _read_items(path: Path, genres: list[str] | None) -> dict[str, list[str]]:
    num_genres = _NUM_GENRES if genres is None else len(genres)
    expected = _FIELDS_BEFORE_GENRES + num_genres
    items: dict[str, list[str]] = {"item_id": [], "title": []}
    if genres is not None:
        items["text"] = []
    lines: dict[str, int] = {}
    for number, line in read_lines(path, encoding="latin-1"):
        values = line.split("|")
        if len(values) != expected:
            malformed(path, number, f"expected {expected} fields separated by '|', got {len(values)}: {line!r}")
        item_id, title, flags = values[0], values[1].strip(), values[_FIELDS_BEFORE_GENRES:]
        if not is_whole_number(item_id):
            malformed(path, number, f"expected the item's number in field 1, got {item_id!r}")
        if not title:
            malformed(path, number, "expected the item's title in field 2, got nothing")
        if not set(flags) <= {"0", "1"}:
            malformed(path, number, f"expected 0 or 1 in each of the last {num_genres} fields, got {'|'.join(flags)!r}")
        if lines.setdefault(item_id, number) != number:
            malformed(path, number, f"item {item_id} stands in line {lines[item_id]} already")
        items["item_id"].append(item_id)
        items["title"].append(title)
        if genres is not None:
            own = [genre for genre, flag in zip(genres, flags, strict=True) if flag == "1"]
            items["text"].append(f"Genres: {', '.join(own) if own else 'none'}")
    return items


def _read_ratings(path: Path, item_ids: set[str], repeats: Repeats) -> tuple[dict[str, list], int]:
    """The columns of the table, and the number of lines, which is greater where repeats were dropped."""
    users: list[str] = []
    items: list[str] = []
    ratings: list[int] = []
    timestamps: list[int] = []
    lines: dict[tuple[str, str], int] = {}
    for number, line in read_lines(path):
        values = line.split("\t")
        if len(values) != len(_DATA_FIELDS):
            fields = ", ".join(_DATA_FIELDS)
            malformed(path, number, f"expected {fields} separated by tabs, got {len(values)} field(s): {line!r}")
        for field, value in zip(_DATA_FIELDS, values, strict=True):
            if not is_whole_number(value):
                malformed(path, number, f"expected a whole number as {field}, got {value!r}")
            if len(value) > _MOST_DIGITS:
                malformed(path, number, f"expected at most {_MOST_DIGITS} digits as {field}, got {value!r}")
        user, item, rating, timestamp = values
        if rating not in ("1", "2", "3", "4", "5"):
            malformed(path, number, f"expected a rating from 1 to 5, got {rating!r}")
        if item not in item_ids:
            malformed(path, number, f"item {item} is not in u.item")
        if repeats == "error" and lines.setdefault((user, item), number) != number:
            malformed(
                path,
                number,
                f"user {user} rates item {item} again, after line {lines[user, item]}; drop one, or load with the "
                "option repeats='first' or repeats='last'",
            )
        users.append(user)
        items.append(item)
        ratings.append(int(rating))
        timestamps.append(int(timestamp))
    rows = np.lexsort((np.array(timestamps), np.array(users, dtype=np.int64))).tolist()  # stable
    if repeats != "error":
        rows = _without_repeats(rows, users, items, repeats)
    columns: dict[str, list] = {"user_id": users, "item_id": items, "timestamp": timestamps, "rating": ratings}
    return {name: [values[row] for row in rows] for name, values in columns.items()}, len(users)


def _without_repeats(rows: list[int], users: list[str], items: list[str], repeats: Repeats) -> list[int]:
    """Keep one of the rows of each user and item; `rows` is ordered by time within a user."""
    kept: dict[tuple[str, str], int] = {}
    for place, row in enumerate(rows):
        pair = users[row], items[row]
        if repeats == "last" or pair not in kept:
            kept[pair] = place
    return [rows[place] for place in sorted(kept.values())]


def _check_counts(path: Path, found: dict[str, tuple[int, Path]]) -> None:
    """Find files that were cut off at the end of a line: compare the announced numbers with those found, and where."""
    if not path.is_file():
        return
    announced = set()
    for number, line in read_lines(path):
        count, _, what = line.partition(" ")
        if what not in found or not is_whole_number(count):
            malformed(path, number, f"expected a number and 'users', 'items' or 'ratings', got {line!r}")
        have, where = found[what]
        if have != int(count):
            malformed(path, number, f"{count} {what} announced, but {where} has {have}; one of the two is not complete")
        announced.add(what)
    if missing := sorted(set(found) - announced):
        raise CorpusFormatError(f"{path} does not say how many {' and '.join(missing)} there are; it is not complete")
