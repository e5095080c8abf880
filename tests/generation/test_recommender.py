from __future__ import annotations

import numpy as np
import pytest
import torch

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommendation, Recommender
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODCollator, PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

from ..corpora import hand_made_corpus

MODES = {
    "frozen": {},
    "lora": {"r": 2},
    "full": {"train_base": True},
    "no prompts": {"train_base": True, "num_virtual_tokens": 0},
    "nothing in front": {"r": 2, "num_virtual_tokens": 0, "whole_word_embedding": False},
}


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


def make_recommender(split, mode="full", base="scratch:tiny", tasks=("sequential", "topn", "explanation")):
    indexing = load_indexing("random").fit(split.train, seed=1)
    loaded = [load_task(name, **({"num_negatives": 2} if name == "topn" else {})) for name in tasks]
    processor = PODProcessor(
        build_tokenizer(base, split.train, indexing, loaded, vocabulary_size=400, id_tokens="pieces"), indexing, loaded
    )
    model = build_model(base, processor, **{"num_virtual_tokens": 2, "max_whole_words": 16, **MODES[mode]})
    torch.manual_seed(3)
    with torch.no_grad():  # away from the start, so that users, tasks and items differ
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return Recommender(model.eval(), processor, Catalogue.from_split(split), GenerationSettings(batch_size=2))


@pytest.fixture(scope="module", params=["full", "no prompts"])
def recommender(split, request):
    return make_recommender(split, request.param)


def score_by_hand(recommender, sample, task, item):
    """Log-probability of an item's tokens by one teacher-forced pass."""
    from dataclasses import replace

    encoded = recommender.processor(replace(sample, target_item=item), task)
    batch = PODCollator(recommender.processor.tokenizer.pad_token_id)([encoded])
    with torch.no_grad():
        logits = recommender.model(**batch).logits.log_softmax(-1)
    return logits.gather(-1, batch["labels"][..., None]).sum().item()


def test_recommendations_equal_exhaustive_scoring(recommender, split):
    """There are fewer items than beams, so the search must find the true order."""
    task = recommender.processor.task("sequential")
    for user, user_id in enumerate(split.train.user_ids):
        history = split.all_items(user)
        sample = task.query(user, history)
        unseen = [item for item in range(6) if item not in history]
        scores = {item: score_by_hand(recommender, sample, "sequential", item) for item in unseen}
        expected = sorted(unseen, key=scores.get, reverse=True)
        found = recommender.recommend(user_id, k=6)
        assert [entry.item_id for entry in found] == [split.train.item_ids[item] for item in expected]
        assert [entry.title for entry in found] == [split.train.item_titles[item] for item in expected]
        assert [entry.score for entry in found] == pytest.approx([scores[item] for item in expected], abs=1e-4)


def test_seen_items_come_back_only_when_asked_for(recommender):
    assert {entry.item_id for entry in recommender.recommend("ann", k=6)} == {"f"}
    assert {entry.item_id for entry in recommender.recommend("ann", k=6, exclude_seen=False)} == set("abcdef")


def test_a_list_of_users_equals_one_by_one(recommender):
    users = ["cat", "ann", "bob"]
    together = recommender.recommend(users, k=3)
    for user, found in zip(users, together, strict=True):
        alone = recommender.recommend(user, k=3)
        assert [entry.item_id for entry in found] == [entry.item_id for entry in alone]
        assert [entry.score for entry in found] == pytest.approx([entry.score for entry in alone], abs=1e-4)


def test_history_given_takes_the_place_of_the_saved_one(recommender):
    found = recommender.recommend("ann", ["f", "a"], k=6)
    assert {entry.item_id for entry in found} == set("bcde")
    assert found != recommender.recommend("ann", ["f", "b"], k=6)
    both = recommender.recommend(["ann", "bob"], [["f", "a"], ["c"]], k=6)
    assert [entry.item_id for entry in both[0]] == [entry.item_id for entry in found]
    assert len(both[1]) == 5


