from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Corpus, TemporalSplit, load_corpus
from peft_pod.corpus.split import PARTS
from peft_pod.corpus.temporal import temporal_split
from tests.corpora import hand_made_corpus, real_data
from tests.corpus.test_split import catalogue_table, explanations_table, interactions_table, names

ROWS = [
    ("ann", "a", 10),
    ("ann", "b", 20),
    ("ann", "c", 50),  # validation item
    ("ann", "d", 55),  # known when the test item is predicted
    ("ann", "e", 90),  # test item
    ("ann", "f", 95),
    ("bob", "a", 15),
    ("bob", "c", 80),  # at the very cut: test item; nothing in the validation part
    ("cat", "b", 60),  # nothing is known before
    ("cat", "e", 85),  # test item, from a history that has no training item
    ("dan", "f", 99),  # nothing is known before
    ("eve", "b", 5),
]


def by_hand(sentences: list[tuple[str, str, str, str]] | None = None) -> TemporalSplit:
    return temporal_split(
        interactions_table(ROWS),
        catalogue_table(list("abcdef")),
        None if sentences is None else explanations_table(sentences),
        validation_cut=50,
        test_cut=80,
    )


def test_by_hand():
    split = by_hand()
    users = range(5)
    assert split.train.user_ids == ["ann", "bob", "cat", "dan", "eve"]
    assert [names(split, sequence) for sequence in split.train.sequences] == ["ab", "a", "", "", "b"]
    assert [stamps.tolist() for stamps in split.train.timestamps] == [[10, 20], [15], [], [], [5]]
    assert split.validation_items.tolist() == [2, -1, -1, -1, -1]
    assert split.test_items.tolist() == [4, 2, 4, -1, -1]
    assert split.evaluated_users("test").tolist() == [0, 1, 2]
    assert [names(split, split.history(user, "validation")) for user in users] == ["ab", "a", "", "", "b"]
    assert [names(split, split.history(user, "test")) for user in users] == ["abcd", "a", "b", "", "b"]
    assert [names(split, split.all_items(user)) for user in users] == ["abcdef", "ac", "be", "f", "b"]
    assert [names(split, row) for row in split.histories("test")] == ["abcd", "a", "b", "", "b"]
    assert split.histories("validation") == split.train.sequences
    assert [names(split, row) for row in split.all_histories()] == ["abcdef", "ac", "be", "f", "b"]
    assert split.step.name == "split temporal"
    assert split.settings == {"validation_cut": 50, "test_cut": 80}
    assert split.step.counts == {
        "users": 5,
        "training interactions": 4,
        "interactions between the cuts": 3,
        "interactions from the test cut on": 5,
        "users without a training interaction": 2,
        "users with a validation item": 1,
        "users of whom nothing is known before their first validation item, left out": 1,
        "validation items that do not occur in training": 1,
        "users with a test item": 3,
        "users of whom nothing is known before their first test item, left out": 1,
        "test items that do not occur in training": 3,
        "users whose validation item shares its time with the next item": 0,
        "users whose test item shares its time with the next item": 0,
        "explanations without an interaction, left out": 0,
    }


def test_sentences_by_the_time_of_their_interaction():
    rows = [*ROWS, ("ann", "a", 57)]
    sentences = [
        ("ann", "a", "taken twice, so validation", ""),
        ("ann", "b", "training", ""),
        ("ann", "d", "between the cuts, though not the validation item", ""),
        ("ann", "f", "after the test item", ""),
        ("dan", "f", "of a user of whom nothing is known", ""),
        ("eve", "f", "without an interaction", ""),
        ("eve", "b", "training too", ""),
    ]
    split = temporal_split(
        interactions_table(rows),
        catalogue_table(list("abcdef")),
        explanations_table(sentences),
        validation_cut=50,
        test_cut=80,
    )
    found = {part: [explanation.text for explanation in split.explanations(part)] for part in PARTS}
    assert found == {
        "train": ["training", "training too"],
        "validation": ["taken twice, so validation", "between the cuts, though not the validation item"],
        "test": ["after the test item", "of a user of whom nothing is known"],
    }
    assert split.step.counts["explanations without an interaction, left out"] == 1


def test_equal_times_keep_the_order_of_the_table_and_are_counted():
    rows = [("u", "a", 1), ("u", "b", 5), ("u", "c", 5), ("u", "d", 9), ("u", "e", 9), ("v", "a", 4)]
    split = temporal_split(interactions_table(rows), catalogue_table(list("abcde")), validation_cut=5, test_cut=9)
    assert (split.target(0, "validation"), split.target(0, "test")) == (1, 3)
    ties = {rule: count for rule, count in split.step.counts.items() if "shares its time" in rule}
    assert list(ties.values()) == [1, 1]


