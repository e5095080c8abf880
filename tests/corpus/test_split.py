from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError, LeaveOneOut
from peft_pod.corpus.split import MIN_HISTORY, PARTS, leave_one_out, leave_one_out_refit
from tests.corpora import hand_made_corpus

Row = tuple[str, str, int]


def table(names: tuple[str, ...], rows: list[tuple]) -> Dataset:
    return Dataset.from_dict({name: [row[position] for row in rows] for position, name in enumerate(names)})


def interactions_table(rows: list[Row]) -> Dataset:
    return table(("user_id", "item_id", "timestamp"), rows)


def catalogue_table(item_ids: list[str]) -> Dataset:
    return table(("item_id", "title"), [(item_id, f"Title of {item_id}") for item_id in item_ids])


def explanations_table(rows: list[tuple[str, str, str, str]]) -> Dataset:
    return table(("user_id", "item_id", "explanation", "feature"), rows)


def names(split: LeaveOneOut, items: np.ndarray) -> str:
    return "".join(split.train.item_ids[item] for item in items)


def test_why_nobody_has_a_held_out_item():
    rows = [("ann", "a", 0), ("ann", "b", 1), ("bob", "a", 0)]
    short = (interactions_table(rows), catalogue_table(["a", "b"]))
    needs = "holds items of users with at least 3 interactions out, and the most that a user has is 2"
    for part in PARTS[1:]:
        assert leave_one_out(*short).why_nobody(part) == f"the split 'leave-one-out' {needs}"
    refit = leave_one_out_refit(*short)
    assert refit.why_nobody("test") == f"the split 'leave-one-out-refit' {needs}"
    assert refit.why_nobody("validation") == "the split 'leave-one-out-refit' trains on the validation items"


def test_by_hand():
    split = hand_made_corpus().split()
    assert split.train.user_ids == ["ann", "bob", "cat"]
    assert split.train.item_ids == list("abcdef")
    assert split.train.item_titles == ["Soap", "Lamp", "Comb", "Towel", "Brush", "Mug"]
    assert [names(split, sequence) for sequence in split.train.sequences] == ["abc", "bc", "de"]
    assert [stamps.tolist() for stamps in split.train.timestamps] == [[0, 1, 2], [0, 1], [0, 1]]
    assert split.validation_items.tolist() == [3, 5, -1]
    assert split.test_items.tolist() == [4, 0, -1]
    assert split.evaluated_users("test").tolist() == [0, 1]
    assert split.evaluated_users("validation").tolist() == [0, 1]
    assert [split.target(user, "test") for user in range(3)] == [4, 0, -1]
    assert names(split, split.history(0, "validation")) == "abc"
    assert names(split, split.history(0, "test")) == "abcd"
    assert names(split, split.history(2, "test")) == "de"
    assert [names(split, split.all_items(user)) for user in range(3)] == ["abcde", "bcfa", "de"]
    assert split.train.item_counts.tolist() == [1, 2, 2, 1, 1, 0]
    assert split.train.lengths.tolist() == [3, 2, 2]
    assert split.train.users_with_items.tolist() == [0, 1, 2]
    assert split.train.users_with_transitions.tolist() == [0, 1, 2]
    assert (split.train.num_users, split.train.num_items) == (3, 6)


def test_sentences_by_hand():
    """`ann` says something about her validation item `d` and her test item `e`; for `cat` the same `d` is training."""
    split = hand_made_corpus().split()
    texts = {part: [(e.user, e.item, e.text, e.feature) for e in split.explanations(part)] for part in PARTS}
    assert texts == {
        "train": [
            (0, 0, "the soap smells of mint", "mint"),
            (1, 1, "a bright lamp", "bright"),
            (2, 3, "very soft", "soft"),
        ],
        "validation": [(0, 3, "a soft towel", "soft")],
        "test": [(0, 4, "the brush is sturdy", "sturdy")],
    }


def test_ties_in_time_keep_the_order_of_the_table():
    rows = [("u", "c", 5), ("v", "a", 1), ("u", "a", 5), ("u", "b", 5), ("u", "d", 2)]
    split = leave_one_out(interactions_table(rows), catalogue_table(list("abcd")))
    assert split.train.user_ids == ["u", "v"]
    assert names(split, split.all_items(0)) == "dcab"


