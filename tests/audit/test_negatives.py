from __future__ import annotations

import numpy as np
import pytest

from peft_pod.audit.negatives import Lists, check_negatives, remark_popularity
from peft_pod.corpus.candidates import candidate_sets

from .cases import GivenWords, case_of, corpus_of, drawn_histories

NUM_USERS, NUM_ITEMS = 400, 300
HISTORIES = drawn_histories(NUM_USERS, NUM_ITEMS, length=6)
CORPUS = corpus_of(HISTORIES, NUM_ITEMS)
TARGETS = [items[-1] for items in HISTORIES]


def lists_of(draw, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw(rng, user, TARGETS[user], set(HISTORIES[user])) for user in range(NUM_USERS)]


def negatives(rng, taken: set[int], count: int = 19, catalogue=range(NUM_ITEMS)) -> list[int]:
    allowed = [item for item in catalogue if item not in taken]
    return rng.choice(allowed, count, replace=False).tolist()


def fair(rng, user: int, target: int, taken: set[int]) -> np.ndarray:
    return rng.permutation([target, *negatives(rng, taken)])


def found(candidates, numbers=None) -> dict[str, int]:
    words = GivenWords(np.random.default_rng(9).permutation(NUM_ITEMS) if numbers is None else numbers)
    case = case_of(CORPUS, words, candidates=candidates)
    return {finding.name: finding.count for finding in check_negatives(case)}


@pytest.mark.parametrize("seed", range(3))
def test_fair_lists(seed: int) -> None:
    assert found(lists_of(fair, seed)) == {}


def test_the_protocol_s_own_lists() -> None:
    assert found(None) == {}


@pytest.mark.parametrize("place", [0, 7, 19])
def test_the_right_item_always_at_one_place(place: int) -> None:
    def draw(rng, user, target, taken):
        others = negatives(rng, taken)
        return np.array([*others[:place], target, *others[place:]])

    assert found(lists_of(draw)) == {"negatives told by position": NUM_USERS}
    (finding,) = check_negatives(case_of(CORPUS, GivenWords(range(NUM_ITEMS)), candidates=lists_of(draw)))
    assert finding.metrics["HR@1"] == 1.0


def test_the_right_item_in_the_first_half_of_the_list() -> None:
    def draw(rng, user, target, taken):
        others, place = negatives(rng, taken), rng.integers(10)
        return np.array([*others[:place], target, *others[place:]])

    assert list(found(lists_of(draw))) == ["negatives told by position"]


def test_items_of_the_history_among_the_negatives() -> None:
    """One user has one, another two of them: what is left are 19 and 18 candidates."""

    def draw(rng, user, target, taken):
        own = HISTORIES[user][: 2 - user] if user < 2 else []
        return rng.permutation([target, *own, *negatives(rng, taken, 19 - len(own))])

    candidates = lists_of(draw)
    assert found(candidates) == {"negatives from the user's history": 2}
    (finding,) = check_negatives(case_of(CORPUS, GivenWords(range(NUM_ITEMS)), candidates=candidates))
    assert finding.metrics["HR@1"] == pytest.approx((1 / 18 + 1 / 19 + 398 / 20) / 400)


def test_candidates_that_stand_twice() -> None:
    def draw(rng, user, target, taken):
        others = negatives(rng, taken)
        return rng.permutation([target, *others[:18], others[0] if user % 2 else others[18]])

    assert found(lists_of(draw)) == {"candidates listed twice": 200}


@pytest.mark.parametrize(("low", "high"), [(0, 100), (200, 300)])
def test_negatives_from_a_part_of_the_numbers(low: int, high: int) -> None:
    """The items' numbers are their positions, and the negatives come from one third of them."""

    def draw(rng, user, target, taken):
        return rng.permutation([target, *negatives(rng, taken, catalogue=range(low, high))])

    assert list(found(lists_of(draw), range(NUM_ITEMS))) == ["negatives told by ID range"]
    assert found(lists_of(draw)) == {}


