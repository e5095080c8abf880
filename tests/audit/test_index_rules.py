from __future__ import annotations

import numpy as np
import pytest

from peft_pod.audit.index_rules import check_index_rules, rule_ranks
from peft_pod.indexing.cooccurrence import cooccurrence
from peft_pod.metrics.baselines.index_rules import INDEX_RULES, InterleavedIndexRule, LargestIndexRule

from .cases import GivenWords, case_of, corpus_of, drawn_histories, first_appearance

NUM_ITEMS = 800
HISTORIES = drawn_histories(num_users=500, num_items=NUM_ITEMS, length=6)
CORPUS = corpus_of(HISTORIES, NUM_ITEMS)


def names(numbers, words: type = GivenWords) -> list[str]:
    return [finding.name for finding in check_index_rules(case_of(CORPUS, words(numbers)))]


ALL = [f"index arithmetic: {name}" for name in INDEX_RULES]


def test_whole_histories_in_order() -> None:
    assert names(first_appearance(HISTORIES, NUM_ITEMS)) == ALL


def test_users_in_another_order() -> None:
    """Then the walk that the check takes is not the one that made the numbers."""
    shuffled = np.random.default_rng(1).permutation(len(HISTORIES))
    assert names(first_appearance([HISTORIES[user] for user in shuffled], NUM_ITEMS)) == ALL


def test_the_held_out_item_after_the_last_one_of_the_history() -> None:
    """Pairs of last known and held-out item side by side, one after the other in random order; `largest` finds less."""
    rng = np.random.default_rng(2)
    order: list[int] = []
    for user in rng.permutation(len(HISTORIES)).tolist():
        pair = HISTORIES[user][-2:]
        if not set(pair) & set(order):
            order += pair
    order += [item for item in rng.permutation(NUM_ITEMS).tolist() if item not in order]
    assert ALL[1] in names(np.argsort(order))


@pytest.mark.parametrize("seed", range(5))
def test_random_numbers(seed: int) -> None:
    assert names(np.random.default_rng(seed).permutation(NUM_ITEMS)) == []


def test_first_appearance_in_training() -> None:
    assert names(first_appearance([items[:-2] for items in HISTORIES], NUM_ITEMS)) == []


def test_a_chain_of_training_transitions() -> None:
    """The most that honest names can tell: each item is followed by one that followed it in training."""
    together = cooccurrence([np.array(items[:-2]) for items in HISTORIES], NUM_ITEMS, 1).toarray()
    left, item, order = set(range(NUM_ITEMS)), 0, []
    while left:
        item = item if item in left else min(left)
        left.remove(item)
        order.append(item)
        item = max(left, key=lambda other, item=item: together[item, other], default=0)
    assert names(np.argsort(order)) == []


def test_titles_that_go_on_are_no_evidence() -> None:
    """A second volume after the first is what titles are for, even where training never saw the two together."""

    class Titles(GivenWords):
        def __init__(self, items) -> None:
            super().__init__(items)
            self.items = [f"{chr(97 + item % 26)}{chr(97 + item // 26)}" for item in range(len(self.items))]

    # Everyone goes on from an item to the next in the alphabet, and histories share nothing.
    corpus = corpus_of([[4 * user, 4 * user + 1, 4 * user + 2, 4 * user + 3] for user in range(150)], 600)
    order = sorted(range(600), key=Titles(range(600)).items.__getitem__)
    in_order = corpus_of([[order[place] for place in range(4 * user, 4 * user + 4)] for user in range(150)], 600)
    assert check_index_rules(case_of(in_order, Titles(range(600)))) == []
    assert [finding.name for finding in check_index_rules(case_of(corpus))] == ALL


def test_a_scheme_that_says_it_leaks_is_believed() -> None:
    """On a small corpus there is not enough evidence; what is known is said nevertheless."""

    class Leaking(GivenWords):
        leaks = True

    small = corpus_of([[0, 1, 2], [3, 4, 0]], 5)
    assert check_index_rules(case_of(small)) == []
    findings = check_index_rules(case_of(small, Leaking(range(5))))
    assert [finding.name for finding in findings] == ALL
    # Largest + 1 of (0, 1) is 2, and after the largest, 4, of (3, 4) comes 0.
    assert findings[0].metrics == {"HR@1": 1.0, "HR@10": 1.0, "NDCG@10": 1.0}
    assert findings[0].count == 2


def test_ranks_by_hand() -> None:
    """Users know 0, 5 and 3, 2; then the test items 6, which is `largest + 1`, and 4, `last + 2`."""
    case = case_of(corpus_of([[0, 5, 6], [3, 2, 4]], 9))
    assert rule_ranks(case, LargestIndexRule(range(9))).tolist() == [1, 1]
    backwards = GivenWords([8, 7, 6, 5, 4, 3, 2, 1, 0])
    # Numbers of the second user: 5, 6, and the test item has 4: seventh after 6, around the end.
    case = case_of(corpus_of([[0, 5, 6], [3, 2, 4]], 9), backwards)
    assert rule_ranks(case, InterleavedIndexRule(case.item_numbers)).tolist()[1] == 7
