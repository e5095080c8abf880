from __future__ import annotations

import numpy as np
import pytest

from peft_pod.audit import audit
from peft_pod.audit.user_order import _neighbour_ranks, check_user_order
from peft_pod.corpus import load_corpus
from tests.corpora import real_data

from .cases import GivenWords, case_of, corpus_of, drawn_histories

NUM_USERS, NUM_ITEMS = 400, 300
HISTORIES = drawn_histories(NUM_USERS, NUM_ITEMS, length=6)
CORPUS = corpus_of(HISTORIES, NUM_ITEMS)


def found(order: list[int]) -> list[str]:
    """Findings where users have the numbers of their places in an order."""
    words = GivenWords(range(NUM_ITEMS), np.argsort(order))
    return [finding.name for finding in check_user_order(case_of(CORPUS, words))]


@pytest.mark.parametrize("place", [-1, -2])
def test_users_in_the_order_of_a_held_out_item(place: int) -> None:
    order = sorted(range(NUM_USERS), key=lambda user: HISTORIES[user][place])
    assert found(order) == ["user IDs tell held-out items"]


def test_users_in_the_order_of_a_file_sorted_by_item() -> None:
    """Each user comes with their first item in the catalogue, held out or not, as in a file of reviews by product."""
    histories = drawn_histories(1500, 1500, length=5)
    words = GivenWords(range(1500), np.argsort(sorted(range(1500), key=lambda user: min(histories[user]))))
    (finding,) = check_user_order(case_of(corpus_of(histories, 1500), words))
    assert finding.name == "user IDs tell held-out items"
    assert finding.metrics["HR@10"] > 0.05


@pytest.mark.parametrize("name", ["embedded", "movielens-100k"])
def test_corpora_where_any_two_users_have_items_in_common(name: str) -> None:
    """Sorted by a held-out item, users give it away, whatever else they share; sorted by training items, they don't."""
    corpus = load_corpus(name, None if name == "embedded" else real_data(name))
    split = corpus.split()
    words = np.random.default_rng(0).permutation(split.train.num_items)
    training = split.train.sequences

    def found_in_order_of(keys) -> list[str]:
        order = sorted(range(split.train.num_users), key=lambda user: keys[user])
        case = case_of(corpus, GivenWords(words, np.argsort(order)), split)
        return [finding.name for finding in check_user_order(case)]

    for part in ("validation", "test"):
        assert found_in_order_of(split.targets(part)) == ["user IDs tell held-out items"]
    for keys in ([items[-1] for items in training], [sorted(items) for items in training]):
        assert found_in_order_of(keys) == []


def test_users_in_the_order_of_training_items() -> None:
    for key in (min, lambda items: items[0], lambda items: items[-1]):
        assert found(sorted(range(NUM_USERS), key=lambda user, key=key: key(HISTORIES[user][:-2]))) == []


@pytest.mark.parametrize("seed", range(5))
def test_random_numbers(seed: int) -> None:
    assert found(np.random.default_rng(seed).permutation(NUM_USERS).tolist()) == []


def test_pairs_that_share_training_items_are_not_counted() -> None:
    """Users in groups of the same training items and the same held-out ones: taste may bring them together."""
    groups = [[item, item + 1, item + 2, item + 3] for item in range(0, 240, 4) for _ in range(5)]
    words = GivenWords(range(240), range(len(groups)))
    assert check_user_order(case_of(corpus_of(groups, 240), words)) == []


def test_the_rule_recommends_what_neighbours_took() -> None:
    """Neighbours of the second user took 5 and 6 in training, one number away, and 7 two away: 6 is the test item.

    Equal scores go by frequency: 6 was taken twice.
    """
    histories = [[5, 0, 1], [1, 2, 6], [6, 3, 4], [7, 6, 3, 0]]
    case = case_of(corpus_of(histories, 8), GivenWords(range(8), range(4)))
    assert _neighbour_ranks(case, np.arange(4)).tolist()[1] == 1
    assert _neighbour_ranks(case, np.arange(4)).tolist()[0] == 1


@pytest.mark.parametrize("name", ["amazon-2014/beauty", "amazon-2014/sports"])
def test_the_lines_of_the_paper_s_corpora_are_sorted_by_product(name: str) -> None:
    """Each user comes with the smallest product ID of the whole history, held-out items included."""
    corpus = load_corpus(name, real_data(name))
    assert corpus.items["item_id"][:] == sorted(corpus.items["item_id"][:])
    smallest = [items.min() for items in corpus.split().all_histories()]
    assert (np.diff(smallest) >= 0).all()
    in_training = [items.min() for items in corpus.split().train.sequences]
    assert (np.diff(in_training) >= 0).mean() < 0.9


def test_users_without_words_tell_nothing() -> None:
    audited = audit(CORPUS, GivenWords(np.random.default_rng(0).permutation(NUM_ITEMS)).fit(CORPUS.split().train))
    assert audited.checks["user IDs"] == "the indexing does not name users"
