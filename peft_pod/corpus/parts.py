"""What a split hands out: the training part, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np
import pyarrow as pa

from .ragged import IntArray, Ragged

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Explanation:
    """A sentence in which a user says why they took an item. Users and items are positions in the split's lists."""

    user: int
    item: int
    text: str
    feature: str


class ExplanationColumns(Sequence[Explanation]):
    """Sentences that stay in Arrow's memory until one is asked for.

    Args:
        users: position of the user of each sentence.
        items: likewise of the item.
        texts: the sentences.
        features: the property that each names, or "".

    Example:
        >>> rows = ExplanationColumns(np.array([0]), np.array([3]), pa.array(["It lasts."]), pa.array([""]))
        >>> rows[0]
        Explanation(user=0, item=3, text='It lasts.', feature='')
    """

    def __init__(
        self, users: IntArray, items: IntArray, texts: pa.Array | pa.ChunkedArray, features: pa.Array | pa.ChunkedArray
    ) -> None:
        self.users = users
        self.items = items
        self.texts = texts
        self.features = features

    def take(self, rows: IntArray) -> ExplanationColumns:
        """Some of the sentences."""
        return ExplanationColumns(self.users[rows], self.items[rows], self.texts.take(rows), self.features.take(rows))

    def __len__(self) -> int:
        return len(self.users)

    @overload
    def __getitem__(self, index: int) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> ExplanationColumns: ...

    def __getitem__(self, index: int | slice) -> Explanation | ExplanationColumns:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"there is no sentence {index}; the {len(self)} sentences are counted from 0")
        return Explanation(
            int(self.users[row]), int(self.items[row]), self.texts[row].as_py(), self.features[row].as_py()
        )

    def __repr__(self) -> str:
        return f"ExplanationColumns({len(self)} sentences)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, as a list is


@dataclass(frozen=True, repr=False)
class TrainingPart:
    """What may be seen before evaluation: the catalogue, the users, and the training interactions and sentences.

    Attributes:
        user_ids: the corpus' user IDs; everything else refers to users by their position here.
        item_ids: the catalogue, likewise. It holds items that never occur in training too (they can be bought
            tomorrow), in the order of the `items` table.
        item_titles: title of each item, in the order of `item_ids`.
        sequences: for each user the items of the training part, oldest first. Any sequence of arrays is taken, and
            kept as `Ragged`.
        timestamps: when, aligned with `sequences`; likewise.
        explanations: the training sentences.
        item_texts: description of each item, `""` where it has none, in the order of `item_ids`; empty where the
            `items` table has no column `text`.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    item_titles: Sequence[str]
    sequences: Ragged
    timestamps: Ragged
    explanations: Sequence[Explanation]
    item_texts: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sequences", Ragged.of(self.sequences))
        object.__setattr__(self, "timestamps", Ragged.of(self.timestamps))

    def __repr__(self) -> str:
        taken, said = len(self.sequences.values), len(self.explanations)
        return (
            f"TrainingPart({self.num_users} users, {self.num_items} items, {taken} interactions, {said} explanations)"
        )

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.item_ids)

    @cached_property
    def lengths(self) -> IntArray:
        """Number of training items of each user; shape `(num_users,)`."""
        return self.sequences.lengths

    @cached_property
    def users_with_items(self) -> IntArray:
        """Users with at least one training item, in order."""
        return np.flatnonzero(self.lengths >= 1)

    @cached_property
    def users_with_transitions(self) -> IntArray:
        """Users with at least two training items, so that one follows another, in order."""
        return np.flatnonzero(self.lengths >= 2)

    @cached_property
    def transition_ends(self) -> IntArray:
        """Running total, over users, of the training items that follow another; shape `(num_users,)`."""
        return np.cumsum(np.maximum(self.lengths - 1, 0))

    @cached_property
    def item_counts(self) -> IntArray:
        """How often each item occurs in the training part; shape `(num_items,)`."""
        return np.bincount(self.sequences.values, minlength=self.num_items).astype(np.int64)

    @cached_property
    def popularity_ends(self) -> IntArray:
        """Running total, over items, of `item_counts` + 1: by it, items are drawn by popularity; shape `(num_items,)`.

        The 1 lets items be drawn that do not occur in training. Else such an item among candidates could only be the
        right one.
        """
        return np.cumsum(self.item_counts + 1)
