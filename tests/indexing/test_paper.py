from __future__ import annotations

import gzip
import json
import warnings

import numpy as np
import pytest

from peft_pod.corpus import load_corpus
from peft_pod.indexing import LeakWarning, PaperIndexing, indexing_from_dict, load_indexing
from tests.audit.cases import corpus_of
from tests.corpora import real_data

# Items 6 and 7 are in nobody's history.
HISTORIES = [[3, 1, 4, 1, 5], [5, 2, 0], [2, 4]]


def fitted(histories: list[list[int]] = HISTORIES, seed: int = 0, **options: object) -> PaperIndexing:
    split = corpus_of(histories, num_items=8).split()
    with pytest.warns(LeakWarning, match="held-out items included"):
        return PaperIndexing(**options).fit_split(split, seed)


def test_items_are_numbered_by_whole_histories() -> None:
    """3 1 4 | 1 | 5, then 2 and 0, which are held out; users as they come."""
    indexing = fitted()
    expected = {3: "item_1", 1: "item_2", 4: "item_3", 5: "item_4", 2: "item_5", 0: "item_6"}
    assert {item: indexing.item_word(item) for item in expected} == expected
    assert {indexing.item_word(item) for item in (6, 7)} == {"item_7", "item_8"}
    assert indexing.user_words == ("user_1", "user_2", "user_3")


def test_held_out_items_decide_the_words() -> None:
    other = [[3, 1, 4, 0, 5], *HISTORIES[1:]]
    assert fitted(other).item_word(0) == "item_4"
    assert fitted().item_word(0) == "item_6"


def test_it_says_that_it_leaks() -> None:
    assert PaperIndexing.leaks
    assert not load_indexing("sequential").leaks


def test_a_training_part_is_not_enough() -> None:
    split = corpus_of(HISTORIES, num_items=8).split()
    with pytest.raises(ValueError, match=r"call fit_split\(split\)"):
        load_indexing("paper").fit(split.train)


def test_the_whole_histories_are_not_kept() -> None:
    """What is fitted again on a training part must not remember the split before."""
    indexing = fitted()
    with pytest.raises(ValueError, match="fit_split"):
        indexing.item_order(corpus_of(HISTORIES, num_items=8).split().train, np.random.default_rng(0))


def test_options_and_saving() -> None:
    indexing = fitted(pad=True, users="none")
    assert indexing.item_word(3) == "item_01"
    assert indexing.user_words == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restored = indexing_from_dict(json.loads(json.dumps(indexing.to_dict())))
    assert restored.item_words == indexing.item_words
    assert restored.leaks


@pytest.mark.parametrize("name", ["amazon-2014/beauty", "amazon-2014/sports"])
def test_the_numbers_are_those_of_the_paper(name: str) -> None:
    """Every item has the index that `datamaps.json` gives it, and every user."""
    folder = real_data(name)
    with gzip.open(folder / "datamaps.json.gz", "rt", encoding="utf-8") as file:
        maps = json.load(file)
    split = load_corpus(name, folder).split()
    with pytest.warns(LeakWarning):
        indexing = load_indexing("paper").fit_split(split)
    words = dict(zip(split.train.item_ids, indexing.item_words, strict=True))
    assert words == {item_id: f"item_{index}" for index, item_id in maps["id2item"].items()}
    users = dict(zip(split.train.user_ids, indexing.user_words, strict=True))
    assert users == {user_id: f"user_{index}" for index, user_id in maps["id2user"].items()}
