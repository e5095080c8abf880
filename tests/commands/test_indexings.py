"""Every scheme through `peft-pod train`, saved, loaded and asked."""

from __future__ import annotations

import pytest

from peft_pod.generation import Recommender
from peft_pod.indexing import available_indexings, load_indexing

from .runs import read, save_t5, small, train

OPTIONS = {
    "atomic": ["users=none"],
    "collaborative": ["branching=4", "form=tokens"],
    "hybrid": ["clusters=6", "users=tokens"],
    "random": ["pad=false"],
    "semantic": ["branching=4", "levels=2"],
    "sequential": ["users=none"],
    "title": ["max_words=4"],
}
SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_is_trained_saved_and_loaded(scheme, tmp_path):
    options = small(indexing=scheme, indexing_options=OPTIONS[scheme], tasks=["sequential"], max_steps=20)
    done = train(options, tmp_path / "run")
    assert done.status == 0, done.err
    arguments = read(tmp_path / "run" / "arguments.json")
    assert arguments["corpus"]["indexing_options"] == OPTIONS[scheme]
    recommender = Recommender.from_pretrained(tmp_path / "run" / "model")
    indexing = recommender.processor.indexing
    assert indexing.name == scheme
    assert len(recommender.recommend(user="reader-1", k=3)) == 3
    if "users=none" in OPTIONS[scheme]:
        assert indexing.user_words == ()
        assert len(recommender.recommend(user="stranger", history=recommender.catalogue.item_ids[:2], k=3)) == 3


@pytest.mark.parametrize("way", [["--train_base", "true"], ["--train_base", "false", "--lora_r", "2"]])
def test_a_base_from_elsewhere_is_given_the_tokens(way, tmp_path):
    base = save_t5(tmp_path / "base")
    options = small(base_model=base, indexing="collaborative", indexing_options=["branching=4", "users=tokens"])
    done = train(options, tmp_path / "run", *way)
    assert done.status == 0, done.err
    assert read(tmp_path / "run" / "arguments.json")["model"]["item_start"] is None
    recommender = Recommender.from_pretrained(tmp_path / "run" / "model")
    lengths = {len(tokens) for tokens in recommender.processor.item_tokens()}
    assert lengths == {len(recommender.processor.indexing.item_words[0].split("><"))}
    assert len(recommender.recommend(user="reader-1", k=3)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indexing": "atomic", "indexing_options": ["form=text"]}, "'atomic' does not take the options ['form']"),
        ({"indexing": "hybrid", "indexing_options": ["users"]}, "--indexing_options takes name=value, got 'users'"),
        ({"indexing_options": ["users=none"]}, "the task 'topn' knows nothing of users but their names"),
        ({"indexing": "semantic", "indexing_options": ["vectors=no.npz"]}, "vectors='no.npz': there is no such file"),
        (
            {"indexing": "title", "id_tokens": "pieces", "item_start": "collaborative"},
            "vectors can only start IDs of one token each or of new tokens",
        ),
    ],
)
def test_options_that_cannot_be_used_are_named(options, message, tmp_path):
    done = train(small(**options), tmp_path / "run")
    assert done.status != 0
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_candidates_in_the_trie_and_the_history_in_the_input_serve_users_without_names(tmp_path):
    options = small(
        indexing="random", indexing_options=["users=none"], tasks=["topn"], candidates_in="trie", topn_history_length=4
    )
    done = train(options, tmp_path / "run")
    assert done.status == 0, done.err
    assert "candidates in trie, history length 4" in done.out
    report = read(tmp_path / "run" / "report.json")
    assert report["tasks"]["topn"]["protocol"]["candidates_in"] == "trie"
    assert "candidates_in" not in report["baselines"]["topn"]["popularity"]["protocol"]
    recommender = Recommender.from_pretrained(tmp_path / "run" / "model")
    ids = recommender.catalogue.item_ids
    found = recommender.rank("stranger", ids[:5], ids[7:9])
    assert {entry.item_id for entry in found} == set(ids[:5])
