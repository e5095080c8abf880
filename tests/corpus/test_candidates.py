from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import candidates, load_corpus
from peft_pod.corpus.candidates import candidate_sets, draw_negatives, draw_popular_negatives, given_candidate_sets
from peft_pod.corpus.split import Split
from tests.corpora import hand_made_corpus


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=80).split()


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[int], int, int]:
    num_items = draw(st.integers(1, 40))
    taken = draw(st.lists(st.integers(0, num_items - 1), min_size=1, max_size=60))
    return num_items, taken, draw(st.integers(0, 50)), draw(st.integers(0, 99))


@given(cases())
def test_uniform_negatives_against_a_set(case: tuple[int, list[int], int, int]):
    num_items, taken, count, seed = case
    drawn = draw_negatives(np.array(taken), num_items, count, np.random.default_rng(seed))
    free = set(range(num_items)) - set(taken)
    assert len(drawn) == len(set(drawn.tolist())) == min(count, len(free))
    assert set(drawn.tolist()) <= free


@pytest.mark.parametrize("rounds", [0, 1, 8])
@given(case=cases(), data=st.data())
@settings(deadline=None)
def test_popular_negatives_against_a_set(rounds: int, case: tuple[int, list[int], int, int], data: st.DataObject):
    num_items, taken, count, seed = case
    weights = data.draw(st.lists(st.sampled_from([1, 2, 10_000_000]), min_size=num_items, max_size=num_items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_ROUNDS", rounds)
        drawn = draw_popular_negatives(np.array(taken), np.cumsum(weights), count, np.random.default_rng(seed))
    free = set(range(num_items)) - set(taken)
    assert len(drawn) == len(set(drawn.tolist())) == min(count, len(free))
    assert set(drawn.tolist()) <= free


@pytest.mark.parametrize("rounds", [0, 1, 8])
def test_popular_negatives_have_the_chance_of_drawing_without_replacement(monkeypatch, rounds: int):
    """Each pair of items as often as the two ways of drawing one after the other say, by repeats and by the rest."""
    monkeypatch.setattr(candidates, "_ROUNDS", rounds)
    weights, taken, draws = np.array([4, 1, 7, 2, 3]), [2], 6000
    ends = np.cumsum(weights)
    found = Counter(
        frozenset(draw_popular_negatives(np.array(taken), ends, 2, np.random.default_rng(seed)).tolist())
        for seed in range(draws)
    )
    total = weights.sum() - 7
    expected: dict[frozenset[int], float] = {}
    for first, second in permutations([0, 1, 3, 4], 2):
        chance = weights[first] / total * weights[second] / (total - weights[first])
        expected[frozenset({first, second})] = expected.get(frozenset({first, second}), 0) + chance
    assert sum(expected.values()) == pytest.approx(1)
    assert set(found) == set(expected)
    for pair, chance in expected.items():
        deviation = (draws * chance * (1 - chance)) ** 0.5
        assert abs(found[pair] - draws * chance) < 4.5 * deviation


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_sets_of_users(split, negatives: str):
    sets = candidate_sets(split, "test", count=20, negatives=negatives, seed=3)
    users = split.evaluated_users("test")
    assert len(sets) == len(users)
    for user, items in zip(users.tolist(), sets, strict=True):
        assert len(items) == len(set(items.tolist())) == 21
        assert set(items.tolist()) & set(split.all_items(user).tolist()) == {split.target(user, "test")}
    assert sets != candidate_sets(split, "test", count=20, negatives=negatives, seed=4)
    some = users[[40, 3, 7]]
    alone = candidate_sets(split, "test", users=some, count=20, negatives=negatives, seed=3)
    assert [row.tolist() for row in alone] == [sets[place].tolist() for place in (40, 3, 7)], "others change nothing"


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_the_right_one_is_anywhere(split, negatives: str):
    places: Counter[int] = Counter()
    for seed in range(10):
        sets = candidate_sets(split, "test", count=4, negatives=negatives, seed=seed)
        targets = split.targets("test")[split.evaluated_users("test")]
        places.update(np.argmax(np.stack(list(sets)) == targets[:, None], axis=1).tolist())
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert min(places.values()) > 0.75 * sum(places.values()) / 5


def test_a_small_catalogue_is_used_whole():
    split = hand_made_corpus().split()
    for negatives in ("uniform", "popularity"):
        sets = candidate_sets(split, "test", negatives=negatives)
        assert [sorted(row.tolist()) for row in sets] == [[4, 5], [0, 3, 4]]


def test_bad_input(split):
    with pytest.raises(ValueError, match=r"negatives must be one of \['uniform', 'popularity'\], got 'hard'"):
        candidate_sets(split, "test", negatives="hard")
    with pytest.raises(ValueError, match="count must be at least 1, got -1"):
        candidate_sets(split, "test", count=-1)
    with pytest.raises(ValueError, match="user 2 has no held-out item in 'test'; leave the user out"):
        candidate_sets(hand_made_corpus().split(), "test", users=np.array([0, 2]))
    with pytest.raises(ValueError, match="part must be 'validation' or 'test'"):
        candidate_sets(split, "train")


def named(split: Split, count: int = 20) -> dict[str, list[str]]:
    """For each user the first items of the catalogue that they did not take."""
    return {
        split.train.user_ids[user]: [
            split.train.item_ids[item]
            for item in sorted(set(range(split.train.num_items)) - set(split.all_items(user).tolist()))[:count]
        ]
        for user in range(split.train.num_users)
    }


@pytest.mark.parametrize("part", ["validation", "test"])
def test_given_negatives_stand_with_the_answer_in_random_order(split: Split, part: str):
    negatives = named(split)
    sets = given_candidate_sets(split, part, {**negatives, "somebody else": ["no item"]}, seed=1)
    places = []
    for user, found in enumerate(sets):
        items = [split.train.item_ids[item] for item in found.tolist()]
        answer = split.train.item_ids[split.target(user, part)]
        assert sorted(items) == sorted([answer, *negatives[split.train.user_ids[user]]])
        places.append(items.index(answer))
    assert len(set(places)) > 10, "the answer has no place of its own"
    users = np.array([7, 3])
    some = given_candidate_sets(split, part, negatives, users=users, seed=1)
    assert [row.tolist() for row in some] == [sets[user].tolist() for user in (7, 3)]
    other = given_candidate_sets(split, part, negatives, seed=2)
    assert any((one != two).any() for one, two in zip(sets, other, strict=True))


def test_given_negatives_may_differ_in_number(split: Split):
    negatives = {user: items[: 1 + place % 5] for place, (user, items) in enumerate(named(split).items())}
    sets = given_candidate_sets(split, "test", negatives)
    assert sets.lengths.tolist() == [2 + user % 5 for user in range(80)]


def test_given_negatives_that_cannot_be_are_refused(split: Split):
    negatives = named(split)
    user = split.train.user_ids[4]
    answer, older = (split.train.item_ids[item] for item in (split.target(4, "test"), split.train.sequences[4][0]))
    first = negatives[user][0]
    for wrong, why in (
        (["no item"], "'no item', which is not in the catalogue"),
        ([first, first], f"'{first}', which is there already"),
        ([answer], f"'{answer}', which the user took"),
        ([older], f"'{older}', which the user took"),
    ):
        with pytest.raises(ValueError, match=f"user '{user}' has the negative {why}; 1 such"):
            given_candidate_sets(split, "test", {**negatives, user: wrong})
    with pytest.raises(ValueError, match=f"user '{user}' and 0 more have no negatives"):
        given_candidate_sets(split, "test", {**negatives, user: []})
    with pytest.raises(ValueError, match="part must be 'validation' or 'test'"):
        given_candidate_sets(split, "train", negatives)