@pytest.mark.parametrize(("length", "kept"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_users_with_short_histories_are_kept_whole(length, kept):
    rows = [("u", item, time) for time, item in enumerate("abcd"[:length])]
    split = leave_one_out(interactions_table(rows), catalogue_table(list("abcd")))
    assert split.train.lengths.tolist() == [kept]
    assert (split.target(0, "test") == -1) == (length < MIN_HISTORY)
    assert split.train.users_with_transitions.tolist() == ([0] if kept >= 2 else [])


def test_a_sentence_about_an_item_held_out_and_taken_before_is_not_for_training():
    rows = [("u", item, time) for time, item in enumerate(["a", "b", "c", "a"])]
    sentences = [("u", "a", "good", "good"), ("u", "b", "fine", "fine")]
    split = leave_one_out(interactions_table(rows), catalogue_table(list("abc")), explanations_table(sentences))
    assert [e.text for e in split.explanations("train")] == ["fine"]
    assert [e.text for e in split.explanations("test")] == ["good"]


def test_a_sentence_about_an_item_held_out_twice_is_for_the_test():
    rows = [("u", item, time) for time, item in enumerate(["a", "b", "b"])]
    split = leave_one_out(
        interactions_table(rows), catalogue_table(["a", "b"]), explanations_table([("u", "b", "good", "good")])
    )
    assert [len(split.explanations(part)) for part in PARTS] == [0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "items", "sentences", "message"),
    [
        ([("u", "a", 0), ("u", "x", 1)], "ab", None, "'interactions' has item_id 'x', which the corpus does not have"),
        ([("u", "a", 0)], "aba", None, "item 'a' stands more than once in the table 'items'"),
        ([("u", "a", 0)], "ab", [("w", "a", "good", "")], "'explanations' has user_id 'w'"),
        ([("u", "a", 0)], "ab", [("u", "x", "good", "")], "'explanations' has item_id 'x'"),
    ],
)
def test_names_without_an_entry_are_refused(rows, items, sentences, message):
    explanations = None if sentences is None else explanations_table(sentences)
    with pytest.raises(CorpusFormatError, match=message):
        leave_one_out(interactions_table(rows), catalogue_table(list(items)), explanations)


def test_training_has_no_target_and_unknown_parts_are_refused():
    split = hand_made_corpus().split()
    for ask in (split.target, split.history):
        with pytest.raises(ValueError, match="part must be 'validation' or 'test'.*'train'"):
            ask(0, "train")
    with pytest.raises(ValueError, match="part must be 'validation' or 'test'.*'tset'"):
        split.history(0, "tset")
    with pytest.raises(ValueError, match="part must be one of 'train', 'validation', 'test', got 'tset'"):
        split.explanations("tset")


def test_it_says_what_it_is_and_what_it_counted():
    corpus = hand_made_corpus()
    split = corpus.split()
    assert (split.name, split.settings) == ("leave-one-out", {"min_history": 3})
    assert split.step.name == "split leave-one-out"
    assert split.step.counts == {
        "users": 3,
        "training interactions": 7,
        "users with a validation and a test item": 2,
        "users with fewer than 3 interactions, kept for training whole": 1,
        "users whose validation item shares its time with the item before": 0,
        "users whose test item shares its time with the item before": 0,
        "test items that do not occur in training": 0,
    }
    assert repr(split) == (
        "LeaveOneOut(TrainingPart(3 users, 6 items, 7 interactions, 3 explanations), 2 validation items, 2 test items)"
    )
    assert split.data_fingerprint == corpus.fingerprint
    assert split.fingerprint == hand_made_corpus().split().fingerprint != corpus.fingerprint
    alone = leave_one_out(corpus.interactions, corpus.items, corpus.explanations)
    assert alone.fingerprint == split.fingerprint
    assert leave_one_out(corpus.interactions, corpus.items).fingerprint != split.fingerprint


def test_refit_by_hand():
    """The same test questions; the validation items, and what is said of them, are for training."""
    corpus = hand_made_corpus()
    split, refit = corpus.split(), corpus.split("leave-one-out-refit")
    assert [names(refit, sequence) for sequence in refit.train.sequences] == ["abcd", "bcf", "de"]
    assert [stamps.tolist() for stamps in refit.train.timestamps] == [[0, 1, 2, 3], [0, 1, 2], [0, 1]]
    assert refit.test_items.tolist() == split.test_items.tolist()
    assert refit.evaluated_users("validation").tolist() == []
    assert [refit.history(user, "test").tolist() for user in range(3)] == [
        split.history(user, "test").tolist() for user in range(3)
    ]
    assert refit.all_histories() == split.all_histories()
    assert refit.known_later.tolist() == [0, 0, 0]
    assert len(refit.explanations("train")) == len(split.explanations("train")) + len(split.explanations("validation"))
    assert list(refit.explanations("test")) == list(split.explanations("test"))
    assert refit.step.name == "split leave-one-out-refit"
    assert refit.step.counts == {
        "users": 3,
        "training interactions": 9,
        "users with a test item": 2,
        "users with fewer than 3 interactions, kept for training whole": 1,
        "users whose test item shares its time with the item before": 0,
        "test items that do not occur in training": 0,
    }
    assert refit.fingerprint != split.fingerprint


def test_ties_of_held_out_items_are_counted():
    times = {"u": [1, 2, 2], "v": [1, 2, 3], "w": [4, 4, 5], "x": [6, 6, 6], "y": [7, 7]}
    rows = [(user, item, time) for user, own in times.items() for item, time in zip("abc", own, strict=False)]
    counts = leave_one_out(interactions_table(rows), catalogue_table(list("abc"))).step.counts
    assert counts["users whose validation item shares its time with the item before"] == 2  # w, x
    assert counts["users whose test item shares its time with the item before"] == 2  # u, x
    assert counts["test items that do not occur in training"] == 4  # c, for everybody but y
    assert counts["users with fewer than 3 interactions, kept for training whole"] == 1


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Row], list[str], list[tuple[str, str, str, str]]]:
    item_ids = draw(st.permutations([f"i{number}" for number in range(draw(st.integers(1, 8)))]))
    users = st.sampled_from([f"u{number}" for number in range(5)])
    rows = draw(st.lists(st.tuples(users, st.sampled_from(item_ids), st.integers(-3, 3)), min_size=1, max_size=40))
    about = draw(st.lists(st.sampled_from(rows), max_size=10))
    sentences = [(user, item, f"sentence {number}", "") for number, (user, item, _) in enumerate(about)]
    return rows, item_ids, sentences


