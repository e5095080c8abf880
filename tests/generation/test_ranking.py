"""`rank` against scoring one candidate at a time, over random IDs, candidates and models."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.indexing import indexing_from_dict
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

from .test_recommender import score_by_hand

ITEMS, USERS = 40, 12
SEEDS = range(3)
# Fast; by `generate` under the same weights; of another architecture.
KINDS = {"t5": "auto", "t5 by generate": "generate", "bart": "auto"}
SCORES_CLOSE = 1e-4


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=USERS, num_items=ITEMS).split()


def random_words(rng, form, count):
    """Numbers of one to four pieces, so that names differ in length and some begin others."""
    numbers = set()
    while len(numbers) < count:
        numbers.add("".join(rng.choice("0123") for _ in range(rng.choice([2, 4, 6]))))
    return [form.format(number) for number in rng.sample(sorted(numbers), count)]


def make_recommender(split, kind, seed, folder, **settings):
    rng = random.Random(seed)
    data = {
        "name": "random",
        "options": {},
        "item_words": random_words(rng, "item_{}", ITEMS),
        "user_words": random_words(rng, "user_{}", USERS),
    }
    indexing = indexing_from_dict(data)
    tasks = [load_task("sequential"), load_task("topn", num_negatives=5)]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=300, id_tokens="pieces")
    processor = PODProcessor(tokenizer, indexing, tasks)
    base = "scratch:tiny"
    if kind == "bart":
        base = str(folder)
        tokenizer.save_pretrained(base)
        sides = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
        widths = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        tokens = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id")}
        config = BartConfig(
            vocab_size=len(tokenizer), **sides, **widths, **tokens, decoder_start_token_id=tokenizer.eos_token_id
        )
        BartForConditionalGeneration(config).save_pretrained(base)
    model = build_model(base, processor, num_virtual_tokens=2, max_whole_words=32, train_base=True)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    settings = GenerationSettings(method=KINDS[kind], batch_size=3, **settings)
    return Recommender(model.eval(), processor, Catalogue.from_split(split), settings)


@pytest.fixture(scope="module", params=[(kind, seed) for kind in KINDS for seed in SEEDS], ids=str)
def recommender(request, split, tmp_path_factory):
    return make_recommender(split, *request.param, tmp_path_factory.mktemp("base"))


def questions(split, rng):
    """Users, their candidates by position, and histories or none."""
    users = rng.sample(range(USERS), 4)
    lists = [rng.sample(range(ITEMS), rng.randint(1, 25)) for _ in users]
    lists[0] = rng.sample(range(ITEMS), 25)
    histories = rng.choice([None, [rng.sample(range(ITEMS), rng.randint(1, 6)) for _ in users]])
    return users, lists, histories


def asked(recommender, split, users, lists, histories, **arguments):
    ids = split.train.item_ids
    return recommender.rank(
        [split.train.user_ids[user] for user in users],
        [[ids[item] for item in items] for items in lists],
        None if histories is None else [[ids[item] for item in items] for items in histories],
        **arguments,
    )


def by_hand(recommender, split, user, candidates, history):
    """Candidates with their scores, best first."""
    name = "topn" if history is None else "sequential"
    task = recommender.processor.task(name)
    sample = task.query(user, candidates) if history is None else task.query(user, history)
    scores = {item: score_by_hand(recommender, sample, name, item) for item in candidates}
    return sorted(((split.train.item_ids[item], score) for item, score in scores.items()), key=lambda pair: -pair[1])


@pytest.mark.parametrize("seed", range(3))
def test_exact_ranks_are_those_of_scoring_each_candidate(recommender, split, seed):
    users, lists, histories = questions(split, random.Random(seed))
    found = asked(recommender, split, users, lists, histories)
    by_beams = asked(recommender, split, users, lists, histories, scoring="beam", num_beams=25)
    for row, (user, candidates) in enumerate(zip(users, lists, strict=True)):
        expected = by_hand(recommender, split, user, candidates, None if histories is None else histories[row])
        scores = np.array([score for _, score in expected])
        for ranked in (found[row], by_beams[row]):  # with a beam for each candidate, the search is exact too
            assert [entry.item_id for entry in ranked] == [item for item, _ in expected]
            assert [entry.score for entry in ranked] == pytest.approx(scores, abs=SCORES_CLOSE)
            probabilities = np.exp(scores) / np.exp(scores).sum()
            assert [entry.probability for entry in ranked] == pytest.approx(probabilities, rel=1e-3)


def test_a_search_may_miss_candidates_but_scores_those_that_it_finds(recommender, split):
    missed = 0
    for seed in range(4):
        users, lists, histories = questions(split, random.Random(seed))
        exact = asked(recommender, split, users, lists, histories)
        few = asked(recommender, split, users, lists, histories, scoring="beam", num_beams=2)
        for right, found in zip(exact, few, strict=True):
            scores = {entry.item_id: entry.score for entry in right}
            assert len(found) == min(2, len(right))
            assert [entry.score for entry in found] == pytest.approx(
                [scores[entry.item_id] for entry in found], abs=SCORES_CLOSE
            )
            assert all((entry.probability is None) == (len(right) > 2) for entry in found)
            missed += [entry.item_id for entry in found] != [entry.item_id for entry in right[:2]]
    assert missed, "no search error in all these questions: the comparison says nothing"


def test_beams_are_those_of_the_settings_unless_more_are_asked_for(split, tmp_path):
    recommender = make_recommender(split, "t5", 0, tmp_path)
    users, lists, histories = questions(split, random.Random(0))
    assert recommender.settings.item_beams == 20
    found = asked(recommender, split, users, lists, histories, scoring="beam")
    assert [len(items) for items in found] == [min(20, len(items)) for items in lists]
    found = asked(recommender, split, users, lists, histories, scoring="beam", k=23)
    assert [len(items) for items in found] == [min(23, len(items)) for items in lists]
    assert asked(recommender, split, users, lists, histories, scoring="beam", k=3) == [
        items[:3] for items in asked(recommender, split, users, lists, histories, scoring="beam")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_normalised_over_children_scores_are_the_probabilities(split, tmp_path, kind):
    recommender = make_recommender(split, kind, 1, tmp_path, normaliser="children")
    users, lists, histories = questions(split, random.Random(2))
    exact = asked(recommender, split, users, lists, histories)
    for found in exact:
        assert [entry.probability for entry in found] == pytest.approx(
            np.exp([entry.score for entry in found]), abs=1e-4
        )
    for right, found in zip(
        exact, asked(recommender, split, users, lists, histories, scoring="beam", num_beams=25), strict=True
    ):
        assert [entry.item_id for entry in found] == [entry.item_id for entry in right]
        assert [entry.score for entry in found] == pytest.approx([entry.score for entry in right], abs=SCORES_CLOSE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scoring": "best"}, r"scoring must be one of \['exact', 'beam'\], got 'best'"),
        ({"num_beams": 4}, 'num_beams=4 is for scoring="beam"'),
        ({"scoring": "beam", "num_beams": 0}, "num_beams must be a positive whole number, got 0"),
        ({"scoring": "beam", "num_beams": 2, "k": 3}, "num_beams=2 beams find 2 candidates at most, but k=3"),
        ({"scoring": "beam", "k": 0}, "k must be a positive whole number, got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(recommender, split, arguments, message):
    with pytest.raises(ValueError, match=message):
        recommender.rank(split.train.user_ids[0], split.train.item_ids[:5], **arguments)
