from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import TrainingPart
from peft_pod.metrics import Baseline, available_baselines, load_baseline
from peft_pod.metrics.baselines import base, selection, sparse

NUM_ITEMS = 9
sequences = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=7), min_size=1, max_size=6)
histories = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=7), min_size=1, max_size=5)


def training_part(lists: list[list[int]], item_ids: list[str] | None = None, num_items: int = NUM_ITEMS):
    ids = item_ids or [f"item-{i}" for i in range(num_items)]
    arrays = [np.array(items, dtype=np.int64) for items in lists]
    return TrainingPart(
        user_ids=[f"user-{u}" for u in range(len(lists))],
        item_ids=ids,
        item_titles=ids,
        sequences=arrays,
        timestamps=[3 * np.arange(len(items)) + user for user, items in enumerate(arrays)],
        explanations=[],
    )


def as_arrays(lists: list[list[int]]) -> list[np.ndarray]:
    return [np.array(items, dtype=np.int64) for items in lists]


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.lists(st.sampled_from([-math.inf, 0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n),
                min_size=1,
                max_size=4,
            ),
            st.permutations(range(n)),
            st.integers(1, 8),
        )
    )
)
def test_best_items_are_those_of_a_full_sort(drawn: tuple[list[list[float]], list[int], int]) -> None:
    scores, order, k = drawn
    k = min(k, len(order))
    for row, found in zip(scores, selection.best_items(np.array(scores), np.array(order), k), strict=True):
        ranked = sorted(range(len(row)), key=lambda item, row=row: (-row[item], order.index(item)))
        best = [item for item in ranked if row[item] > -math.inf][:k]
        assert found.tolist() == best + [-1] * (k - len(best))


@given(sequences, histories)
@settings(deadline=None)
def test_cooccurrence_equals_the_formula(lists: list[list[int]], taken: list[list[int]]) -> None:
    together: Counter[tuple[int, int]] = Counter()
    for items in lists:
        for i, one in enumerate(items):
            for j, other in enumerate(items):
                if 1 <= abs(i - j) <= 3:
                    together[one, other] += Fraction(1, abs(i - j))
    counts = Counter(item for items in lists for item in items)
    found = load_baseline("co-occurrence").fit(training_part(lists)).scores(np.arange(len(taken)), as_arrays(taken))
    for row, history in zip(found, taken, strict=True):
        for item in range(NUM_ITEMS):
            score = sum(together[seen, item] / Fraction(2**steps) for steps, seen in enumerate(reversed(history[-5:])))
            assert row[item] == pytest.approx(float(score) / (math.sqrt(counts[item]) + 1))


def test_popularity_counts_training_interactions() -> None:
    train = training_part([[0, 1, 1], [1, 2], [2, 3, 2]])
    ranked = load_baseline("popularity").fit(train).recommend(as_arrays([[]]), k=3)[0]
    assert set(ranked[:2].tolist()) == {1, 2}  # three times each
    assert ranked[2] in (0, 3)


@pytest.mark.parametrize("name", available_baselines())
@given(lists=sequences, taken=histories, data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_catalogue_changes_nothing(name, lists, taken, data) -> None:
    """A leaking order of the items can't help a baseline, not even where scores are equal."""
    place = data.draw(st.permutations(range(NUM_ITEMS)))
    ids = [f"item-{i}" for i in range(NUM_ITEMS)]
    moved_ids = [ids[place.index(i)] for i in range(NUM_ITEMS)]

    def moved(rows: list[list[int]]) -> list[list[int]]:
        return [[place[item] for item in items] for items in rows]

    first = load_baseline(name).fit(training_part(lists, ids)).recommend(as_arrays(taken), k=NUM_ITEMS)
    other = (
        load_baseline(name).fit(training_part(moved(lists), moved_ids)).recommend(as_arrays(moved(taken)), k=NUM_ITEMS)
    )
    assert [[ids[i] for i in row] for row in first] == [[moved_ids[i] for i in row] for row in other]


@pytest.mark.parametrize("name", available_baselines())
@given(lists=sequences, taken=histories, k=st.integers(1, 12), data=st.data())
@settings(max_examples=30, deadline=None)
def test_recommendations_keep_the_rules(name, lists, taken, k, data) -> None:
    allowed = [sorted(data.draw(st.sets(st.integers(0, NUM_ITEMS - 1)))) for _ in taken]
    baseline = load_baseline(name).fit(training_part(lists))
    scores = baseline.scores(np.arange(len(taken)), as_arrays(taken))
    open_, limited = (
        baseline.recommend(as_arrays(taken), k),
        baseline.recommend(as_arrays(taken), k, candidates=as_arrays(allowed)),
    )
    unfiltered = baseline.recommend(as_arrays(taken), k, exclude_seen=False)
    for row, history in enumerate(taken):
        eligible = set(range(NUM_ITEMS)) - set(history)
        assert len(open_[row]) == min(k, len(eligible))
        assert set(open_[row].tolist()) <= eligible
        assert len(limited[row]) == min(k, len(eligible & set(allowed[row])))
        assert set(limited[row].tolist()) <= eligible & set(allowed[row])
        assert len(unfiltered[row]) == min(k, NUM_ITEMS)
        for found, pool in ((open_[row], eligible), (limited[row], eligible & set(allowed[row]))):
            chosen = scores[row, found]
            assert len(set(found.tolist())) == len(found)
            assert (np.diff(chosen) <= 0).all()
            left = [scores[row, item] for item in pool - set(found.tolist())]
            assert not left or max(left) <= chosen[-1]


@pytest.mark.parametrize("name", available_baselines())
def test_chunks_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, NUM_ITEMS, 6).tolist() for _ in range(40)]
    baseline = load_baseline(name).fit(training_part(lists))
    whole = baseline.recommend(as_arrays(lists), 3, candidates=as_arrays([[1, 2, 3, 4, 5]] * 40))
    plain = baseline.recommend(as_arrays(lists), 3)
    for module in (base, selection, sparse):
        monkeypatch.setattr(module, "_CELLS_AT_ONCE", 3 * NUM_ITEMS)
    monkeypatch.setattr(sparse, "_ROWS_AT_ONCE", 7)
    assert [row.tolist() for row in plain] == [row.tolist() for row in baseline.recommend(as_arrays(lists), 3)]
    chunked = baseline.recommend(as_arrays(lists), 3, candidates=as_arrays([[1, 2, 3, 4, 5]] * 40))
    assert [row.tolist() for row in whole] == [row.tolist() for row in chunked]


