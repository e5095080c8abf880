from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import load_corpus
from peft_pod.indexing import LeakWarning, load_indexing
from peft_pod.metrics import available_baselines, evaluate_baseline, load_baseline
from peft_pod.metrics.baselines import available_index_rules
from peft_pod.metrics.baselines.index_numbers import are_numbered, index_numbers
from peft_pod.metrics.baselines.index_rules import InterleavedIndexRule, LargestIndexRule
from tests.corpora import real_data
from tests.indexing.training_parts import make_train

NUM_ITEMS = 12
LARGEST, INTERLEAVED = "largest index + 1", "largest index + 1, last index + 1"
orders = st.permutations(range(NUM_ITEMS))
histories_strategy = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=9), min_size=1, max_size=6)


def listed(numbers: list[int], history: list[int], name: str) -> list[int]:
    """The whole list of a rule, written as the rule is said: each anchor in turn, each item once."""
    known = [numbers[item] for item in history]
    anchors = [-1] if not known else [max(known)] if name == LARGEST else [max(known), known[-1]]
    item_of = {number: item for item, number in enumerate(numbers)}
    found: list[int] = []
    for step in range(1, NUM_ITEMS + 1):
        for anchor in anchors:
            item = item_of[(anchor + step) % NUM_ITEMS]
            if item not in found:
                found.append(item)
    return found


@pytest.mark.parametrize("name", [LARGEST, INTERLEAVED])
@given(numbers=orders, histories=histories_strategy, k=st.integers(1, NUM_ITEMS + 2), exclude=st.booleans())
@settings(deadline=None)
def test_lists_are_those_of_the_rule(
    name: str, numbers: list[int], histories: list[list[int]], k: int, exclude: bool
) -> None:
    baseline = load_baseline(name, indexing=numbers).fit(make_train(histories, NUM_ITEMS))
    arrays = [np.array(history, dtype=np.int64) for history in histories]
    found = baseline.recommend(arrays, k, exclude_seen=exclude)
    for history, items in zip(histories, found, strict=True):
        expected = [item for item in listed(numbers, history, name) if not (exclude and item in history)]
        assert items.tolist() == expected[:k]


@pytest.mark.parametrize("name", [LARGEST, INTERLEAVED])
@given(numbers=orders, histories=histories_strategy, data=st.data())
@settings(deadline=None)
def test_candidates_are_ranked_as_in_the_list(
    name: str, numbers: list[int], histories: list[list[int]], data: st.DataObject
) -> None:
    baseline = load_baseline(name, indexing=numbers).fit(make_train(histories, NUM_ITEMS))
    candidates = [data.draw(st.sets(st.integers(0, NUM_ITEMS - 1))) for _ in histories]
    found = baseline.recommend(
        [np.array(history, dtype=np.int64) for history in histories],
        4,
        candidates=[np.array(sorted(allowed), dtype=np.int64) for allowed in candidates],
    )
    for history, allowed, items in zip(histories, candidates, found, strict=True):
        expected = [item for item in listed(numbers, history, name) if item in allowed and item not in history]
        assert items.tolist() == expected[:4]


def test_scores_order_the_whole_catalogue() -> None:
    """Numbers run against positions: 4, 3, 2, 1, 0. The history's numbers are 1 and 3, so 4, 2, 0, 3, 1 follow."""
    histories = [np.array([1, 3])]
    for rule, order in ((LargestIndexRule, [0, 4, 3, 2, 1]), (InterleavedIndexRule, [0, 2, 4, 1, 3])):
        scores = rule([4, 3, 2, 1, 0]).fit(make_train([[1, 3]], 5)).scores(np.array([0]), histories)
        assert np.argsort(-scores[0]).tolist() == order