@settings(max_examples=40, deadline=None)
@given(corpora())
def test_equals_a_split_made_user_by_user(corpus: tuple[Any, Any, Any]):
    rows, item_ids, sentences = corpus
    split = leave_one_out(interactions_table(rows), catalogue_table(item_ids), explanations_table(sentences))

    assert split.train.user_ids == list(dict.fromkeys(user for user, _, _ in rows))
    everything, histories = split.all_histories(), {part: split.histories(part) for part in ("validation", "test")}
    for user, user_id in enumerate(split.train.user_ids):
        # `sorted` is stable, so ties keep the order of the rows.
        own = sorted((row for row in rows if row[0] == user_id), key=lambda row: row[2])
        taken = [item_ids.index(item) for _, item, _ in own]
        held_out = len(own) >= MIN_HISTORY
        train = taken[:-2] if held_out else taken
        assert split.train.sequences[user].tolist() == train
        assert split.train.timestamps[user].tolist() == [time for _, _, time in own][: len(train)]
        assert split.all_items(user).tolist() == everything[user].tolist() == taken
        for part, rows_of_part in histories.items():
            assert rows_of_part[user].tolist() == split.history(user, part).tolist()
        assert split.history(user, "validation").tolist() == train
        assert split.history(user, "test").tolist() == (taken[:-1] if held_out else taken)
        assert split.target(user, "validation") == (taken[-2] if held_out else -1)
        assert split.target(user, "test") == (taken[-1] if held_out else -1)

    refit = leave_one_out_refit(interactions_table(rows), catalogue_table(item_ids), explanations_table(sentences))
    assert refit.train.sequences == split.histories("test") == refit.histories("test")
    assert refit.test_items.tolist() == split.test_items.tolist()
    assert refit.all_histories() == everything
    assert {one.text for one in refit.explanations("test")} == {one.text for one in split.explanations("test")}


@settings(max_examples=40, deadline=None)
@given(corpora(), st.data())
def test_the_training_part_is_the_same_whatever_is_held_out(corpus: tuple[Any, Any, Any], data: st.DataObject):
    rows, item_ids, _ = corpus
    # Times of their own for all rows, so that the last two of a user are known.
    rows = [(user, item, time) for time, (user, item, _) in enumerate(rows)]
    places: dict[str, list[int]] = {}
    for place, (user, _, _) in enumerate(rows):
        places.setdefault(user, []).append(place)
    other = list(rows)
    for user, own in places.items():
        for place in own[-2:] if len(own) >= MIN_HISTORY else []:
            other[place] = (user, data.draw(st.sampled_from(item_ids)), rows[place][2])
    first, second = (leave_one_out(interactions_table(r), catalogue_table(item_ids)).train for r in (rows, other))
    assert first.user_ids == second.user_ids
    assert [items.tolist() for items in first.sequences] == [items.tolist() for items in second.sequences]
    assert [stamps.tolist() for stamps in first.timestamps] == [stamps.tolist() for stamps in second.timestamps]
    assert first.item_counts.tolist() == second.item_counts.tolist()


@settings(max_examples=40, deadline=None)
@given(corpora())
def test_nothing_held_out_is_in_the_training_part(corpus: tuple[Any, Any, Any]):
    rows, item_ids, sentences = corpus
    split = leave_one_out(interactions_table(rows), catalogue_table(item_ids), explanations_table(sentences))

    for part in ("validation", "test"):
        for user in split.evaluated_users(part):
            history = split.history(user, part)
            assert split.all_items(user)[len(history)] == split.target(user, part)
    held_out = sum(len(split.evaluated_users(part)) for part in ("validation", "test"))
    assert split.train.item_counts.sum() == len(rows) - held_out

    pairs = {part: {(user, split.target(user, part)) for user in range(split.train.num_users)} for part in PARTS[1:]}
    for explanation in split.explanations("train"):
        assert (explanation.user, explanation.item) not in pairs["validation"] | pairs["test"]
    for part in PARTS[1:]:
        assert all((explanation.user, explanation.item) in pairs[part] for explanation in split.explanations(part))
    assert sorted(e.text for part in PARTS for e in split.explanations(part)) == sorted(
        text for _, _, text, _ in sentences
    )