def test_ties_go_by_frequency_first() -> None:
    train = training_part([[0, 1], [2, 3, 4, 3, 4, 4]])
    # Nothing stands near item 8, so all scores are equal.
    ranked = load_baseline("co-occurrence").fit(train).recommend(as_arrays([[8]]), k=2)[0]
    assert ranked.tolist() == [4, 3]


def test_random_is_a_fair_draw_of_its_own_for_each_user() -> None:
    num_users, num_items, k = 4000, 20, 5
    baseline = load_baseline("random", seed=3).fit(training_part([[0]], num_items=num_items))
    nothing = as_arrays([[]] * num_users)
    ranked = np.stack(baseline.recommend(nothing, k))
    share = np.bincount(ranked.ravel(), minlength=num_items) / num_users
    deviation = math.sqrt(k / num_items * (1 - k / num_items) / num_users)
    assert (abs(share - k / num_items) < 5 * deviation).all()
    # The same users in another batch, and another seed.
    assert (np.stack(baseline.recommend(nothing[:2], k, users=[7, 3])) == ranked[[7, 3]]).all()
    other = load_baseline("random", seed=4).fit(training_part([[0]], num_items=num_items))
    assert (np.stack(other.recommend(nothing, k)) != ranked).any()


def test_nobody_to_recommend_to() -> None:
    assert load_baseline("popularity").fit(training_part([[0]])).recommend([]) == []


def test_bad_input() -> None:
    fitted = load_baseline("popularity").fit(training_part([[0, 1]]))
    with pytest.raises(ValueError, match=r"no baseline 'svd'; choose one of \['random'"):
        load_baseline("svd")
    with pytest.raises(ValueError, match=r"baseline 'popularity' does not take the options \['seed'\]"):
        load_baseline("popularity", seed=1)
    with pytest.raises(RuntimeError, match="PopularityBaseline is not fitted"):
        load_baseline("popularity").recommend(as_arrays([[0]]))
    with pytest.raises(ValueError, match="k is 0"):
        fitted.recommend(as_arrays([[0]]), k=0)
    with pytest.raises(ValueError, match="users has 2 entries for 1 histories"):
        fitted.recommend(as_arrays([[0]]), users=[0, 1])
    with pytest.raises(ValueError, match="candidates has 0 entries for 1 histories"):
        fitted.recommend(as_arrays([[0]]), candidates=[])
    with pytest.raises(ValueError, match="histories names item 9"):
        fitted.recommend(as_arrays([[9]]))
    with pytest.raises(ValueError, match="candidates names item -1"):
        fitted.recommend(as_arrays([[0]]), candidates=as_arrays([[-1]]))
    for seed in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"seed is {seed}; it must be a whole number of at least 0"):
            load_baseline("random", seed=seed)
    with pytest.raises(ValueError, match="no items"):
        load_baseline("popularity").fit(training_part([[]], item_ids=None, num_items=0))


def test_a_baseline_that_could_not_learn_is_not_fitted() -> None:
    class Failing(Baseline):
        def _fit(self, train) -> None:
            raise ZeroDivisionError

        def scores(self, users, histories) -> np.ndarray:
            return np.zeros((len(histories), NUM_ITEMS))

    baseline = Failing()
    with pytest.raises(ZeroDivisionError):
        baseline.fit(training_part([[0]]))
    with pytest.raises(RuntimeError, match="Failing is not fitted"):
        baseline.recommend(as_arrays([[0]]))


def test_equal_counts_go_by_the_hash_of_the_id() -> None:
    """The hashes begin: 40 for "a", 84 for "b", 37 for "c"."""
    train = training_part([[0, 1, 2]], item_ids=["a", "b", "c"])
    assert load_baseline("popularity").fit(train).recommend(as_arrays([[]]), k=3)[0].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("scores", "message"), [(np.zeros((1, 2)), r"the shape \(1, 2\)"), (np.full((1, 9), np.nan), "not a number")]
)
def test_a_wrong_baseline_is_found_out(scores: np.ndarray, message: str) -> None:
    class Wrong(Baseline):
        def _fit(self, train) -> None:
            pass

        def scores(self, users, histories) -> np.ndarray:
            return scores

    with pytest.raises(ValueError, match=f"Wrong.scores returned .*{message}"):
        Wrong().fit(training_part([[0]])).recommend(as_arrays([[0]]))
