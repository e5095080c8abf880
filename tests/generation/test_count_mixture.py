"""Recommendations of a model mixed with counts, against the formula worked out item by item."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from peft_pod.corpus import Ragged, load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.generation.count_mixture import CountMixture
from peft_pod.indexing import load_indexing
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

WEIGHT = 0.4
NUM_ITEMS = 60
UNKNOWN = {"unknown_users": "history"}


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=12, num_items=NUM_ITEMS).split()


@pytest.fixture(scope="module", params=["whole", "pieces"])
def pure(split, request):
    """A model alone, whose beams find every item."""
    indexing = load_indexing("random").fit(split.train, seed=1)
    tasks = [load_task("sequential"), load_task("topn", candidates_in="trie", history_length=4)]
    tokenizer = build_tokenizer(
        "scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens=request.param
    )
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, max_whole_words=24, train_base=True)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    settings = GenerationSettings(batch_size=5, item_beams=NUM_ITEMS)
    return Recommender(model.eval(), processor, Catalogue.from_split(split), settings)


def mixed_with_counts(pure, split, **settings):
    return Recommender(
        pure.model,
        pure.processor,
        pure.catalogue,
        replace(pure.settings, count_weight=WEIGHT, **settings),
        counts=NeighbourCounts.fit(split.train),
    )


@pytest.fixture(scope="module")
def mixed(pure, split):
    return mixed_with_counts(pure, split)


def expected_scores(pure, split, history, *, exclude):
    """Of every item that may be found, by the formula."""
    names = pure.catalogue.item_ids
    found = pure.recommend("nobody", history, k=NUM_ITEMS, exclude_seen=exclude, unknown_users="history")
    positions = [names.index(item) for item in history]
    counted = NeighbourCounts.fit(split.train).scores(Ragged.of([positions])).toarray()[0]
    if exclude:
        counted[positions] = 0
    total = counted.sum()
    weight = WEIGHT if total else 0.0
    return {
        item.item_id: math.log(
            (1 - weight) * math.exp(item.score) + weight * counted[names.index(item.item_id)] / max(total, 1e-300)
        )
        for item in found
    }


def check(found, expected, k):
    best = sorted(expected, key=expected.get, reverse=True)[:k]
    assert [item.item_id for item in found] == best
    assert [item.score for item in found] == pytest.approx([expected[item] for item in best], abs=1e-4)


@pytest.mark.parametrize("exclude", [True, False])
def test_the_best_are_those_of_the_formula(pure, mixed, split, exclude):
    asked = pure.catalogue
    histories = [[asked.item_ids[item] for item in split.history(user, "test")[-20:]] for user in range(8)]
    options = {"k": 7, "exclude_seen": exclude, "unknown_users": "history"}
    together = mixed.recommend(["nobody"] * 8, histories, **options)
    changed = 0
    for history, found in zip(histories, together, strict=True):
        expected = expected_scores(pure, split, history, exclude=exclude)
        check(found, expected, 7)
        alone = mixed.recommend("nobody", history, **options)
        assert [item.item_id for item in alone] == [item.item_id for item in found]
        changed += [item.item_id for item in pure.recommend("nobody", history, **options)] != [
            item.item_id for item in found
        ]
    assert changed > 4


def test_only_allowed_items_are_found(pure, mixed, split):
    names = pure.catalogue.item_ids
    allowed, history = names[::3], [names[item] for item in split.history(0, "test")[-5:]]
    expected = expected_scores(pure, split, history, exclude=True)
    found = mixed.recommend("nobody", history, k=9, allowed_items=allowed, unknown_users="history")
    check(found, {item: score for item, score in expected.items() if item in allowed}, 9)


def test_few_beams_find_what_counting_finds(pure, split):
    """One beam: what the model likes best, and what counting likes best, each with its whole score."""
    narrow = mixed_with_counts(pure, split, item_beams=1)
    names = pure.catalogue.item_ids
    for user in range(6):
        history = [names[item] for item in split.history(user, "test")[-20:]]
        expected = expected_scores(pure, split, history, exclude=True)
        (found,) = narrow.recommend("nobody", history, k=1, unknown_users="history")
        counted = NeighbourCounts.fit(split.train).scores(Ragged.of([[names.index(item) for item in history]]))
        counted = counted.toarray()[0]
        counted[[names.index(item) for item in history]] = 0
        assert found.score == pytest.approx(expected[found.item_id], abs=1e-4)
        assert expected[found.item_id] >= expected[names[int(counted.argmax())]] - 1e-4


def test_where_counting_knows_nothing_the_model_decides(pure, mixed, split):
    counted = NeighbourCounts.fit(split.train).item_counts
    unseen = [pure.catalogue.item_ids[item] for item in np.flatnonzero(counted == 0)]
    assert unseen
    for ask in (
        lambda one: one.recommend("nobody", unseen[:1], k=6, unknown_users="history"),
        lambda one: one.rank("nobody", pure.catalogue.item_ids[:9], unseen[:1], unknown_users="history"),
    ):
        first, second = ask(pure), ask(mixed)
        assert [item.item_id for item in first] == [item.item_id for item in second]


def test_candidates_are_mixed_by_their_chances_among_themselves(pure, mixed, split):
    names = pure.catalogue.item_ids
    for user in range(4):
        history = [names[item] for item in split.history(user, "test")[-6:]]
        candidates = [name for name in names if name not in history][user : user + 15]
        scores = {item.item_id: item.probability for item in pure.rank("nobody", candidates, history, **UNKNOWN)}
        counted = NeighbourCounts.fit(split.train).scores(Ragged.of([[names.index(item) for item in history]]))
        chances = {item: counted.toarray()[0, names.index(item)] for item in candidates}
        total = sum(chances.values())
        weight = WEIGHT if total else 0
        expected = {
            item: (1 - weight) * scores[item] + weight * chances[item] / max(total, 1e-300) for item in candidates
        }
        found = mixed.rank("nobody", candidates, history, **UNKNOWN)
        assert [item.item_id for item in found] == sorted(candidates, key=expected.get, reverse=True)
        assert [item.probability for item in found] == pytest.approx([expected[item.item_id] for item in found])
        searched = mixed.rank("nobody", candidates, history, scoring="beam", num_beams=15, **UNKNOWN)
        assert [item.item_id for item in searched] == [item.item_id for item in found]


def test_a_question_without_a_history_is_left_to_the_model_which_is_said_once(split):
    indexing = load_indexing("random").fit(split.train, seed=1)
    tasks = [load_task("sequential"), load_task("topn", candidates_in="trie")]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, max_whole_words=24, seed=3)
    alone = Recommender(model.eval(), processor, Catalogue.from_split(split), GenerationSettings())
    together = mixed_with_counts(alone, split)
    user, candidates = alone.catalogue.user_ids[0], alone.catalogue.item_ids[:9]
    with pytest.warns(
        UserWarning, match=r"counts \(count_weight=0\.4\) have no part in this ranking: the task 'topn'"
    ) as said:
        found = [together.rank(user, candidates) for _ in range(2)]
    assert [warning.filename for warning in said] == [__file__]
    for ranked in found:
        assert [(item.item_id, item.probability) for item in ranked] == [
            (item.item_id, pytest.approx(item.probability)) for item in alone.rank(user, candidates)
        ]
    history = [alone.catalogue.item_ids[item] for item in split.history(0, "test")[-6:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        alone.rank(user, candidates)
        ranked = mixed_with_counts(alone, split).rank(user, candidates, history)
    assert [item.probability for item in ranked] != pytest.approx(
        [item.probability for item in alone.rank(user, candidates, history)]
    )


def test_it_is_saved_and_loaded(mixed, tmp_path):
    mixed.save_pretrained(tmp_path / "model")
    loaded = Recommender.from_pretrained(tmp_path / "model")
    user = mixed.catalogue.user_ids[0]
    assert [(item.item_id, pytest.approx(item.score, abs=1e-5)) for item in mixed.recommend(user, k=5)] == [
        (item.item_id, item.score) for item in loaded.recommend(user, k=5)
    ]
    (tmp_path / "model" / "pod_counts.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"pod_counts\.safetensors does not exist"):
        Recommender.from_pretrained(tmp_path / "model")


def test_counts_that_are_not_mixed_in_are_not_saved(pure, mixed, tmp_path):
    """Nor are those left that the folder had before."""
    mixed.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "pod_counts.safetensors").is_file()
    unused = Recommender(pure.model, pure.processor, pure.catalogue, pure.settings, counts=mixed.counts)
    for folder in (tmp_path / "model", tmp_path / "public"):
        unused.save_pretrained(folder, histories=False)
        assert not (folder / "pod_counts.safetensors").exists()
        assert Recommender.from_pretrained(folder).counts is None


def test_what_cannot_be_mixed(pure, split):
    for wrong in (-0.1, 1, 1.5, True, "0.5"):
        with pytest.raises(ValueError, match="count_weight must be a share from 0 to below 1, got"):
            GenerationSettings(count_weight=wrong)
    with pytest.raises(ValueError, match=r"count_weight is 0\.4, but there are no counts to mix in: give counts="):
        Recommender(pure.model, pure.processor, pure.catalogue, GenerationSettings(count_weight=0.4))
    other = NeighbourCounts.fit(load_corpus("embedded", num_users=12, num_items=50).split().train)
    with pytest.raises(ValueError, match="counts are of 50 items, and the catalogue has 60: count the training part"):
        Recommender(pure.model, pure.processor, pure.catalogue, GenerationSettings(count_weight=0.4), counts=other)
    with pytest.raises(ValueError, match="the weight of counts must lie between 0 and 1, got 0"):
        CountMixture(NeighbourCounts.fit(split.train), 0)
