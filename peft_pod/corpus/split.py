"""What may be learnt from, and what is held out to be predicted.

`Split` is what all kinds of splits have in common; `LeaveOneOut` is the default kind. The training part is an object of
its own, so that whatever is fitted (item IDs, tokenizer, baselines, model) can be handed exactly what it may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from datasets import Dataset

from .encoding import EncodedInteractions, encode, positions
from .fingerprint import settings_fingerprint, tables_fingerprint
from .parts import PARTS, Explanation, ExplanationColumns, Part, TrainingPart
from .ragged import IntArray, Ragged
from .schema import arrow_column
from .steps import Step

__all__ = [
    "Explanation", "IntArray", "LeaveOneOut", "PARTS", "Part", "RefitLeaveOneOut", "Split", "TrainingPart",
    "leave_one_out", "leave_one_out_refit",
]  # fmt: skip

MIN_HISTORY = 3
"""Users with fewer interactions than this are kept for training whole: nothing of theirs is held out."""


@dataclass(frozen=True, repr=False)
class Split:
    """A corpus in a training, a validation and a test part, of which each user has at most one item in the latter two.

    Attributes:
        train: the training part.
        validation_items: for each user the validation item, −1 where nothing is held out; shape `(num_users,)`.
        test_items: likewise the test item.
        held_out_explanations: sentences about held-out interactions, by part (`"validation"`, `"test"`).
        later: for each user the items taken after the training part, oldest first.
        known_later: how many of these are known when the test item is predicted; shape `(num_users,)`.
        step: the settings of the split, and what it counted.
        data_fingerprint: of the corpus that was split.

    Class attributes:
        name: how `Corpus.split` and protocols call this kind of split.
    """

    name: ClassVar[str]

    train: TrainingPart
    validation_items: IntArray
    test_items: IntArray
    held_out_explanations: Mapping[str, Sequence[Explanation]]
    later: Ragged
    known_later: IntArray
    step: Step
    data_fingerprint: str

    def __repr__(self) -> str:
        held_out = ", ".join(f"{len(self.evaluated_users(part))} {part} items" for part in PARTS[1:])
        return f"{type(self).__name__}({self.train!r}, {held_out})"

    @property
    def settings(self) -> dict[str, str | int | float | bool | None]:
        """What the split was made with."""
        return dict(self.step.settings)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of a hash over the corpus' own fingerprint, the kind of split and its settings."""
        return settings_fingerprint(self.data_fingerprint, self.name, self.settings)

    def target(self, user: int, part: Part) -> int:
        """The held-out item of `user` in `part`, or −1."""
        return int(self.targets(part)[user])

    def targets(self, part: Part) -> IntArray:
        """The held-out item of every user in `part`, −1 where there is none; shape `(num_users,)`.

        Raises:
            ValueError: `part` is neither `"validation"` nor `"test"`; so in the methods beside it.
        """
        if part == "validation":
            return self.validation_items
        if part == "test":
            return self.test_items
        raise ValueError(f"part must be 'validation' or 'test' to have held-out items, not {part!r}")

    def history(self, user: int, part: Part) -> IntArray:
        """What is known of `user` when `part` is predicted: for `"test"` all that is older than the test part.

        Another part than `"validation"` and `"test"` has no history, and does not get that of the training part.
        """
        self.targets(part)
        items = self.train.sequences[user]
        if part == "test" and self.known_later[user]:
            return np.concatenate([items, self.later[user][: self.known_later[user]]])
        return items

    def histories(self, part: Part) -> Ragged:
        """`history` of every user at once."""
        self.targets(part)
        if part == "validation":
            return self.train.sequences
        return self.train.sequences.join(self.later.split(self.known_later)[0])

    def all_items(self, user: int) -> IntArray:
        """Everything `user` took, held-out items included, oldest first."""
        later = self.later[user]
        return np.concatenate([self.train.sequences[user], later]) if len(later) else self.train.sequences[user]

    def all_histories(self) -> Ragged:
        """`all_items` of every user at once."""
        return self.train.sequences.join(self.later)

    def evaluated_users(self, part: Part) -> IntArray:
        """The users with a held-out item in `part`, in order."""
        return np.flatnonzero(self.targets(part) >= 0)

    def why_nobody(self, part: Part) -> str:
        """Why no user has a held-out item in `part`, in words: for messages, where `evaluated_users` is empty."""
        return f"the split {self.name!r} holds out no {part} items"

    def explanations(self, part: Part) -> Sequence[Explanation]:
        """The sentences of `part`.

        Raises:
            ValueError: there is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(map(repr, PARTS))}, got {part!r}")
        return self.train.explanations if part == "train" else self.held_out_explanations[part]


@dataclass(frozen=True, repr=False)
class LeaveOneOut(Split):
    """A corpus split by leave-one-out: the last item of a user is the test item, the one before the validation item.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> user = 0
        >>> bool((split.history(user, "test")[:-1] == split.history(user, "validation")).all())
        True
    """

    name = "leave-one-out"

    def why_nobody(self, part: Part) -> str:
        """See `Split.why_nobody`."""
        longest = int(self.all_histories().lengths.max(initial=0))
        return (
            f"the split {self.name!r} holds items of users with at least {MIN_HISTORY} interactions out, and the most "
            f"that a user has is {longest}"
        )


@dataclass(frozen=True, repr=False)
class RefitLeaveOneOut(LeaveOneOut):
    """Leave-one-out for the last training, once all choices are made: the validation items are trained on too.

    The test items are those of leave-one-out, with the same histories, so that a model which knows what would be known
    when it is put to use can be compared with one that does not. There is no validation part.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=50)
        >>> split, refit = corpus.split(), corpus.split("leave-one-out-refit")
        >>> (split.test_items == refit.test_items).all(), len(refit.evaluated_users("validation"))
        (np.True_, 0)
    """

    name = "leave-one-out-refit"

    def why_nobody(self, part: Part) -> str:
        """See `Split.why_nobody`."""
        if part == "validation":
            return f"the split {self.name!r} trains on the validation items"
        return super().why_nobody(part)


def leave_one_out(
    interactions: Dataset, items: Dataset, explanations: Dataset | None = None, *, data_fingerprint: str | None = None
) -> LeaveOneOut:
    """Split a corpus by leave-one-out.

    Interactions are ordered by user (in order of first appearance in the table) and time; ties in time keep the
    order of the table, which makes the split deterministic. Users with fewer than `MIN_HISTORY` interactions are
    kept for training whole. A sentence about a held-out interaction belongs to that interaction's part; one about an
    item that is held out for its user is never in the training part.

    Args:
        interactions: the table of that name, see `peft_pod.corpus.schema`.
        items: likewise.
        explanations: likewise, or `None`.
        data_fingerprint: of the tables, where it is known already.

    Raises:
        CorpusFormatError: an interaction or explanation names an item or a user that the corpus does not have, or the
            catalogue names an item twice.
    """
    tables = (interactions, items, explanations)
    return _hold_out(LeaveOneOut, ("validation", "test"), *tables, data_fingerprint=data_fingerprint)


def leave_one_out_refit(
    interactions: Dataset, items: Dataset, explanations: Dataset | None = None, *, data_fingerprint: str | None = None
) -> RefitLeaveOneOut:
    """Split a corpus as `leave_one_out` does, and leave the validation items, and sentences about them, in training.

    Args:
        interactions: as for `leave_one_out`, like the rest.
        items: likewise.
        explanations: likewise.
        data_fingerprint: likewise.

    Raises:
        CorpusFormatError: likewise.
    """
    return _hold_out(RefitLeaveOneOut, ("test",), interactions, items, explanations, data_fingerprint=data_fingerprint)


_LeaveOneOut = TypeVar("_LeaveOneOut", bound=LeaveOneOut)


def _hold_out(
    kind: type[_LeaveOneOut],
    parts: tuple[Part, ...],
    interactions: Dataset,
    items: Dataset,
    explanations: Dataset | None,
    *,
    data_fingerprint: str | None,
) -> _LeaveOneOut:
    """Hold out the last items of each user, one for each of the parts, in that order."""
    encoded = encode(interactions, items)
    taken, times = encoded.by_user(encoded.items), encoded.by_user(encoded.times)
    held_out = taken.lengths >= MIN_HISTORY
    lengths = taken.lengths - len(parts) * held_out
    (train_items, later), train_times = taken.split(lengths), times.split(lengths)[0]
    targets: dict[str, IntArray] = {part: np.full(encoded.num_users, -1, dtype=np.int64) for part in PARTS[1:]}
    for place, part in enumerate(parts):
        targets[part][held_out] = later.values[place :: len(parts)]
    validation, test = targets["validation"], targets["test"]

    def part_numbers(users: IntArray, about: IntArray) -> IntArray:
        return np.select([test[users] == about, validation[users] == about], [2, 1], 0)

    sentences = encode_explanations(explanations, encoded)
    by_part = divide(sentences, part_numbers(sentences.users, sentences.items)) if sentences else {}
    counts = {
        "users": encoded.num_users,
        "training interactions": len(train_items.values),
        f"users with a {' and a '.join(parts)} item": int(held_out.sum()),
        f"users with fewer than {MIN_HISTORY} interactions, kept for training whole": int((~held_out).sum()),
        **{
            f"users whose {part} item shares its time with the item before": _ties(
                times, held_out, from_end=len(parts) - place
            )
            for place, part in enumerate(parts)
        },
        "test items that do not occur in training": unseen(test, train_items.values),
    }
    return kind(
        train=training_part(encoded, items, train_items, train_times, by_part.get("train", [])),
        validation_items=validation,
        test_items=test,
        held_out_explanations={part: by_part.get(part, []) for part in PARTS[1:]},
        later=later,
        known_later=(len(parts) - 1) * held_out.astype(np.int64),
        step=Step(f"split {kind.name}", {"min_history": MIN_HISTORY}, counts),
        data_fingerprint=data_fingerprint or fingerprint_of(interactions, items, explanations),
    )


def _ties(times: Ragged, held_out: npt.NDArray[np.bool_], *, from_end: int) -> int:
    """How many users with held-out items have one, at that place from the end, with the time of the item before."""
    places = times.offsets[1:][held_out] - from_end
    return int((times.values[places] == times.values[places - 1]).sum())


def training_part(
    encoded: EncodedInteractions, items: Dataset, taken: Ragged, times: Ragged, explanations: Sequence[Explanation]
) -> TrainingPart:
    """The training part of a split corpus.

    Args:
        encoded: all interactions.
        items: the table of that name.
        taken: for each user the items of the training part.
        times: when.
        explanations: the training sentences.
    """
    return TrainingPart(
        user_ids=encoded.user_ids.to_pylist(),
        item_ids=encoded.item_ids.to_pylist(),
        item_titles=arrow_column(items, "title").to_pylist(),
        sequences=taken,
        timestamps=times,
        explanations=explanations,
        item_texts=_texts(items),
    )


def _texts(items: Dataset) -> list[str]:
    return pc.fill_null(arrow_column(items, "text"), "").to_pylist() if "text" in items.column_names else []


def encode_explanations(explanations: Dataset | None, encoded: EncodedInteractions) -> ExplanationColumns | None:
    """The table `explanations` by positions.

    Raises:
        CorpusFormatError: a sentence names a user or item that the corpus does not have.
    """
    if explanations is None:
        return None
    return ExplanationColumns(
        positions(arrow_column(explanations, "user_id"), encoded.user_ids, "explanations", "user_id"),
        positions(arrow_column(explanations, "item_id"), encoded.item_ids, "explanations", "item_id"),
        arrow_column(explanations, "explanation"),
        arrow_column(explanations, "feature"),
    )


def divide(sentences: ExplanationColumns, part_numbers: IntArray) -> dict[str, ExplanationColumns]:
    """Sentences by part; `part_numbers` has for each the place of its part in `PARTS`, −1 for none."""
    return {part: sentences.take(np.flatnonzero(part_numbers == number)) for number, part in enumerate(PARTS)}


def unseen(targets: IntArray, training_items: IntArray) -> int:
    """How many of the targets (−1 for none) do not occur in training."""
    wanted = targets[targets >= 0]
    return int((~np.isin(wanted, training_items)).sum())


def fingerprint_of(interactions: Dataset, items: Dataset, explanations: Dataset | None) -> str:
    """The fingerprint of a corpus with these tables."""
    tables = {"interactions": interactions, "items": items}
    return tables_fingerprint(tables if explanations is None else {**tables, "explanations": explanations})
