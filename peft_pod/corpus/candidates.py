"""Wrong candidates beside the right one: drawn from a seed, for each user on their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .parts import Part, TrainingPart
from .ragged import IntArray, Ragged
from .split import Split

Negatives = Literal["uniform", "popularity"]
"""How wrong candidates are drawn: every item alike, or by how often an item occurs in training."""

_ROUNDS = 8
"""After so many rounds of drawing with repeats, the rest is drawn from the list of what is left."""


def check_negatives(negatives: str) -> None:
    """Check the name of a way of drawing.

    Raises:
        ValueError: there is no such way.
    """
    if negatives not in get_args(Negatives):
        raise ValueError(f"negatives must be one of {list(get_args(Negatives))}, got {negatives!r}")


def draw_candidates(
    answer: int, taken: IntArray, train: TrainingPart, count: int, negatives: Negatives, rng: np.random.Generator
) -> IntArray:
    """The right item among `count` others, in random order.

    Args:
        answer: the right item.
        taken: items that must not be drawn.
        train: the training part.
        count: how many others; all there are where they are fewer.
        negatives: how they are drawn.
        rng: the source of chance.
    """
    taken = np.append(taken, answer)
    if negatives == "uniform":
        drawn = draw_negatives(taken, train.num_items, count, rng)
    else:
        drawn = draw_popular_negatives(taken, train.popularity_ends, count, rng)
    return rng.permutation(np.append(drawn, answer))


def candidate_sets(
    split: Split,
    part: Part,
    *,
    users: IntArray | None = None,
    count: int = 99,
    negatives: Negatives = "uniform",
    seed: int = 0,
) -> Ragged:
    """The held-out item of each user among others that the user never took, in random order.

    What is drawn for a user follows from the seed and the user alone.

    Args:
        split: the split corpus.
        part: `"validation"` or `"test"`.
        users: for whom; all with a held-out item where it is not given.
        count: how many others for each.
        negatives: how they are drawn: `"uniform"`, or by `"popularity"` in training.
        seed: of all that is drawn.

    Raises:
        ValueError: there is no such part or way of drawing, a user has no held-out item, or `count` is below 1.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> sets = candidate_sets(split, "test")
        >>> len(sets), len(sets[0]), split.target(0, "test") in sets[0]
        (50, 100, True)
    """
    check_negatives(negatives)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    chosen, answers = _answers(split, part, users)
    values = np.empty(len(chosen) * (count + 1), dtype=np.int64)
    lengths = np.empty(len(chosen), dtype=np.int64)
    end = 0
    for row, (user, answer) in enumerate(zip(chosen.tolist(), answers.tolist(), strict=True)):
        rng = np.random.default_rng((seed, user))
        drawn = draw_candidates(answer, split.all_items(user), split.train, count, negatives, rng)
        values[end : end + len(drawn)] = drawn
        lengths[row] = len(drawn)
        end += len(drawn)
    return Ragged.from_lengths(values[:end], lengths)


def given_candidate_sets(
    split: Split, part: Part, negatives: Mapping[str, Sequence[str]], *, users: IntArray | None = None, seed: int = 0
) -> Ragged:
    """The held-out item of each user among negatives that somebody else drew, in random order.

    With `peft_pod.corpus.readers.pod_folder.read_pod_negatives`, these are the candidates of a POD or P5 folder.

    Args:
        split: the split corpus.
        part: `"validation"` or `"test"`.
        negatives: for each user's ID the IDs of items that the user never took; further users are not looked at.
        users: for whom; all with a held-out item where it is not given.
        seed: of the order.

    Raises:
        ValueError: there is no such part, a user has no held-out item or no negatives, or a negative is not in the
            catalogue, is there twice, or is an item that its user took.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=1).split()
        >>> others = sorted(set(range(split.train.num_items)) - set(split.all_items(0).tolist()))[:99]
        >>> negatives = {split.train.user_ids[0]: [split.train.item_ids[item] for item in others]}
        >>> sets = given_candidate_sets(split, "test", negatives)
        >>> len(sets[0]), split.target(0, "test") in sets[0]
        (100, True)
    """
    chosen, answers = _answers(split, part, users)
    names = [split.train.user_ids[user] for user in chosen.tolist()]
    lacking = [name for name in names if not negatives.get(name)]
    if lacking:
        raise ValueError(
            f"user {lacking[0]!r} and {len(lacking) - 1} more have no negatives; leave them out with users"
        )
    given = pa.array([item for name in names for item in negatives[name]], pa.string())
    places = pc.index_in(given, value_set=pa.array(split.train.item_ids, pa.string()))
    drawn = Ragged.from_lengths(places.fill_null(-1).to_numpy(), [len(negatives[name]) for name in names])

    def refuse(wrong: npt.NDArray[np.bool_], why: str) -> None:
        if wrong.any():
            place = int(np.argmax(wrong))
            user, item = names[drawn.owners[place]], given[place].as_py()
            raise ValueError(
                f"user {user!r} has the negative {item!r}, {why}; {int(wrong.sum())} such negative(s) in all"
            )

    refuse(drawn.values < 0, "which is not in the catalogue")
    pairs = drawn.owners * split.train.num_items + drawn.values
    first = np.zeros(len(pairs), dtype=bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    refuse(~first, "which is there already")
    taken = split.all_histories().take(chosen)
    refuse(np.isin(pairs, taken.owners * split.train.num_items + taken.values), "which the user took")
    together = Ragged.from_lengths(answers, np.ones(len(chosen), np.int64)).join(drawn)
    orders = [
        np.random.default_rng((seed, user)).permutation(length)
        for user, length in zip(chosen.tolist(), together.lengths.tolist(), strict=True)
    ]
    order = np.concatenate([np.empty(0, np.int64), *orders]) + np.repeat(together.offsets[:-1], together.lengths)
    return Ragged(together.values[order], together.offsets)


def _answers(split: Split, part: Part, users: IntArray | None) -> tuple[IntArray, IntArray]:
    """Users, all with a held-out item where none are given, and their held-out items."""
    chosen = split.evaluated_users(part) if users is None else np.asarray(users, dtype=np.int64)
    answers = split.targets(part)[chosen]
    if (answers < 0).any():
        raise ValueError(f"user {chosen[np.argmax(answers < 0)]} has no held-out item in {part!r}; leave the user out")
    return chosen, answers


def draw_negatives(taken: IntArray, num_items: int, count: int, rng: np.random.Generator) -> IntArray:
    """Draw distinct items that are not in `taken`, uniformly; all there are where they are fewer than `count`.

    Args:
        taken: positions of items that must not be drawn; repeats are allowed.
        num_items: size of the catalogue.
        count: how many to draw.
        rng: the source of chance.

    Example:
        >>> sorted(draw_negatives(np.array([0, 2]), 5, 99, np.random.default_rng(0)).tolist())
        [1, 3, 4]
    """
    taken = np.unique(taken)
    available = num_items - len(taken)
    # Draw ranks among the items that are left, then step each over the taken ones below it: no list of the whole
    # catalogue is made for a sample.
    ranks = np.sort(rng.choice(available, size=min(count, available), replace=False, shuffle=False))
    gaps = taken - np.arange(len(taken))
    return ranks + np.searchsorted(gaps, ranks, side="right")


def draw_popular_negatives(taken: IntArray, ends: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Draw distinct items that are not in `taken`, one after the other, each in proportion to its weight.

    Items are drawn with repeats, and what was drawn or taken before is thrown away, which is the same as drawing from
    what is left. Where little is left, the rest are those with the smallest of exponential times, whose rates are the
    weights, which is the same again (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).

    Args:
        taken: positions of items that must not be drawn; repeats are allowed.
        ends: running total of the items' weights, see `TrainingPart.popularity_ends`.
        count: how many to draw; all there are where they are fewer.
        rng: the source of chance.

    Example:
        >>> ends = np.cumsum([1, 1000, 1, 1])
        >>> draw_popular_negatives(np.array([0]), ends, 1, np.random.default_rng(0)).tolist()
        [1]
    """
    # A dictionary keeps the order in which its keys came, and each once. The taken ones are its first.
    found = dict.fromkeys(taken.tolist())
    num_taken = len(found)
    count = min(count, len(ends) - num_taken)
    for _ in range(_ROUNDS):
        missing = num_taken + count - len(found)
        if missing <= 0:
            break
        drawn = np.searchsorted(ends, rng.integers(ends[-1], size=missing + missing // 2 + 8), side="right")
        found.update(dict.fromkeys(drawn.tolist()))
    else:
        found.update(dict.fromkeys(_in_turn(np.array(list(found), dtype=np.int64), ends, rng).tolist()))
    return np.array(list(found)[num_taken : num_taken + count], dtype=np.int64)


def _in_turn(gone: IntArray, ends: IntArray, rng: np.random.Generator) -> IntArray:
    """All items but those that are gone, in the order in which drawing by weight without replacement has them."""
    left = np.setdiff1d(np.arange(len(ends)), gone)
    weights = np.diff(ends, prepend=0)[left]
    return left[np.argsort(rng.exponential(size=len(left)) / weights)]