def test_negatives_on_both_sides_of_the_right_number() -> None:
    """The right item is always the one in the middle of the numbers."""

    def draw(rng, user, target, taken):
        room = min(target, NUM_ITEMS - 1 - target, 40)
        steps = [step for step in range(1, room + 1) if not taken & {target - step, target + step}]
        wrong = [target + side * step for step in steps for side in (-1, 1)]
        return rng.permutation([target, *(wrong or negatives(rng, taken))])

    lists = lists_of(draw)
    (finding,) = check_negatives(case_of(CORPUS, GivenWords(range(NUM_ITEMS)), candidates=lists))
    assert finding.name == "negatives told by ID range"
    assert "takes the middle numbers first" in finding.description
    assert finding.metrics["HR@1"] > 0.8
    assert found(lists) == {}


def test_numbers_by_popularity_are_popularity() -> None:
    """Popular items have small numbers and are taken more: among items as frequent as the right one, nothing tells."""
    rng = np.random.default_rng(3)
    weights = 1 / np.arange(1, NUM_ITEMS + 1)
    histories = [rng.choice(NUM_ITEMS, 6, replace=False, p=weights / weights.sum()).tolist() for _ in range(NUM_USERS)]
    corpus = corpus_of(histories, NUM_ITEMS)
    frequency = corpus.split().train.item_counts
    order = np.lexsort((rng.random(NUM_ITEMS), -frequency))
    case = case_of(corpus, GivenWords(np.argsort(order)))
    assert check_negatives(case) == []
    (remark,) = remark_popularity(case)
    assert (remark.name, remark.severity) == ("popularity among candidates", "remark")
    assert remark.metrics["HR@10"] > 0.3


@pytest.mark.parametrize("which", ["rarest", "most frequent"])
def test_negatives_told_by_popularity(which: str) -> None:
    """People take popular items more often; the negatives are from the rarest, or the most frequent, tenth."""
    rng = np.random.default_rng(3)
    weights = 1 / np.arange(1, NUM_ITEMS + 1) ** 0.5
    histories = [rng.choice(NUM_ITEMS, 6, replace=False, p=weights / weights.sum()).tolist() for _ in range(NUM_USERS)]
    corpus = corpus_of(histories, NUM_ITEMS)
    split = corpus.split()
    order = np.argsort(split.train.item_counts, kind="stable")
    pool = order[:30] if which == "rarest" else order[-30:]
    words = GivenWords(rng.permutation(NUM_ITEMS))

    def audited(draw) -> list[str]:
        case = case_of(corpus, words, split, candidates=[draw(user, items) for user, items in enumerate(histories)])
        return [finding.name for finding in [*check_negatives(case), *remark_popularity(case)]]

    def planted(user: int, items: list[int]) -> np.ndarray:
        return rng.permutation([items[-1], *negatives(rng, set(items), 9, pool)])

    assert audited(planted) == ["negatives told by popularity"]
    assert audited(lambda user, items: rng.permutation([items[-1], *negatives(rng, set(items))])) == [
        "popularity among candidates"
    ]
    popular = candidate_sets(split, "test", count=19, negatives="popularity")
    assert audited(lambda user, items: popular[user]) == []


def test_without_popular_items_there_is_no_remark() -> None:
    assert remark_popularity(case_of(CORPUS)) == []


def test_ranks_of_equal_candidates_are_the_worst() -> None:
    case = case_of(corpus_of([[0, 1, 2], [3, 4, 5]], 9), candidates=[np.array([6, 2, 7]), np.array([5, 8])])
    lists = Lists(case)
    costs = np.array([1, 1, 0, 0, 0])
    assert lists.ranks(costs).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([[2, 6]], "candidates has 1 lists for 2 users"),
        ([[2, 6], [6, 7]], "the candidates of user 1 lack the test item 5"),
    ],
)
def test_lists_that_cannot_be(candidates, message: str) -> None:
    case = case_of(corpus_of([[0, 1, 2], [3, 4, 5]], 9), candidates=candidates)
    with pytest.raises(ValueError, match=message):
        check_negatives(case)