def test_fractions_are_shares_of_the_interactions():
    rows = [(f"u{number % 3}", "a", 100 + number) for number in range(20)]
    split = temporal_split(
        interactions_table(rows), catalogue_table(["a"]), validation_fraction=0.25, test_fraction=0.1
    )
    assert split.settings == {
        "validation_cut": 113,
        "test_cut": 118,
        "validation_fraction": 0.25,
        "test_fraction": 0.1,
    }
    assert (split.train.item_counts.sum(), split.step.counts["interactions between the cuts"]) == (13, 5)
    same = temporal_split(interactions_table(rows), catalogue_table(["a"]), validation_cut=113, test_cut=118)
    assert (same.test_items == split.test_items).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs either validation_cut and test_cut or .* got none of them"),
        ({"validation_cut": 50}, r"got \{'validation_cut': 50\}"),
        ({"validation_cut": 50, "test_fraction": 0.1}, "needs either"),
        ({"validation_cut": 50, "test_cut": 80, "test_fraction": 0.1}, "needs either"),
        ({"validation_fraction": 0.0, "test_fraction": 0.1}, "must be above 0 and together below 1, got 0.0 and 0.1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "together below 1"),
        (
            {"validation_fraction": "0.1", "test_fraction": 0.1},
            "must be above 0 and together below 1, got '0.1' and 0.1",
        ),
        ({"validation_cut": 50.5, "test_cut": 80}, "must be whole numbers, as timestamps are, got 50.5"),
        ({"validation_cut": 50, "test_cut": "80"}, "must be whole numbers, as timestamps are, got '80'"),
        ({"validation_cut": 80, "test_cut": 80}, "validation cut must be before the test cut, got 80 and 80"),
        ({"validation_cut": 5, "test_cut": 80}, "nothing is before the validation cut 5.*from 5 to 99"),
        ({"validation_cut": 50, "test_cut": 100}, "nothing is after the test cut 100.*from 5 to 99"),
        ({"validation_cut": 70, "test_cut": 75}, "nothing is between the cuts 70 and 75"),
    ],
)
def test_cuts_that_cannot_be(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        temporal_split(interactions_table(ROWS), catalogue_table(list("abcdef")), **settings)


@pytest.mark.parametrize("start", [0, 1])
def test_places_in_a_history_are_no_times(start: int):
    rows = [(user, item, place) for user in "uv" for place, item in enumerate("abcd", start)]
    with pytest.raises(ValueError, match="the timestamps are places in each user's own history"):
        temporal_split(interactions_table(rows), catalogue_table(list("abcd")), validation_cut=2, test_cut=3)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[tuple[str, str, int]], int, int]:
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcd"), st.integers(10, 20)), min_size=3, max_size=40
        )
    )
    first, second = sorted(draw(st.lists(st.integers(11, 20), min_size=2, max_size=2, unique=True)))
    times = [time for _, _, time in rows]
    assume(min(times) < first and max(times) >= second and any(first <= time < second for time in times))
    return rows, first, second


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_equals_a_split_made_user_by_user(corpus: tuple[list[tuple[str, str, int]], int, int]):
    rows, first, second = corpus
    pairs = sorted({(user, item) for user, item, _ in rows})
    sentences = explanations_table([(user, item, f"{user}{item}", "") for user, item in pairs])
    split = temporal_split(
        interactions_table(rows), catalogue_table(list("abcd")), sentences, validation_cut=first, test_cut=second
    )
    assert split.train.user_ids == list(dict.fromkeys(user for user, _, _ in rows))
    for user, user_id in enumerate(split.train.user_ids):
        own = sorted((row for row in rows if row[0] == user_id), key=lambda row: row[2])
        assert names(split, split.train.sequences[user]) == "".join(item for _, item, time in own if time < first)
        assert split.train.timestamps[user].tolist() == [time for _, _, time in own if time < first]
        assert names(split, split.all_items(user)) == "".join(item for _, item, _ in own)
        for part, begin, end in (("validation", first, second), ("test", second, 99)):
            known = [item for _, item, time in own if time < begin]
            within = [item for _, item, time in own if begin <= time < end]
            assert names(split, split.history(user, part)) == "".join(known)
            target = split.target(user, part)
            assert (split.train.item_ids[target] if target >= 0 else None) == (within[0] if known and within else None)
    for part, begin, end in (("train", 0, first), ("validation", first, second), ("test", second, 99)):
        latest = {(user, item): max(r[2] for r in rows if r[:2] == (user, item)) for user, item in pairs}
        expected = [f"{user}{item}" for user, item in pairs if begin <= latest[user, item] < end]
        assert [explanation.text for explanation in split.explanations(part)] == expected


def test_by_name_from_a_corpus():
    corpus = load_corpus("embedded", num_users=50)
    split = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.1)
    assert isinstance(split, TemporalSplit)
    assert split.data_fingerprint == corpus.fingerprint
    assert split.train.timestamps.values.max() < split.settings["validation_cut"]
    other = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.2)
    assert len({split.fingerprint, other.fingerprint, corpus.split().fingerprint, corpus.fingerprint}) == 4
    again = Corpus.from_tables("another name", corpus.tables)
    assert again.split("temporal", validation_fraction=0.1, test_fraction=0.1).fingerprint == split.fingerprint


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("random", {}, "there is no split 'random'; known are 'leave-one-out', 'leave-one-out-refit', 'temporal'"),
        ("leave-one-out", {"test_cut": 5}, "split 'leave-one-out' has no setting 'test_cut'; it has no settings"),
        ("temporal", {"cut": 5}, "split 'temporal' has no setting 'cut'; its settings are validation_cut, test_cut"),
    ],
)
def test_unknown_names(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        hand_made_corpus().split(name, **settings)


def test_on_real_times():
    """MovieLens 100K: nothing is lost between the parts, and no user has a target out of nothing."""
    corpus = load_corpus("movielens-100k", real_data("movielens-100k"))
    split = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.1)
    counts = split.step.counts
    parts = ("training interactions", "interactions between the cuts", "interactions from the test cut on")
    assert sum(counts[part] for part in parts) == 100_000
    assert (counts["users with a validation item"], counts["users with a test item"]) == (81, 90)
    for part in ("validation", "test"):
        users = split.evaluated_users(part)
        assert split.histories(part).lengths[users].min() >= 1
    assert np.diff(split.histories("test").offsets).sum() == (
        counts["training interactions"] + counts["interactions between the cuts"]
    )
