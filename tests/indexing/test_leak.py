"""What is held out for evaluation must not show in the words of any scheme."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus.split import MIN_HISTORY, LeaveOneOut, TrainingPart, leave_one_out
from peft_pod.indexing import SequentialIndexing, available_indexings, load_indexing

from .training_parts import make_train

NUM_ITEMS = 30
SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]
HELD_OUT = 2
histories_strategy = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=7), min_size=1, max_size=8)


def split(
    histories: Sequence[Sequence[int]], catalogue: Sequence[int] = range(NUM_ITEMS), *, sentences: bool = False
) -> LeaveOneOut:
    rows = [(user, item, time) for user, items in enumerate(histories) for time, item in enumerate(items)]
    interactions = Dataset.from_dict(
        {
            "user_id": [f"u{user}" for user, _, _ in rows],
            "item_id": [f"i{item}" for _, item, _ in rows],
            "timestamp": [time for _, _, time in rows],
        }
    )
    # What is written about an item is known before anybody takes it; some titles and texts are alike.
    items = Dataset.from_dict(
        {
            "item_id": [f"i{item}" for item in catalogue],
            "title": [f"title of kind {item % 4}" for item in catalogue],
            "text": [f"made of material {item % 7}" for item in catalogue],
        }
    )
    explanations = Dataset.from_dict(
        {
            "user_id": [f"u{user}" for user, _, _ in rows],
            "item_id": [f"i{item}" for _, item, _ in rows],
            "explanation": [f"user {user} took {item}" for user, item, _ in rows],
            "feature": [f"thing {item}" for _, item, _ in rows],
        }
    )
    return leave_one_out(interactions, items, explanations if sentences else None)


def with_other_held_out_items(histories: list[list[int]], data: st.DataObject) -> list[list[int]]:
    held_out = st.lists(st.integers(0, NUM_ITEMS - 1), min_size=HELD_OUT, max_size=HELD_OUT)
    return [[*items[:-HELD_OUT], *data.draw(held_out)] if len(items) >= MIN_HISTORY else items for items in histories]


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=15, deadline=None)
@given(histories=histories_strategy, data=st.data())
def test_other_held_out_items_leave_every_word_as_it_is(
    scheme: str, histories: list[list[int]], data: st.DataObject
) -> None:
    before, after = split(histories), split(with_other_held_out_items(histories, data))
    words, altered_words = (load_indexing(scheme).fit_split(part, seed=1) for part in (before, after))
    assert words.item_words == altered_words.item_words
    assert words.user_words == altered_words.user_words


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_swap_of_held_out_items_between_users_leaves_every_word_as_it_is(scheme: str) -> None:
    histories = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    swapped = [[0, 1, 10, 7], [4, 5, 2, 11], [8, 9, 6, 3]]
    before, after = split(histories, sentences=True), split(swapped, sentences=True)
    assert before.test_items.tolist() != after.test_items.tolist()
    assert len(before.train.explanations) == 6
    assert before.held_out_explanations["test"][0].text != after.held_out_explanations["test"][0].text
    words, other = (load_indexing(scheme).fit_split(part) for part in (before, after))
    assert words.item_words == other.item_words
    assert words.user_words == other.user_words
    vectors, other_vectors = (words.start_vectors(part.train, 4) for part in (before, after))
    np.testing.assert_array_equal(vectors, other_vectors)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=10, deadline=None)
@given(histories=histories_strategy, data=st.data())
def test_words_of_later_items_do_not_depend_on_held_out_ones(
    scheme: str, histories: list[list[int]], data: st.DataObject
) -> None:
    """Half of the catalogue is new; each user has taken an old item, so that all are in the old corpus."""
    old = NUM_ITEMS // 2
    indexing = load_indexing(scheme).fit(
        split([[0, *(item for item in items if item < old)] for items in histories], range(old)).train, seed=1
    )
    before, after = split(histories), split(with_other_held_out_items(histories, data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words, other = (indexing.extend(part.train, seed=1) for part in (before, after))
    assert (words.item_words, words.user_words) == (other.item_words, other.user_words)


def tells_of_the_order(words: Sequence[str]) -> bool:
    """Whether a number in the words grows with the catalogue's order or is shared by neighbours, by 4.5 deviations."""
    # The first of equal titles has no number.
    numbers = np.array([[int(number) for number in re.findall(r"\d+", word) or ["1"]] for word in words])
    rng = np.random.default_rng(0)

    def signs(order: np.ndarray) -> np.ndarray:
        placed = numbers[order]
        ranked = placed.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        growth = np.abs((ranked - ranked.mean(axis=0)).T @ (np.arange(len(placed)) - (len(placed) - 1) / 2))
        shared = (placed[1:] == placed[:-1]).sum(axis=0)
        close = -np.abs(np.diff(placed, axis=0)).sum(axis=0)
        return np.concatenate([growth, shared, close])

    chance = np.array([signs(rng.permutation(len(numbers))) for _ in range(200)])
    found = signs(np.arange(len(numbers)))
    return bool((found > chance.mean(axis=0) + 4.5 * chance.std(axis=0) + 1e-9).any())


def alike(num_items: int, sequences: Sequence[Sequence[int]]) -> TrainingPart:
    return replace(make_train(sequences, num_items), item_titles=["a soap"] * num_items)


@pytest.mark.parametrize("taken", ["nothing", "each beside the first"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_of_items_that_are_alike_do_not_tell_of_the_catalogue_s_order(scheme: str, taken: str) -> None:
    """It is that of whole histories in the published corpora, held-out items included."""
    options = {"semantic": {"branching": 8, "levels": 2}, "collaborative": {"branching": 8}, "hybrid": {"clusters": 8}}
    size, grown = 120, 240
    pairs = [[0, item] for item in range(1, grown)] if taken != "nothing" else [[0]] * grown
    indexing = load_indexing(scheme, **options.get(scheme, {})).fit(alike(size, pairs[: size - 1]))
    # The first item is unlike the others.
    assert not tells_of_the_order(indexing.item_words[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        later = indexing.extend(alike(grown, pairs)).item_words[size:]
    assert not tells_of_the_order(later)


@settings(max_examples=25, deadline=None)
@given(histories=histories_strategy, catalogue=st.permutations(range(NUM_ITEMS)))
def test_sequential_words_of_training_items_do_not_depend_on_the_catalogue_file(
    histories: list[list[int]], catalogue: list[int]
) -> None:
    words = []
    for train in (split(histories).train, split(histories, catalogue).train):
        indexing = SequentialIndexing().fit(train)
        words.append(
            {train.item_ids[item]: indexing.item_word(item) for items in train.sequences for item in items.tolist()}
        )
    assert words[0] == words[1]


def test_texts_of_items_are_part_of_what_is_known() -> None:
    train = split([[0, 1, 2, 3]], [3, 1, 2, 0]).train
    assert list(train.item_texts) == [f"made of material {item}" for item in (3, 1, 2, 0)]
