"""Do the names of users tell their held-out items?

Files of reviews are often sorted by product. Users that are numbered in the order of such a file stand beside users
who took the same product, be it in training or held out. Names made from the training part alone may bring users
together who share training items, and with them taste. So neighbours are compared with any other users who have as
many training items in common: they should share held-out items about as often.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from peft_pod.corpus.parts import Part
from peft_pod.corpus.ragged import IntArray
from peft_pod.metrics.baselines.index_numbers import index_numbers
from peft_pod.metrics.baselines.selection import tie_order

from .case import HELD_OUT, SURE, Case
from .finding import Finding

MOST_APART = 3
"""Users whose numbers are so far apart or less are neighbours."""

MORE_THAN_CHANCE = 5.0
"""A leak brings together at least so many times the pairs that chance would. Where users who took like things stand
together, taste alone makes it two or three times."""

PAIRS_COMPARED = 200_000
"""Pairs of any users, drawn from the seed, that say how often such pairs share held-out items."""

_OVERLAPS = np.array([1, 2, 3, 5, 9, 17, 33, 65])
"""Where the groups of pairs begin, by the number of training items in common; the first group has none."""

USUAL = 0.01
"""A group is looked at where at least so many of any pairs are in it. Where hardly any two users have as much in
common, those who have are alike in more than the number says."""

_PAIRS_AT_ONCE = 50_000


def check_user_order(case: Case) -> list[Finding]:
    """A finding where users with neighbouring names share held-out items, and no training item, beyond chance."""
    numbers = index_numbers(case.indexing.user_words)
    found, expected = np.sum([_shared(case, part, numbers) for part in HELD_OUT], axis=0)
    likely = stats.poisson.sf(found - 1, expected) >= SURE / len(found)
    told = (found > MORE_THAN_CHANCE * expected) & ~likely
    if not told.any():
        return []
    pairs, by_chance = int(found[told].sum()), float(expected[told].sum())
    return [
        Finding(
            name="user IDs tell held-out items",
            count=pairs,
            metrics=case.worth(_neighbour_ranks(case, numbers)),
            description=(
                f"So many pairs of users whose numbers are at most {MOST_APART} apart have the same held-out item; of "
                f"other pairs with as many training items in common ({_named(told)}), about {by_chance:.0f} would. The "
                "rule recommends what the users with neighbouring numbers took in training, the nearer the better."
            ),
            fix=(
                "Number users at random, as all schemes but 'paper' do, and not in the order of the data's files, "
                "which may be sorted by product; or leave users unnamed (users='none')."
            ),
        )
    ]


def _shared(case: Case, part: Part, numbers: IntArray) -> npt.NDArray[np.float64]:
    """Pairs of neighbours who share the held-out item, and how many chance would bring together.

    Returns:
        Two rows, found and expected, with a column for each group of pairs by their training items in common; zeros
            for a group that is not looked at.
    """
    users = case.split.evaluated_users(part)
    users = users[np.argsort(numbers[users])]
    targets = case.split.targets(part)
    near = [np.stack([users[:-step], users[step:]]) for step in range(1, min(MOST_APART, len(users) - 1) + 1)]
    neighbours = np.concatenate(near or [np.empty((2, 0), dtype=np.int64)], axis=1)
    drawn = np.random.default_rng(case.seed).choice(users, (2, PAIRS_COMPARED)) if len(users) else neighbours
    drawn = drawn[:, drawn[0] != drawn[1]]
    (pairs, found), (compared, shared) = (_counts(case, some, targets) for some in (neighbours, drawn))
    counts = np.bincount(targets[users], minlength=1).astype(np.float64)
    chance = (counts * (counts - 1)).sum() / max(1, len(users) * (len(users) - 1))
    rates = np.maximum(chance, shared / np.maximum(1, compared))
    rates[0] = chance  # of all pairs, whatever they share: if anything too large for those with nothing in common
    return np.where(compared >= USUAL * compared.sum(), [found, rates * pairs], 0.0)


def _counts(case: Case, pairs: IntArray, targets: IntArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many pairs each group has, and how many of them share the held-out item."""
    overlap = np.concatenate(
        [np.empty(0)]
        + [
            np.asarray(case.taken[left].multiply(case.taken[right]).sum(axis=1)).ravel()
            for left, right in (
                pairs[:, start : start + _PAIRS_AT_ONCE] for start in range(0, pairs.shape[1], _PAIRS_AT_ONCE)
            )
        ]
    )
    group = np.searchsorted(_OVERLAPS, overlap, side="right")
    same = targets[pairs[0]] == targets[pairs[1]]
    size = len(_OVERLAPS) + 1
    pairs_of, same_of = (np.bincount(group, weights=kind, minlength=size) for kind in (np.ones(len(group)), same))
    return pairs_of.astype(np.float64), same_of.astype(np.float64)


def _named(groups: npt.NDArray[np.bool_]) -> str:
    starts = [0, *_OVERLAPS.tolist()]
    ends = [f" to {start - 1}" if start - 1 > first else "" for first, start in pairwise(starts)]
    return ", ".join(f"{starts[place]}{[*ends, ' or more'][place]}" for place in np.flatnonzero(groups).tolist())


def _neighbour_ranks(case: Case, numbers: IntArray) -> IntArray:
    """Ranks of test items by the training items of neighbours, each neighbour by the inverse of the distance.

    The user's history is left out; equal scores go by frequency in training.
    """
    num_users = len(numbers)
    order = np.argsort(numbers)
    distances = [distance for distance in range(1, MOST_APART + 1) if distance < num_users]
    diagonals = [np.full(num_users - distance, 1.0 / distance) for distance in distances]
    nearness = sparse.diags(
        [*diagonals, *diagonals], [*distances, *(-distance for distance in distances)], shape=(num_users, num_users)
    )
    scores = (nearness.tocsr() @ case.taken[order]).tocsr()[numbers[case.users]]
    rows = np.repeat(np.arange(len(case.users)), np.diff(scores.indptr))
    cells = rows * case.num_items + scores.indices
    new = ~np.isin(cells, case.histories.owners * case.num_items + case.histories.values)
    rows, items, values = rows[new], scores.indices[new], scores.data[new]
    own = np.zeros(len(case.users))
    right = items == case.targets[rows]
    own[rows[right]] = values[right]
    tie_place = np.argsort(tie_order(case.split.train))
    before = (values > own[rows]) | ((values == own[rows]) & (tie_place[items] < tie_place[case.targets[rows]]))
    return np.where(own > 0, 1 + np.bincount(rows[before], minlength=len(own)), 0)
