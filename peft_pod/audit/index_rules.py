"""Can held-out items be counted out from the numbers in the names of the history?

A rule such as "the largest number + 1" may hit now and then where names are honest: clusters of items that are taken
together, or items numbered in the order of training, put the next item close by. What names made from the training part
alone cannot do is hit *more* where the training part says *less*. So the check compares

- held-out items that nobody took before this user, going through whole histories one user after the other, with those
  that nobody took after them: for honest names, the two are alike. Where whole histories were numbered, the former have
  the next free number;
- among held-out items that no training history holds together with any item of this one's, counting up with counting
  down. For honest names, hits come from what training holds together, and there are hardly any here. Words of letters
  are left out of this: a title may well continue another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from peft_pod.corpus.parts import Part
from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.metrics.baselines.index_numbers import are_numbered
from peft_pod.metrics.baselines.index_rules import INDEX_RULES, IndexRule, LargestIndexRule

from .case import HELD_OUT, SURE, BoolArray, Case, share
from .finding import Finding

MORE_THAN_LAST = 3.0
"""A leak hits items that are new in the walk at least so many times as often as items that end there."""

MORE_THAN_SUPPORTED = 0.25
"""A leak hits items without support in training at least so often, relative to those with it."""

_TARGETS_AT_ONCE = 2000

_FIX = (
    "Name items from the training part alone: indexing 'sequential', 'random' or any other whose `leaks` is false. "
    "Where the names come with the data, drop them and fit an indexing on split.train."
)


@dataclass(frozen=True)
class _Evidence:
    """Hits of a rule among the held-out items, and which of these are in which group."""

    items: IntArray
    up: BoolArray
    down: BoolArray
    first: BoolArray
    final: BoolArray
    unsupported: BoolArray

    def says_new_items_are_hit(self) -> bool:
        hits = [int(self.up[group].sum()) for group in (self.first, self.final)]
        misses = [int((~self.up[group]).sum()) for group in (self.first, self.final)]
        p_value = stats.fisher_exact([hits, misses], alternative="greater").pvalue
        larger = share(self.up[self.first]) > MORE_THAN_LAST * share(self.up[self.final])
        return bool(p_value < SURE and larger)

    def says_unsupported_items_are_hit(self) -> bool:
        # An item that many took stands beside another one by chance once, not once for each of them.
        up, down = (len(np.unique(self.items[hits & self.unsupported])) for hits in (self.up, self.down))
        if up == 0:
            return False
        p_value = stats.binomtest(up, up + down, 0.5, alternative="greater").pvalue
        often = share(self.up[self.unsupported]) > MORE_THAN_SUPPORTED * share(self.up[~self.unsupported])
        return bool(p_value < SURE and often)


def check_index_rules(case: Case) -> list[Finding]:
    """Findings of the rules that count on from the numbers in the history; none where names do not tell."""
    evidence = _evidence(case)
    numbered = are_numbered(case.indexing.item_words)
    told = {
        anchor: found.says_new_items_are_hit() or (numbered and found.says_unsupported_items_are_hit())
        for anchor, found in evidence.items()
    }
    if not (case.indexing.leaks or any(told.values())):
        return []
    return [
        _finding(case, name, rule, evidence)
        for name, rule in INDEX_RULES.items()
        if case.indexing.leaks or told["largest"] or rule is not LargestIndexRule
    ]


def _finding(case: Case, name: str, rule: type[IndexRule], evidence: dict[str, _Evidence]) -> Finding:
    ranks = rule_ranks(case, rule(case.item_numbers))
    shuffled = np.random.default_rng(case.seed).permutation(case.num_items)
    by_chance = case.worth(rule_ranks(case, rule(shuffled)))
    found = evidence["largest"]
    return Finding(
        name=f"index arithmetic: {name}",
        count=int((ranks > 0).sum()),
        metrics=case.worth(ranks),
        description=(
            f"The rule has so many of {len(ranks):,} test items among its first 10; with shuffled numbers it has HR@10 "
            f"{by_chance['HR@10']:.4f} and NDCG@10 {by_chance['NDCG@10']:.4f}. 'Largest + 1' is right for "
            f"{share(found.up[found.first]):.1%} of the held-out items that nobody took before this user in the order "
            f"of the corpus, and for {share(found.up[found.final]):.1%} of those that nobody took after them; for "
            f"{share(found.up[found.unsupported]):.1%} of those that training never saw together with the history."
        ),
        fix=_FIX,
    )


def rule_ranks(case: Case, rule: IndexRule) -> IntArray:
    """Ranks of the test items in the rule's first 10 items, history included; 0 where they are not there."""
    lists = rule.fit(case.split.train).recommend(case.histories, 10, exclude_seen=False)
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    rows = np.repeat(np.arange(len(lists)), lengths)
    items = np.concatenate(lists)
    places = np.arange(len(items)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    right = items == case.targets[rows]
    ranks = np.zeros(len(lists), dtype=np.int64)
    ranks[rows[right]] = places[right] + 1
    return ranks


def _evidence(case: Case) -> dict[str, _Evidence]:
    parts = [_evidence_of_part(case, part) for part in HELD_OUT]
    return {
        anchor: _Evidence(*(np.concatenate(pieces) for pieces in zip(*(part[anchor] for part in parts), strict=True)))
        for anchor in ("largest", "last")
    }


def _evidence_of_part(case: Case, part: Part) -> dict[str, tuple[IntArray | BoolArray, ...]]:
    users = case.split.evaluated_users(part)
    if len(users) == 0:
        return dict.fromkeys(("largest", "last"), (np.empty(0, dtype=np.int64), *(np.empty(0, dtype=bool),) * 5))
    targets = case.split.targets(part)[users]
    histories = case.split.histories(part).take(users)
    filled = histories.lengths > 0
    numbers = case.item_numbers
    of_history, of_target = numbers[histories.values], numbers[targets]
    starts, ends = histories.offsets[:-1][filled], histories.offsets[1:][filled]
    largest, smallest, last = (np.full(len(users), -2) for _ in range(3))
    largest[filled] = np.maximum.reduceat(of_history, starts)
    smallest[filled] = np.minimum.reduceat(of_history, starts)
    last[filled] = of_history[ends - 1]

    owners = case.walk.owners
    items, first_place = np.unique(case.walk.values, return_index=True)
    place_of = np.full(case.num_items, -1)
    place_of[items] = first_place
    last_owner = np.full(case.num_items, -1)
    np.maximum.at(last_owner, case.walk.values, owners)
    first = place_of[targets] == case.places(part)
    final = (last_owner[targets] == users) & (owners[place_of[targets]] != users)

    groups = (first, final, ~_supported(case, targets, histories))
    return {
        "largest": (targets, filled & (of_target == largest + 1), filled & (of_target == smallest - 1), *groups),
        "last": (targets, filled & (of_target == last + 1), filled & (of_target == last - 1), *groups),
    }


def _supported(case: Case, targets: IntArray, histories: Ragged) -> BoolArray:
    """For each target, whether a training history holds it together with an item of its own history."""
    supported = np.zeros(len(targets), dtype=bool)
    takers = case.taken.T.tocsr()
    wanted = targets[histories.owners]
    by_target = np.argsort(wanted, kind="stable")
    distinct = np.unique(wanted)
    # Row by row: a table of all items by all items may not fit.
    for start in range(0, len(distinct), _TARGETS_AT_ONCE):
        some = distinct[start : start + _TARGETS_AT_ONCE]
        together = (takers[some] @ case.taken).tocsr()
        first, end = np.searchsorted(wanted[by_target], [some[0], some[-1] + 1])
        pairs = by_target[first:end]
        counts = np.asarray(together[np.searchsorted(some, wanted[pairs]), histories.values[pairs]]).ravel()
        supported[histories.owners[pairs[counts > 0]]] = True
    return supported
