"""Can the right item be told from the wrong ones in a list of candidates, whoever the user is?

By its place in the list, by what cannot be right (items of the user's history, items that stand twice), by the range
of its number, and by popularity. Uniformly drawn negatives can be told by popularity too; that is a fact of the
protocol, which is why popularity stands beside every result, and it is remarked on. Negatives that are still less
popular, or more popular than those drawn by popularity, are a leak.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from peft_pod.corpus.candidates import Negatives, candidate_sets
from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.metrics.baselines.selection import tie_order

from .case import SURE, Case, worth, worth_of_chance
from .finding import Finding

MOST_USERS = 2000
"""Users, drawn from the seed, whose lists are drawn and looked at where none are given."""

MOST_BINS = 10
"""Parts of the list among which the right items are counted."""

TELLING = 0.1
"""A number tells where, among candidates as frequent as the right item, its rank is so far from the middle: the share
of them with a larger number is 0.5 for names that say nothing."""


class Lists:
    """Candidates of some users.

    Args:
        case: what is audited.
        negatives: how they are drawn where none are given.

    Raises:
        ValueError: there is not one list for each evaluated user, or one lacks the right item.
    """

    def __init__(self, case: Case, negatives: Negatives = "uniform") -> None:
        self.negatives = negatives
        rows = np.arange(len(case.users))
        if case.candidates is None:
            rows, lists = _drawn(case, negatives)
        else:
            lists = Ragged.of(case.candidates)
            if len(lists) != len(rows):
                raise ValueError(f"candidates has {len(lists)} lists for {len(rows)} users; give one for each")
        self.items = lists.values
        self.rows = lists.owners
        self.lengths = lists.lengths
        self.places = lists.places
        self.targets = case.targets[rows]
        self.users = case.users[rows]
        self.right = self.items == self.targets[self.rows]
        hits = np.bincount(self.rows[self.right], minlength=len(rows))
        if (hits == 0).any():
            row = int(np.flatnonzero(hits == 0)[0])
            raise ValueError(f"the candidates of user {self.users[row]} lack the test item {self.targets[row]}")
        histories = case.histories.take(rows)
        known = histories.owners * case.num_items + histories.values
        self.cells = self.rows * case.num_items + self.items
        self.known = np.isin(self.cells, known) & ~self.right

    def __len__(self) -> int:
        return len(self.targets)

    def less_frequent(self, counts: IntArray) -> npt.NDArray[np.float64]:
        """For each list, how many of the wrong ones are less frequent than the right one; equal ones count half."""
        wrong = np.flatnonzero(~self.right)
        rows = self.rows[wrong]
        own, others = counts[self.targets[rows]], counts[self.items[wrong]]
        wins = np.bincount(rows, (others < own) + (others == own) / 2, minlength=len(self))
        shares: npt.NDArray[np.float64] = wins / np.maximum(1, np.bincount(rows, minlength=len(self)))
        return shares

    def ranks(self, costs: IntArray) -> IntArray:
        """Ranks of the right items where candidates are ordered by cost; equal ones share the worst rank."""
        own = np.full(len(self), np.iinfo(np.int64).max)
        np.minimum.at(own, self.rows[self.right], costs[self.right])
        return np.bincount(self.rows[costs <= own[self.rows]], minlength=len(self))


def check_negatives(case: Case) -> list[Finding]:
    """Findings of what tells the right candidate."""
    lists = Lists(case)
    return [*_by_place(lists), *_by_exclusion(lists), *_by_number(case, lists), *_by_popularity(case, lists)]


def remark_popularity(case: Case) -> list[Finding]:
    """A remark of what popularity is worth among the candidates."""
    lists = Lists(case)
    if _by_popularity(case, lists):
        return []
    places = np.argsort(tie_order(case.split.train))
    ranks = lists.ranks(places[lists.items])
    rows = lists.rows[~lists.right]
    wins = places[lists.items[~lists.right]] > places[lists.targets[rows]]
    if stats.binomtest(int(wins.sum()), max(1, len(wins)), 0.5, alternative="greater").pvalue >= SURE:
        return []
    return [
        Finding(
            name="popularity among candidates",
            count=int((ranks <= 10).sum()),
            metrics=worth(ranks),
            description=(
                f"The most frequent candidates in training hold the right item so often among the first 10, in "
                f"{len(lists):,} lists. Negatives drawn uniformly are less popular than what people take, so part of "
                "any number on such lists is popularity."
            ),
            fix="Compare with the popularity baseline, rank the full catalogue, or draw negatives by popularity.",
            severity="remark",
        )
    ]


def _drawn(case: Case, negatives: Negatives) -> tuple[IntArray, Ragged]:
    """The protocol's own lists of some users, drawn from the seed."""
    rows = np.arange(len(case.users))
    if len(rows) > MOST_USERS:
        rows = np.sort(np.random.default_rng(case.seed).choice(rows, MOST_USERS, replace=False))
    return rows, candidate_sets(case.split, "test", users=case.users[rows], negatives=negatives, seed=case.seed)


