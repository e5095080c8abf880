"""Leave-one-out: the last item of each user is the test item, the one before it the validation item.

The training part is an object of its own, so that whatever is fitted (item IDs, tokenizer, baselines, model) can be
handed exactly what it may see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from .schema import CorpusFormatError, arrow_column

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
IntArray = npt.NDArray[np.int64]

MIN_HISTORY = 3
"""Users with fewer interactions than this are kept for training whole: nothing of theirs is held out."""


@dataclass(frozen=True)
class Explanation:
    """A sentence in which a user says why they took an item. Users and items are positions in the split's lists."""

    user: int
    item: int
    text: str
    feature: str


@dataclass(frozen=True)
class TrainingPart:
    """What may be seen before evaluation: the catalogue, the users, and the training interactions and sentences.

    Attributes:
        user_ids: the corpus' user IDs; everything else refers to users by their position here.
        item_ids: the catalogue, likewise. It holds items that never occur in training too (they can be bought
            tomorrow), in the order of the `items` table.
        item_titles: title of each item, in the order of `item_ids`.
        sequences: for each user the items of the training part, oldest first.
        timestamps: when, aligned with `sequences`.
        explanations: the training sentences.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    item_titles: Sequence[str]
    sequences: Sequence[IntArray]
    timestamps: Sequence[IntArray]
    explanations: Sequence[Explanation]

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
        return np.fromiter(map(len, self.sequences), np.int64, len(self.sequences))

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
        flat = np.concatenate(self.sequences) if len(self.sequences) else np.empty(0, np.int64)
        return np.bincount(flat, minlength=self.num_items).astype(np.int64)


@dataclass(frozen=True)
class LeaveOneOut:
    """A corpus split by leave-one-out.

    Attributes:
        train: the training part.
        validation_items: for each user the validation item, −1 where nothing is held out; shape `(num_users,)`.
        test_items: likewise the test item.
        held_out_explanations: sentences about held-out interactions, by part (`"validation"`, `"test"`).

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> user = 0
        >>> bool((split.history(user, "test")[:-1] == split.history(user, "validation")).all())
        True
    """

    train: TrainingPart
    validation_items: IntArray
    test_items: IntArray
    held_out_explanations: dict[str, list[Explanation]]

    def target(self, user: int, part: Part) -> int:
        """The held-out item of `user` in `part`, or −1."""
        return int(self._targets(part)[user])

    def history(self, user: int, part: Part) -> IntArray:
        """What is known of `user` when `part` is predicted: for `"test"` the validation item is known too.

        Raises:
            ValueError: `part` is neither `"validation"` nor `"test"`; so in the methods beside it.
        """
        self._targets(part)  # Another part has no history, and must not get that of the training part.
        items = self.train.sequences[user]
        if part == "test" and self.validation_items[user] >= 0:
            return np.append(items, self.validation_items[user])
        return items

    def all_items(self, user: int) -> IntArray:
        """Everything `user` took, held-out items included, oldest first."""
        items = self.history(user, "test")
        return np.append(items, self.test_items[user]) if self.test_items[user] >= 0 else items

    def evaluated_users(self, part: Part) -> IntArray:
        """The users with a held-out item in `part`, in order."""
        return np.flatnonzero(self._targets(part) >= 0)

    def explanations(self, part: Part) -> Sequence[Explanation]:
        """The sentences of `part`.

        Raises:
            ValueError: there is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(map(repr, PARTS))}, got {part!r}")
        return self.train.explanations if part == "train" else self.held_out_explanations[part]

    def _targets(self, part: Part) -> IntArray:
        if part == "validation":
            return self.validation_items
        if part == "test":
            return self.test_items
        raise ValueError(f"part must be 'validation' or 'test' to have held-out items, not {part!r}")


