"""Do the names of users tell their held-out items?

Files of reviews are often sorted by product. Users that are numbered in the order of such a file stand beside users
who took the same product, be it in training or held out. Names made from the training part alone may bring users
together who share training items; but not users who share nothing but a held-out item.
"""

from __future__ import annotations

import numpy as np
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


def check_user_order(case: Case) -> list[Finding]:
    """A finding where users with neighbouring names share held-out items, and no training item, beyond chance."""
    numbers = index_numbers(case.indexing.user_words)
    counted = [_shared(case, part, numbers) for part in HELD_OUT]
    pairs, expected = sum(count for count, _ in counted), sum(chance for _, chance in counted)
    if pairs <= MORE_THAN_CHANCE * expected or stats.poisson.sf(pairs - 1, expected) >= SURE:
        return []
    return [
        Finding(
            name="user IDs tell held-out items",
            count=pairs,
            metrics=case.worth(_neighbour_ranks(case, numbers)),
            description=(
                f"So many pairs of users whose numbers are at most {MOST_APART} apart have the same held-out item and "
                f"no training item in common; with numbers at random there would be about {expected:.0f}. The rule "
                "recommends what the users with neighbouring numbers took in training, the nearer the better."
            ),
            fix=(
                "Number users at random, as all schemes but 'paper' do, and not in the order of the data's files, "
                "which may be sorted by product; or leave users unnamed (users='none')."
            ),
        )
    ]


def _shared(case: Case, part: Part, numbers: IntArray) -> tuple[int, float]:
    """Pairs of neighbours who share the held-out item and no training item, and how many chance would bring together.

    The expectation is of pairs that share the held-out item, whatever else they share: if anything too large.
    """
    users = case.split.evaluated_users(part)
    users = users[np.argsort(numbers[users])]
    targets = case.split.targets(part)[users]
    counts = np.bincount(targets, minlength=1).astype(np.float64)
    chance = (counts * (counts - 1)).sum() / max(1, len(users) * (len(users) - 1))
    found, expected = 0, 0.0
    for distance in range(1, min(MOST_APART, len(users) - 1) + 1):
        at = np.flatnonzero(targets[:-distance] == targets[distance:])
        left, right = case.taken[users[at]], case.taken[users[at + distance]]
        found += int((np.asarray(left.multiply(right).sum(axis=1)).ravel() == 0).sum())
        expected += chance * (len(users) - distance)
    return found, expected


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
