"""What is held out for evaluation must not show in the words of any scheme."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus.split import MIN_HISTORY, LeaveOneOut, leave_one_out
from peft_pod.indexing import SequentialIndexing, available_indexings, load_indexing

NUM_ITEMS = 30
SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]
HELD_OUT = 2
histories_strategy = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=7), min_size=1, max_size=8)


def split(histories: Sequence[Sequence[int]], catalogue: Sequence[int] = range(NUM_ITEMS)) -> LeaveOneOut:
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
    return leave_one_out(interactions, items)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=15, deadline=None)
@given(histories=histories_strategy, data=st.data())
def test_other_held_out_items_leave_every_word_as_it_is(
    scheme: str, histories: list[list[int]], data: st.DataObject
) -> None:
    altered = [
        [*items[:-HELD_OUT], *data.draw(st.lists(st.integers(0, NUM_ITEMS - 1), min_size=HELD_OUT, max_size=HELD_OUT))]
        if len(items) >= MIN_HISTORY
        else items
        for items in histories
    ]
    before, after = split(histories), split(altered)
    words, altered_words = (load_indexing(scheme).fit_split(part, seed=1) for part in (before, after))
    assert words.item_words == altered_words.item_words
    assert words.user_words == altered_words.user_words


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_swap_of_held_out_items_between_users_leaves_every_word_as_it_is(scheme: str) -> None:
    histories = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    swapped = [[0, 1, 10, 7], [4, 5, 2, 11], [8, 9, 6, 3]]
    before, after = split(histories), split(swapped)
    assert before.test_items.tolist() != after.test_items.tolist()
    words, other = (load_indexing(scheme).fit(part.train) for part in (before, after))
    assert words.item_words == other.item_words


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
