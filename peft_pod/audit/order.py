"""Do items that first appear as held-out ones have their place in the order of whole histories?

Go through whole histories, one user after the other, and write down each item when it first appears. Some of them
appear as held-out items first, and later, or never, in training. Names that follow this list put such an item between
its neighbours on the list. Names made from the training part alone cannot: to them, it comes where training has it, or
nowhere in particular.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from peft_pod.corpus.ragged import IntArray

from .case import SURE, BoolArray, Case
from .finding import Finding

BY_CHANCE = 1 / 3
"""More often than any item falls between two others by chance, which is 1/6 where all orders are as likely."""


def check_order(case: Case) -> list[Finding]:
    """A finding where the order of names, or its reverse, follows whole histories."""
    for numbers, order in ((case.item_numbers, "order"), (case.num_items - 1 - case.item_numbers, "reverse order")):
        between = in_place(case, numbers)
        if len(between) == 0:
            continue
        hits = int(between.sum())
        if stats.binomtest(hits, len(between), BY_CHANCE, alternative="greater").pvalue < SURE:
            return [
                Finding(
                    name="held-out items in ID order",
                    count=hits,
                    metrics=case.worth(_next_free_number(case, numbers)),
                    description=(
                        f"The {order} of the item words follows the histories with their held-out items: of "
                        f"{len(between):,} items that appear as held-out ones before they do in training, each with "
                        f"neighbours of its own, {hits:,} stand between these neighbours, and about one of six would "
                        "by chance. The rule recommends the numbers after the largest one that has appeared so far."
                    ),
                    fix=(
                        "Number items by the training part alone (indexing 'sequential' does), those that do not "
                        "occur in it at random."
                    ),
                )
            ]
    return []


def in_place(case: Case, numbers: IntArray) -> BoolArray:
    """For items that appear as held-out ones first, whether their numbers lie between those of their neighbours.

    The neighbours are the items before and after it in the order of first appearance that appear in training first.
    Items that training would put between the same two are left out, since they tell nothing; of several between the
    same two the first is taken, since where these two lie far apart, all others fall between them too.

    Args:
        case: what is audited.
        numbers: of the items by position.
    """
    walk = case.walk
    items, places = np.unique(walk.values, return_index=True)
    by_place = np.argsort(places)
    items, places = items[by_place], places[by_place]
    in_training = walk.places < np.repeat(case.split.train.lengths, walk.lengths)
    training_places = np.flatnonzero(in_training)
    trained, first = np.unique(walk.values[training_places], return_index=True)
    place_in_training = np.full(case.num_items, len(walk.values))
    place_in_training[trained] = training_places[first]

    usual = np.flatnonzero(in_training[places])
    moved = np.flatnonzero(~in_training[places])
    after = np.searchsorted(usual, moved)
    inside = (after > 0) & (after < len(usual))
    moved, after = moved[inside], after[inside]
    previous, following = usual[after - 1], usual[after]
    tells = place_in_training[items[moved]] > places[following]
    _, chosen = np.unique(after[tells], return_index=True)
    own, low, high = (numbers[items[place[tells][chosen]]] for place in (moved, previous, following))
    return (low < own) & (own < high)


def _next_free_number(case: Case, numbers: IntArray) -> IntArray:
    """Ranks of the test items among the numbers after the largest one of this history and all histories before it."""
    histories = case.split.histories("test")
    largest = np.full(len(histories), -1)
    np.maximum.at(largest, histories.owners, numbers[histories.values])
    distance = numbers[case.targets] - np.maximum.accumulate(largest)[case.users]
    return np.where((distance >= 1) & (distance <= 10), distance, 0)
