"""A split by the clock: what happens after a moment is predicted from what happened before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NoReturn

import numpy as np
from datasets import Dataset

from .encoding import EncodedInteractions, encode
from .parts import PARTS, ExplanationColumns, Part
from .ragged import IntArray, Ragged
from .split import Split, divide, encode_explanations, fingerprint_of, training_part, unseen
from .steps import Step


@dataclass(frozen=True, repr=False)
class TemporalSplit(Split):
    """A corpus split at two moments that are the same for all users.

    The training part is everything before the first moment. A user's validation item is their first one between the
    moments, their test item the first one from the second moment on. What is known of a user in a part is all that they
    took before the part's moment. Leave-one-out, by contrast, lets a model learn from what one user did later than
    another's test item (Meng et al., "Exploring Data Splitting Strategies for the Evaluation of Recommendation
    Models", RecSys 2020).

    A user of whom nothing is known in a part has no held-out item in it: there would be nothing to predict it from. So
    a user who comes between the moments is evaluated in the test part only, without any interaction in training.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split("temporal", validation_fraction=0.1, test_fraction=0.1)
        >>> int(split.train.timestamps.values.max()) < split.settings["validation_cut"] < split.settings["test_cut"]
        True
    """

    name = "temporal"

    def why_nobody(self, part: Part) -> str:
        """See `Split.why_nobody`."""
        return f"nobody who is known before the {part} part of the split {self.name!r} took anything in it"


def temporal_split(
    interactions: Dataset,
    items: Dataset,
    explanations: Dataset | None = None,
    *,
    validation_cut: int | None = None,
    test_cut: int | None = None,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
    data_fingerprint: str | None = None,
) -> TemporalSplit:
    """Split a corpus at two moments, given as times or as shares of the interactions.

    An interaction at the very time of a cut is after it. With fractions, the cut is the time of the interaction at that
    place when all are ordered by time, so a part has at least its share: all that share the cut's time are in it.

    A sentence belongs to the part of its interaction's time; where the user took the item more than once, to the
    latest. A sentence without an interaction has no time and is in no part.

    Args:
        interactions: the table of that name, see `peft_pod.corpus.schema`.
        items: likewise.
        explanations: likewise, or `None`.
        validation_cut: where the validation part begins, in the unit of `timestamp`.
        test_cut: where the test part begins.
        validation_fraction: which share of the interactions the validation part has; instead of the cuts.
        test_fraction: likewise the test part.
        data_fingerprint: of the tables, where it is known already.

    Raises:
        ValueError: cuts and fractions are mixed or incomplete, a part would be empty, or the times are places in each
            user's own history and cannot be compared between users.
        CorpusFormatError: see `peft_pod.corpus.split.leave_one_out`.
    """
    encoded = encode(interactions, items)
    taken, times = encoded.by_user(encoded.items), encoded.by_user(encoded.times)
    _check_times(times)
    fractions = _fractions(validation_cut, test_cut, validation_fraction, test_fraction)
    cuts = _cuts(encoded.times, fractions) if fractions else (_whole(validation_cut), _whole(test_cut))
    _check_cuts(encoded.times, *cuts)

    before = [np.bincount(encoded.users[encoded.times < cut], minlength=encoded.num_users) for cut in cuts]
    (train_items, later), (train_times, later_times) = taken.split(before[0]), times.split(before[0])
    in_window = before[1] - before[0]
    known = {"validation": before[0], "test": before[1]}
    starts = {"validation": np.zeros_like(in_window), "test": in_window}
    beginnings = {
        "validation": _first(later, starts["validation"], in_window),
        "test": _first(later, starts["test"], later.lengths - in_window),
    }
    targets = {part: np.where(known[part] > 0, first, -1) for part, first in beginnings.items()}

    sentences = encode_explanations(explanations, encoded)
    numbers = _part_numbers(sentences, encoded, cuts) if sentences else np.empty(0, np.int64)
    by_part = divide(sentences, numbers) if sentences else {}
    counts = {
        "users": encoded.num_users,
        "training interactions": len(train_items.values),
        "interactions between the cuts": int(in_window.sum()),
        "interactions from the test cut on": int((later.lengths - in_window).sum()),
        "users without a training interaction": int((before[0] == 0).sum()),
    }
    for part, first in beginnings.items():
        nothing_known = (first >= 0) & (known[part] == 0)
        counts[f"users with a {part} item"] = int((targets[part] >= 0).sum())
        counts[f"users of whom nothing is known before their first {part} item, left out"] = int(nothing_known.sum())
        counts[f"{part} items that do not occur in training"] = unseen(targets[part], train_items.values)
        counts[f"users whose {part} item shares its time with the next item"] = _ties(
            later_times, starts[part], targets[part]
        )
    counts["explanations without an interaction, left out"] = int((numbers < 0).sum())
    return TemporalSplit(
        train=training_part(encoded, items, train_items, train_times, by_part.get("train", [])),
        validation_items=targets["validation"],
        test_items=targets["test"],
        held_out_explanations={part: by_part.get(part, []) for part in PARTS[1:]},
        later=later,
        known_later=in_window,
        step=Step(
            f"split {TemporalSplit.name}",
            {"validation_cut": cuts[0], "test_cut": cuts[1], **(fractions or {})},
            counts,
        ),
        data_fingerprint=data_fingerprint or fingerprint_of(interactions, items, explanations),
    )


def _fractions(
    validation_cut: int | None, test_cut: int | None, validation: float | None, test: float | None
) -> dict[str, float] | None:
    """The fractions, or `None` where the cuts are given as times."""
    by_time = (validation_cut is not None, test_cut is not None)
    by_share = (validation is not None, test is not None)
    if (all(by_time) and not any(by_share)) or (all(by_share) and not any(by_time)):
        if validation is None or test is None:
            return None
        numbers = all(isinstance(share, Real) and not isinstance(share, bool) for share in (validation, test))
        if not (numbers and validation > 0 and test > 0 and validation + test < 1):
            raise ValueError(
                "validation_fraction and test_fraction must be above 0 and together below 1, "
                f"got {validation!r} and {test!r}"
            )
        return {"validation_fraction": validation, "test_fraction": test}
    given = {
        "validation_cut": validation_cut,
        "test_cut": test_cut,
        "validation_fraction": validation,
        "test_fraction": test,
    }
    raise ValueError(
        "a temporal split needs either validation_cut and test_cut or validation_fraction and test_fraction, got "
        f"{ {name: value for name, value in given.items() if value is not None} or 'none of them' }"
    )


def _whole(cut: int | None) -> int:
    if isinstance(cut, bool) or not isinstance(cut, Integral):
        raise ValueError(f"validation_cut and test_cut must be whole numbers, as timestamps are, got {cut!r}")
    return int(cut)


def _cuts(times: IntArray, fractions: dict[str, float]) -> tuple[int, int]:
    shares = (sum(fractions.values()), fractions["test_fraction"])
    places = [min(math.floor(len(times) * (1 - share)), len(times) - 1) for share in shares]
    in_order = np.partition(times, places)
    return int(in_order[places[0]]), int(in_order[places[1]])


def refuse_places() -> NoReturn:
    """Refuse timestamps that are places in each user's own history.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "the timestamps are places in each user's own history, which cannot be compared between users: a temporal "
        "split needs times; use 'leave-one-out'"
    )