def _by_place(lists: Lists) -> list[Finding]:
    places, lengths = lists.places[lists.right], lists.lengths[lists.rows[lists.right]]
    bins = int(min(MOST_BINS, lengths.min()))
    counts = np.bincount(places * bins // lengths, minlength=bins)
    # Lists that do not divide evenly have a little more room in some parts than in others.
    room = np.mean([np.bincount(np.arange(length) * bins // length, minlength=bins) / length for length in lengths], 0)
    if bins < 2 or stats.chisquare(counts, room * len(places)).pvalue >= SURE:
        return []
    # The likely places are learnt from one half of the lists and tried on the other.
    learn = np.arange(len(lists)) % 2 == 0
    own_place = np.zeros(len(lists), dtype=np.int64)
    own_place[lists.rows[lists.right]] = places
    frequency = np.bincount(own_place[learn], minlength=int(lists.lengths.max()))
    ranks = lists.ranks(-frequency[lists.places])
    return [
        Finding(
            name="negatives told by position",
            count=int(counts.max()),
            metrics=worth(ranks[~learn]),
            description=(
                f"So many of {len(lists):,} right items stand in the same {bins}th of their list. The rule orders "
                "candidates by how often the right item stands at their place in other lists."
            ),
            fix="Shuffle each list of candidates, from a seed of its own.",
        )
    ]


def _by_exclusion(lists: Lists) -> list[Finding]:
    findings = []
    order = np.argsort(lists.cells, kind="stable")
    cells = lists.cells[order]
    same = np.zeros(len(cells), dtype=bool)
    same[1:] = cells[1:] == cells[:-1]
    again = np.zeros(len(cells), dtype=bool)
    again[order] = same
    for name, excluded, what, fix in (
        (
            "negatives from the user's history",
            lists.known,
            "items that the user took before",
            "Draw negatives from what the user never took.",
        ),
        ("candidates listed twice", again, "an item more than once", "Draw negatives without replacement."),
    ):
        touched = np.unique(lists.rows[excluded])
        if len(touched) == 0:
            continue
        left = np.maximum(1, lists.lengths - np.bincount(lists.rows[excluded], minlength=len(lists)))
        findings.append(
            Finding(
                name=name,
                count=len(touched),
                metrics=worth_of_chance(left),
                description=(
                    f"So many of {len(lists):,} lists of candidates hold {what}. The rule chooses at random among the "
                    "others."
                ),
                fix=fix,
            )
        )
    return findings


def _by_number(case: Case, lists: Lists) -> list[Finding]:
    """Compare the right item's number with those of candidates that are as frequent in training.

    Where numbers follow training, popular items have small ones. That is popularity, so it is taken out.
    """
    counts, numbers = case.split.train.item_counts, case.item_numbers
    wrong = ~lists.right & ~lists.known
    alike = wrong & (counts[lists.items] == counts[lists.targets[lists.rows]])
    rows = lists.rows[alike]
    above = numbers[lists.items[alike]] > numbers[lists.targets[rows]]
    # One item that is right in many lists is one number, not many: each right item has one share.
    compared = np.bincount(lists.targets[rows], minlength=case.num_items)
    larger = np.bincount(lists.targets[rows[above]], minlength=case.num_items)
    shares = larger[compared > 0] / compared[compared > 0]
    if len(shares) == 0:
        return []
    told = _told_by_number(shares)
    if told is None:
        return []
    what, share, usual, rule = told
    places = numbers[lists.items]
    costs = {"smallest": places, "largest": -places, "middle": _from_the_middle(lists, places)}[rule]
    ranks = lists.ranks(costs)
    return [
        Finding(
            name="negatives told by ID range",
            count=int((ranks <= 10).sum()),
            metrics=worth(ranks),
            description=(
                f"{what} is {share:.1%} on average over right items, and {usual} if numbers said nothing. The rule "
                f"takes the {rule} numbers first; so many of {len(lists):,} lists have the right item among the first "
                "10."
            ),
            fix="Draw negatives from the whole catalogue, and number items by the training part alone.",
        )
    ]


def _told_by_number(shares: npt.NDArray[np.float64]) -> tuple[str, float, str, str] | None:
    """What is told by the shares of candidates with a larger number, and by which numbers the right items are found."""
    aside = np.abs(2 * shares - 1)
    what = "The share of candidates as frequent in training as the right item that have a larger number"
    # Hoeffding's bound for the mean of numbers between 0 and 1, which holds for few lists as well.
    if _is_told(shares.mean() - 0.5, 2, len(shares)):
        return what, shares.mean(), "50%", "smallest" if shares.mean() > 0.5 else "largest"
    # From 0.5 where numbers say nothing, more with few candidates, to 0 where the right one is always in the middle.
    if aside.mean() < 0.5 and _is_told(0.5 - aside.mean(), 1, len(shares)):
        return f"{what} lies off one half by a part of the most it can, which", aside.mean(), "at least 50%", "middle"
    return None


def _is_told(deviation: float, sides: int, number: int) -> bool:
    return bool(abs(deviation) > TELLING and sides * np.exp(-2 * number * deviation**2) < SURE)


def _from_the_middle(lists: Lists, places: IntArray) -> IntArray:
    """How far each candidate stands from the middle of its list, ordered by number; in half steps."""
    order = np.lexsort((places, lists.rows))
    ranks = np.empty(len(places), dtype=np.int64)
    ranks[order] = np.arange(len(places)) - np.repeat(np.cumsum(lists.lengths) - lists.lengths, lists.lengths)
    return np.abs(2 * ranks - (lists.lengths[lists.rows] - 1))


def _by_popularity(case: Case, lists: Lists) -> list[Finding]:
    """Compare given negatives with those that the protocols draw for the same users, uniformly and by popularity."""
    if case.candidates is None:
        return []
    counts = case.split.train.item_counts
    own = lists.less_frequent(counts)
    protocols = [Lists(replace(case, candidates=None), negatives) for negatives in get_args(Negatives)]
    drawn = [protocol.less_frequent(counts) for protocol in protocols]
    same_users = own[np.searchsorted(lists.users, protocols[0].users)]
    # Each difference of two shares is between -1 and 1: Hoeffding's bound for their mean.
    rarer, more_frequent = (
        bool(excess.mean() > TELLING and np.exp(-len(excess) * excess.mean() ** 2 / 2) < SURE)
        for excess in (same_users - np.maximum(*drawn), np.minimum(*drawn) - same_users)
    )
    if not (rarer or more_frequent):
        return []
    places = np.argsort(tie_order(case.split.train))
    ranks = lists.ranks((places if rarer else -places)[lists.items])
    usual = " and ".join(
        f"{shares.mean():.1%} ({protocol.negatives})" for protocol, shares in zip(protocols, drawn, strict=True)
    )
    return [
        Finding(
            name="negatives told by popularity",
            count=int((ranks <= 10).sum()),
            metrics=worth(ranks),
            description=(
                f"On average {own.mean():.1%} of the wrong candidates are less frequent in training than the right "
                f"one; of those that the protocols draw it is {usual}. The rule takes the "
                f"{'most' if rarer else 'least'} frequent first; so many of {len(lists):,} lists have the right item "
                "among the first 10."
            ),
            fix="Draw negatives from the whole catalogue, uniformly or by popularity.",
        )
    ]
