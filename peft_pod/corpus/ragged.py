"""Rows of different lengths in one array: a million histories without a million arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class Ragged(Sequence[IntArray]):
    """A read-only sequence of integer arrays that lie one after the other in a flat array.

    Rows and slices are views: nothing is copied when one is taken.

    Args:
        values: the values of all rows, one row after the other.
        offsets: where each row begins in `values`, and where the last one ends; shape `(rows + 1,)`.

    Raises:
        ValueError: the offsets do not begin at 0, fall somewhere, or do not end where the values do.

    Example:
        >>> rows = Ragged(np.array([5, 6, 7]), np.array([0, 2, 2, 3]))
        >>> [row.tolist() for row in rows]
        [[5, 6], [], [7]]
        >>> rows.lengths.tolist(), rows[1:] == Ragged.of([[], [7]])
        ([2, 0, 1], True)
    """

    __slots__ = ("offsets", "values")
    __hash__ = None  # type: ignore[assignment]  # equal by content, and arrays are not hashed

    values: IntArray
    offsets: IntArray

    def __init__(self, values: IntArray, offsets: IntArray) -> None:
        values, offsets = _read_only(values), _read_only(offsets)
        if values.ndim != 1 or offsets.ndim != 1 or len(offsets) == 0:
            raise ValueError(f"values and offsets are flat arrays, got the shapes {values.shape} and {offsets.shape}")
        if offsets[0] != 0 or offsets[-1] != len(values) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError(
                f"offsets must rise from 0 to the number of values, {len(values)}; they go from {offsets[0]} to "
                f"{offsets[-1]}{' and fall in between' if (offsets[1:] < offsets[:-1]).any() else ''}"
            )
        self.values = values
        self.offsets = offsets

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> Ragged:
        """The same rows; what is one already is given back as it is."""
        if isinstance(rows, Ragged):
            return rows
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        return cls.from_lengths(np.concatenate([np.empty(0, np.int64), *arrays]), [len(array) for array in arrays])

    @classmethod
    def from_lengths(cls, values: IntArray, lengths: Sequence[int] | IntArray) -> Ragged:
        """Rows of the given lengths, which together have all the values."""
        return cls(values, _offsets(np.asarray(lengths, dtype=np.int64)))

    @property
    def lengths(self) -> IntArray:
        """Length of each row."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> IntArray:
        """For each value the number of its row."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> IntArray:
        """For each value its place in its row, from 0."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    def take(self, rows: Sequence[int] | IntArray) -> Ragged:
        """Some rows, in the order given; a row may be named more than once.

        Raises:
            IndexError: there is no row of that number.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.offsets[:-1][chosen], self.lengths[chosen]
        return Ragged.from_lengths(self.values[_ranges(starts, lengths)], lengths)

    def split(self, counts: IntArray) -> tuple[Ragged, Ragged]:
        """The first `counts[row]` values of each row, and the rest of each.

        Raises:
            ValueError: a count is negative, or larger than its row is long.

        Example:
            >>> head, rest = Ragged.of([[1, 2, 3], [4]]).split(np.array([2, 0]))
            >>> [row.tolist() for row in head], [row.tolist() for row in rest]
            ([[1, 2], []], [[3], [4]])
        """
        lengths = self.lengths
        if len(counts) != len(lengths) or (counts < 0).any() or (counts > lengths).any():
            raise ValueError("counts must have, for each row, a number from 0 to the row's length")
        in_head = self.places < np.repeat(counts, lengths)
        return (
            Ragged.from_lengths(self.values[in_head], counts),
            Ragged.from_lengths(self.values[~in_head], lengths - counts),
        )

    def join(self, other: Ragged) -> Ragged:
        """Each row followed by the row of the same number of another.

        Raises:
            ValueError: the other one has another number of rows.

        Example:
            >>> [row.tolist() for row in Ragged.of([[1], [2]]).join(Ragged.of([[3, 4], []]))]
            [[1, 3, 4], [2]]
        """
        if len(other) != len(self):
            raise ValueError(f"{len(self)} rows cannot be joined with {len(other)}")
        lengths = self.lengths + other.lengths
        starts = _offsets(lengths)[:-1]
        values = np.empty(len(self.values) + len(other.values), dtype=np.int64)
        values[_ranges(starts, self.lengths)] = self.values
        values[_ranges(starts + self.lengths, other.lengths)] = other.values
        return Ragged.from_lengths(values, lengths)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> IntArray: ...

    @overload
    def __getitem__(self, index: slice) -> Ragged: ...

    def __getitem__(self, index: int | slice) -> IntArray | Ragged:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            offsets = self.offsets[start : max(start, stop) + 1]
            return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"there is no row {index}; the {len(self)} rows are counted from 0")
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[IntArray]:
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.values[start:stop]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.values, other.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (np.asarray(self.values), np.asarray(self.offsets))

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {len(self.values)} values)"


def _read_only(values: IntArray) -> IntArray:
    view = np.asarray(values, dtype=np.int64).view()
    view.flags.writeable = False
    return view


def _offsets(lengths: IntArray) -> IntArray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """The numbers `start, start + 1, …` of each range, one range after the other."""
    shift = starts - _offsets(lengths)[:-1]
    return np.arange(int(lengths.sum())) + np.repeat(shift, lengths)