def _check_times(times: Ragged) -> None:
    numbered = times.places
    if len(times) > 1 and any(np.array_equal(times.values, numbered + start) for start in (0, 1)):
        refuse_places()


def _check_cuts(times: IntArray, validation_cut: int, test_cut: int) -> None:
    reach = f"the interactions are from {times.min()} to {times.max()}"
    if not validation_cut < test_cut:
        raise ValueError(
            f"the validation cut must be before the test cut, got {validation_cut} and {test_cut}; {reach}. "
            "If they come from fractions, too many interactions share a time: choose larger fractions, or give the cuts"
        )
    if validation_cut <= times.min():
        raise ValueError(f"nothing is before the validation cut {validation_cut}, so nothing to train on; {reach}")
    if test_cut > times.max():
        raise ValueError(f"nothing is after the test cut {test_cut}, so nothing to test on; {reach}")
    if not ((times >= validation_cut) & (times < test_cut)).any():
        raise ValueError(f"nothing is between the cuts {validation_cut} and {test_cut}; {reach}")


def _first(rows: Ragged, starts: IntArray, counts: IntArray) -> IntArray:
    """The value at `starts` of each row, −1 where `counts` is 0."""
    found = np.full(len(rows), -1, dtype=np.int64)
    there = counts > 0
    found[there] = rows.values[(rows.offsets[:-1] + starts)[there]]
    return found


def _ties(times: Ragged, starts: IntArray, targets: IntArray) -> int:
    """How many held-out items, which stand at `starts`, have the time of the one after them."""
    followed = (targets >= 0) & (starts + 1 < times.lengths)
    places = (times.offsets[:-1] + starts)[followed]
    return int((times.values[places] == times.values[places + 1]).sum())


def _part_numbers(sentences: ExplanationColumns, encoded: EncodedInteractions, cuts: tuple[int, int]) -> IntArray:
    """For each sentence the place of its part in `PARTS`, −1 where its user never took its item."""
    pairs = sentences.users * encoded.num_items + sentences.items
    wanted, inverse = np.unique(pairs, return_inverse=True)
    if len(wanted) == 0:
        return np.empty(0, dtype=np.int64)
    places = np.minimum(np.searchsorted(wanted, encoded.pairs), len(wanted) - 1)
    found = wanted[places] == encoded.pairs
    part = np.full(len(wanted), -1, dtype=np.int64)
    np.maximum.at(part, places[found], np.searchsorted(np.array(cuts), encoded.times[found], side="right"))
    return part[inverse]
