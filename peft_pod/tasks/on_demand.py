"""Samples that are made when they are asked for, so that those of a million users take no memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from .base import Sample


class SamplesOnDemand(Sequence[Sample]):
    """A sequence of samples of which none is kept.

    Args:
        length: how many there are.
        make: makes the sample of a place; the same one every time. A function of a module or a method, or a
            `functools.partial` of one: workers of a `DataLoader` may be handed it by pickling.

    Example:
        >>> from peft_pod.tasks import SequentialTask
        >>> samples = SamplesOnDemand(3, lambda place: SequentialTask().query(place, [place + 10]))
        >>> [sample.user for sample in samples], samples[1:][0].items
        ([0, 1, 2], {'history': [11]})
    """

    __hash__ = None  # type: ignore[assignment]  # equal by content, as a list is

    def __init__(self, length: int, make: Callable[[int], Sample]) -> None:
        self._places = range(length)
        self._make = make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            some = SamplesOnDemand(0, self._make)
            some._places = self._places[index]
            return some
        return self._make(self._places[index])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(own == theirs for own, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"SamplesOnDemand({len(self)} samples)"
