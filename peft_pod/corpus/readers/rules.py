"""What becomes of rows that are not as they should be."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args, get_type_hints

ExactDuplicates = Literal["keep", "drop", "error"]
Repeats = Literal["keep", "first", "last", "error"]
BadTimestamps = Literal["error", "drop"]
TimestampUnit = Literal["s", "ms", "us", "ns"]

PER_SECOND: dict[TimestampUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Rules:
    """The rules of a reader, each of which counts what it found.

    Args:
        exact_duplicates: rows that equal an earlier one in every column of the table: keep, drop or refuse them.
        repeats: rows of a user with an item that they have another row with, other than exact duplicates that are
            dropped: keep all, only the first or the last in time (in the file, where the time is the same), or refuse.
        bad_timestamps: rows without a timestamp, or with one before 1970 or after 2099: refuse or drop them.
        timestamp_unit: the unit of the file; the table has whole seconds. In a unit finer than a second, a number that
            would be a time up to the year 2099 in seconds is taken for a mistaken unit, and thus for a bad timestamp.

    Raises:
        ValueError: a rule does not have a value that it can have.

    Example:
        >>> Rules(repeats="mean")
        Traceback (most recent call last):
            ...
        ValueError: repeats must be one of 'keep', 'first', 'last', 'error', got 'mean'
    """

    exact_duplicates: ExactDuplicates = "keep"
    repeats: Repeats = "keep"
    bad_timestamps: BadTimestamps = "error"
    timestamp_unit: TimestampUnit = "s"

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, known = getattr(self, field.name), get_args(hints[field.name])
            if value not in known:
                raise ValueError(f"{field.name} must be one of {', '.join(map(repr, known))}, got {value!r}")

    def settings(self) -> dict[str, str]:
        """For the step of the reader."""
        return asdict(self)