def leave_one_out(interactions: Dataset, items: Dataset, explanations: Dataset | None = None) -> LeaveOneOut:
    """Split a corpus by leave-one-out.

    Interactions are ordered by user (in order of first appearance in the table) and time; ties in time keep the
    order of the table, which makes the split deterministic. Users with fewer than `MIN_HISTORY` interactions are
    kept for training whole. A sentence about a held-out interaction belongs to that interaction's part; one about an
    item that is held out for its user is never in the training part.

    Args:
        interactions: the table of that name, see `peft_pod.corpus.schema`.
        items: likewise.
        explanations: likewise, or `None`.

    Raises:
        CorpusFormatError: an interaction or explanation names an item or a user that the corpus does not have, or the
            catalogue names an item twice.
    """
    catalogue = arrow_column(items, "item_id")
    item_ids = catalogue.to_pylist()
    if len(set(item_ids)) != len(item_ids):
        twice = next(item_id for item_id, count in Counter(item_ids).items() if count > 1)
        raise CorpusFormatError(f"item {twice!r} stands more than once in the table 'items'")

    # Arrow numbers the values of a dictionary in the order of their first appearance.
    encoded = arrow_column(interactions, "user_id").combine_chunks().dictionary_encode()
    users = encoded.dictionary
    user_codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    item_codes = _codes(arrow_column(interactions, "item_id"), catalogue, "interactions", "item_id")
    times = arrow_column(interactions, "timestamp").to_numpy().astype(np.int64)
    order = np.lexsort((times, user_codes))  # stable: what is equal keeps the order of the table
    ends = np.cumsum(np.bincount(user_codes, minlength=len(users)))[:-1]
    by_user = np.split(item_codes[order], ends) if users else []
    times_by_user = np.split(times[order], ends) if users else []

    held_out = np.array([len(sequence) >= MIN_HISTORY for sequence in by_user], dtype=bool)
    pairs = list(zip(by_user, held_out, strict=True))
    train_sequences = [sequence[:-2] if held else sequence for sequence, held in pairs]
    validation = np.array([sequence[-2] if held else -1 for sequence, held in pairs], dtype=np.int64)
    test = np.array([sequence[-1] if held else -1 for sequence, held in pairs], dtype=np.int64)

    sentences = _split_explanations(explanations, users, catalogue, validation, test)
    train = TrainingPart(
        user_ids=users.to_pylist(),
        item_ids=item_ids,
        item_titles=arrow_column(items, "title").to_pylist(),
        sequences=train_sequences,
        timestamps=[stamps[: len(kept)] for stamps, kept in zip(times_by_user, train_sequences, strict=True)],
        explanations=sentences["train"],
    )
    return LeaveOneOut(
        train=train,
        validation_items=validation,
        test_items=test,
        held_out_explanations={part: sentences[part] for part in ("validation", "test")},
    )


def _codes(values: pa.ChunkedArray, known: pa.Array | pa.ChunkedArray, table: str, column: str) -> IntArray:
    """Positions of `values` in `known`."""
    known = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    codes = pc.index_in(values.cast(known.type), value_set=known)
    if codes.null_count:
        unknown = values[codes.is_null().index(True).as_py()].as_py()
        raise CorpusFormatError(
            f"table {table!r} has {column} {unknown!r}, which the corpus does not have; "
            "add it to the table it belongs to or drop the row"
        )
    return codes.to_numpy().astype(np.int64)


def _split_explanations(
    explanations: Dataset | None,
    users: pa.Array,
    catalogue: pa.ChunkedArray,
    validation: IntArray,
    test: IntArray,
) -> dict[str, list[Explanation]]:
    sentences: dict[str, list[Explanation]] = {part: [] for part in PARTS}
    if explanations is None:
        return sentences
    user_codes = _codes(arrow_column(explanations, "user_id"), users, "explanations", "user_id")
    item_codes = _codes(arrow_column(explanations, "item_id"), catalogue, "explanations", "item_id")
    texts = arrow_column(explanations, "explanation").to_pylist()
    features = arrow_column(explanations, "feature").to_pylist()
    for user, item, text, feature in zip(user_codes.tolist(), item_codes.tolist(), texts, features, strict=True):
        part = "test" if test[user] == item else "validation" if validation[user] == item else "train"
        sentences[part].append(Explanation(user, item, text, feature))
    return sentences