def test_histories_of_all_lengths_in_one_call() -> None:
    """More users than are counted out at a time, short and long histories mixed."""
    rng = np.random.default_rng(0)
    num_items = 300
    histories = [rng.choice(num_items, rng.integers(0, 200), replace=False) for _ in range(5000)]
    numbers = rng.permutation(num_items)
    baseline = InterleavedIndexRule(numbers).fit(make_train([[0]], num_items))
    found = baseline.recommend(histories, 10)
    for row in rng.choice(5000, 40, replace=False):
        alone = baseline.recommend([histories[row]], 10)[0]
        assert found[row].tolist() == alone.tolist()
        scores = baseline.scores(np.array([0]), [histories[row]])[0]
        scores[histories[row]] = -np.inf
        assert alone.tolist() == np.argsort(-scores)[:10].tolist()


def test_numbers_come_from_words() -> None:
    split = load_corpus("embedded", num_users=50).split()
    indexing = load_indexing("sequential").fit(split.train)
    by_words = LargestIndexRule(indexing).numbers
    assert by_words.tolist() == [int(word.removeprefix("item_")) - 1 for word in indexing.item_words]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["item_10", "item_9", "item_100"], [1, 0, 2]),
        (["item_0010", "item_0009"], [1, 0]),
        (["<a_2><b_10>", "<a_10><b_1>", "<a_2><b_9>"], [1, 2, 0]),
        (["Soap_2", "Comb", "Soap_10", "Soap"], [2, 0, 3, 1]),
        (["a_01", "a_1"], [0, 1]),
        (["7", "x", "10"], [0, 2, 1]),
    ],
)
def test_words_are_ordered_by_text_and_value(words: list[str], numbers: list[int]) -> None:
    assert index_numbers(words).tolist() == numbers


def test_which_words_are_numbered() -> None:
    assert are_numbered([f"<a_{one}><b_{two}>" for one in range(3) for two in range(3)])
    assert not are_numbered(["Soap", "Comb", "Brush_2", "Towel"])


def test_names() -> None:
    """The rules need the item IDs, so they are no baselines that come with every evaluation."""
    assert available_index_rules() == [LARGEST, INTERLEAVED]
    assert not set(available_index_rules()) & set(available_baselines())


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="does not take the options"):
        load_baseline(LARGEST)
    for numbers in ([1, 2, 3], [0, 0, 1], [[0, 1]]):
        with pytest.raises(ValueError, match="numbers must hold each of 0, 1, … once"):
            load_baseline(LARGEST, indexing=numbers)
    with pytest.raises(ValueError, match="numbers for 3 items and the catalogue has 5"):
        load_baseline(LARGEST, indexing=[0, 1, 2]).fit(make_train([[0]], 5))


@pytest.mark.parametrize(
    ("corpus", "figures"),
    [
        ("amazon-2014/beauty", {LARGEST: (0.0441, 0.0463, 0.0450), INTERLEAVED: (0.0441, 0.0548, 0.0497)}),
        ("amazon-2014/sports", {LARGEST: (0.0414, 0.0433, 0.0423), INTERLEAVED: (0.0414, 0.0475, 0.0444)}),
    ],
)
def test_scores_on_the_corpora_of_the_paper(corpus: str, figures: dict[str, tuple[float, ...]]) -> None:
    """With the paper's numbers the rules beat published models; with shuffled ones they have nothing."""
    split = load_corpus(corpus, data_dir=real_data(corpus)).split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        indexing = load_indexing("paper").fit_split(split)
    shuffled = np.random.default_rng(0).permutation(split.train.num_items)
    for name, expected in figures.items():
        scores = []
        for numbers in (indexing, shuffled):
            baseline = load_baseline(name, indexing=numbers).fit(split.train)
            metrics = evaluate_baseline(baseline, split, exclude_seen=False).metrics
            scores.append([metrics[metric] for metric in ("hr@1", "hr@10", "ndcg@10")])
        assert [round(value, 4) for value in scores[0]] == list(expected)
        assert max(scores[1]) < 0.0015
