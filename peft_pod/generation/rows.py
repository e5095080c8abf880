"""Rows of a stream that ask for recommendations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def check_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that something may be a stream of rows.

    Raises:
        ValueError: it is one row, a string, or nothing that can be iterated over.
    """
    if isinstance(rows, (str, Mapping)) or not isinstance(rows, Iterable):
        raise ValueError(f"rows must be a list or stream of dictionaries with 'user', got {type(rows).__name__}")


def user_and_history(row: Mapping[str, Any]) -> tuple[str, Sequence[str] | None]:
    """The user of a row, and the history where it has one.

    Raises:
        ValueError: the row is no dictionary, or names no user.

    Example:
        >>> user_and_history({"user": "u0007"}), user_and_history({"user": "u0009", "history": ["i0001"]})
        (('u0007', None), ('u0009', ['i0001']))
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"it must be a dictionary with 'user' and perhaps 'history', got {row!r}")
    if "user" not in row:
        raise ValueError(f"it has no 'user', only {sorted(map(str, row))}")
    return row["user"], row.get("history")


def length_of(rows: Iterable[Any]) -> int | None:
    """How many rows there are, where they say so."""
    try:
        return len(rows)  # type: ignore[arg-type]
    except TypeError:
        return None
