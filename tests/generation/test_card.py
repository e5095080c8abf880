"""What the card of a saved recommender says."""

from __future__ import annotations

import pytest
import yaml

from peft_pod.generation import Recommender
from peft_pod.generation.card import describe_recommender
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_tokenizer

from ..corpora import hand_made_corpus


def processor_with(indexing_name, tasks=("sequential",), **options):
    split = hand_made_corpus().split()
    indexing = load_indexing(indexing_name, **options)
    if indexing.leaks:
        with pytest.warns(UserWarning, match="held-out items included"):
            indexing.fit_split(split)
    else:
        indexing.fit_split(split)
    loaded = [load_task(name) for name in tasks]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, loaded, vocabulary_size=400)
    return PODProcessor(tokenizer, indexing, loaded)


def card_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_card_says_how_to_recommend_and_keeps_what_peft_wrote(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n# Mine\n\n### Framework versions\n- PEFT\n")
    describe_recommender(tmp_path, processor_with("random", ("sequential", "topn")), 1234, 56, ["Audit: no leak."])
    card = card_of(tmp_path)
    assert yaml.safe_load(card.split("---")[1]) == {"library_name": "peft"}
    assert "### Framework versions\n- PEFT" in card
    assert 'recommender.recommend("user id", k=10)\nrecommender.rank("user id"' in card
    assert "explain" not in card
    assert "`sequential`, `topn` on 56 items and 1,234 users; item IDs: `random`" in card
    assert "Audit: no leak." in card
    assert "leak" not in card.replace("Audit: no leak.", "")


def test_writing_it_again_replaces_the_section_alone(tmp_path):
    processor = processor_with("random")
    describe_recommender(tmp_path, processor, 3, 4, ["An old note."])
    with (tmp_path / "README.md").open("a") as file:
        file.write("\nWritten by hand.\n")
    describe_recommender(tmp_path, processor, 5, 6, ["A new note."])
    card = card_of(tmp_path)
    assert "An old note." not in card
    assert card.count("## Recommending with this model") == card.count("A new note.") == 1
    assert card.rstrip().endswith("Written by hand.")


def test_without_names_of_users_the_history_is_given(tmp_path):
    describe_recommender(tmp_path, processor_with("atomic", users="none"), 3, 4)
    assert 'recommender.recommend("any name", history=["item id", "item id"], k=10)\n```' in card_of(tmp_path)


def test_a_leaking_scheme_is_said_to_leak_even_after_loading_and_saving_elsewhere(tmp_path):
    from .test_recommender import make_recommender

    split = hand_made_corpus().split()
    recommender = make_recommender(split)
    recommender.processor = processor_with("paper", ("sequential", "topn", "explanation"))
    recommender.save_pretrained(tmp_path / "first")
    assert "**The item IDs of this model leak.** Indexing 'paper'" in card_of(tmp_path / "first")
    (tmp_path / "first" / "README.md").unlink()
    processor = PODProcessor.from_pretrained(tmp_path / "first", recommender.processor.tokenizer)
    assert processor.indexing.leaks
    again = Recommender(recommender.model, processor, recommender.catalogue, recommender.settings)
    again.save_pretrained(tmp_path / "second")
    assert "**The item IDs of this model leak.**" in card_of(tmp_path / "second")
    assert "import peft_pod" in card_of(tmp_path / "second")