@pytest.mark.parametrize("history", [None, ["a", "b"]])
def test_rank_orders_all_candidates_exactly(recommender, split, history):
    candidates = ["e", "a", "c", "f"]
    found = recommender.rank("bob", candidates, history)
    positions = [split.train.item_ids.index(item) for item in candidates]
    if history is None:
        task, sample = "topn", recommender.processor.task("topn").query(1, positions)
    else:
        task, sample = "sequential", recommender.processor.task("sequential").query(1, [0, 1])
    scores = {item: score_by_hand(recommender, sample, task, split.train.item_ids.index(item)) for item in candidates}
    assert [entry.item_id for entry in found] == sorted(candidates, key=scores.get, reverse=True)
    assert [entry.score for entry in found] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-4)
    assert recommender.rank("bob", candidates, history, k=2) == found[:2]


def test_rank_for_lists_of_different_lengths(recommender):
    found = recommender.rank(["ann", "bob"], [["a", "b", "c"], ["d"]])
    assert [len(items) for items in found] == [3, 1]
    assert found[1][0].item_id == "d"


def test_explain(recommender):
    texts = recommender.explain(["ann", "bob"], ["a", "f"])
    assert texts == [recommender.explain("ann", "a"), recommender.explain("bob", "f")]
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend("dan"), "user 'dan' is not among the 3 users"),
        (lambda r: r.recommend("ann", []), "history is empty"),
        (lambda r: r.recommend("ann", ["a", "zz"]), "item 'zz' is not in the catalogue of 6 items"),
        (lambda r: r.recommend("ann", "a"), "history must be a list of item IDs"),
        (lambda r: r.recommend(["ann", "bob"], [["a"]]), "history has 1 lists for 2 users"),
        (lambda r: r.recommend(["ann", "bob"], ["a", "b"]), "must be a list of lists"),
        (lambda r: r.recommend([]), "the list of users is empty"),
        (lambda r: r.recommend("ann", k=0), "k must be a positive whole number, got 0"),
        (lambda r: r.recommend("ann", list("abcdef")), "nothing is left to recommend"),
        (lambda r: r.recommend(7), "user 7 is not among .*; IDs are strings"),
        (lambda r: r.rank("ann", []), "candidates is empty"),
        (lambda r: r.rank("ann", ["a", "a"]), "names an item twice"),
        (lambda r: r.rank("ann", ["a", "a"], ["b"]), "none twice"),
        (lambda r: r.rank("ann", ["zz"]), "item 'zz' is not in the catalogue"),
        (lambda r: r.explain("ann", "zz"), "item 'zz' is not in the catalogue"),
        (lambda r: r.explain(["ann", "bob"], ["a"]), "item has 1 entries for 2 users"),
    ],
)
def test_bad_questions_are_named(recommender, call, message):
    with pytest.raises(ValueError, match=message):
        call(recommender)


def test_a_task_the_model_was_not_trained_for(split):
    with pytest.raises(ValueError, match=r"unknown task 'explanation'; this model has \['sequential'\]"):
        make_recommender(split, tasks=("sequential",)).explain("ann", "a")


def test_long_history_uses_the_most_recent_items(split):
    recommender = make_recommender(split)
    recommender.processor.task("sequential").history_length = 2
    found = recommender.recommend("ann", ["a", "b", "c", "d"], k=2)
    same = recommender.recommend("ann", ["b", "a", "c", "d"], k=2)
    assert found == same
    assert {entry.item_id for entry in found} == {"e", "f"}  # all of the history is excluded, used or not


def test_recommendation_is_plain_data():
    assert Recommendation("a", "Soap", -1.0) == Recommendation("a", "Soap", -1.0)


@pytest.mark.parametrize("field", ["item_beams", "text_beams", "batch_size"])
def test_settings_are_checked(field):
    with pytest.raises(ValueError, match=f"{field} must be a positive whole number, got 0"):
        GenerationSettings(**{field: 0})


def test_catalogue_round_trip(tmp_path):
    catalogue = Catalogue(["x", "y"], ["X", "Ÿ"], ["u", "v", "w"], [np.array([1, 0]), np.array([], int), np.array([1])])
    catalogue.save(tmp_path)
    loaded = Catalogue.load(tmp_path)
    assert (loaded.item_ids, loaded.titles, loaded.user_ids) == (["x", "y"], ["X", "Ÿ"], ["u", "v", "w"])
    assert [items.tolist() for items in loaded.histories] == [[1, 0], [], [1]]
    assert [loaded.history(user).tolist() for user in range(3)] == [[1, 0], [], [1]]
