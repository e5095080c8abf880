"""A saved folder, and what is missing from one."""

from __future__ import annotations

import shutil

import pytest

from peft_pod.generation import Recommender

from ..corpora import hand_made_corpus
from .test_recommender import MODES, make_recommender


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


@pytest.mark.parametrize("mode", list(MODES))
def test_saved_folder_is_all_that_is_needed(split, tmp_path, mode):
    recommender = make_recommender(split, mode)
    folder = tmp_path / "model"
    recommender.save_pretrained(folder)
    loaded = Recommender.from_pretrained(folder)
    for user in split.train.user_ids:
        expected, found = recommender.recommend(user, k=3), loaded.recommend(user, k=3)
        assert [(entry.item_id, entry.title) for entry in found] == [(entry.item_id, entry.title) for entry in expected]
        assert [entry.score for entry in found] == pytest.approx([entry.score for entry in expected], abs=1e-5)
    assert loaded.explain("ann", "a") == recommender.explain("ann", "a")
    assert loaded.settings == recommender.settings
    weights = (folder / "base" / "model.safetensors").is_file()
    whole = MODES[mode].get("train_base", False)
    assert weights != whole  # where the adapter holds the base's weights, they are not saved twice
    base = loaded.model.get_base_model()
    assert base.lm_head.weight is base.shared.weight


def test_base_from_a_folder_is_named_and_not_copied(split, tmp_path):
    recommender = make_recommender(split)
    recommender.model.unload().save_pretrained(tmp_path / "t5")
    recommender.processor.tokenizer.save_pretrained(tmp_path / "t5")
    named = make_recommender(split, "frozen", base=str(tmp_path / "t5"))
    named.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "base").exists()
    loaded = Recommender.from_pretrained(tmp_path / "model")
    assert [entry.item_id for entry in loaded.recommend("bob", k=2)] == [
        entry.item_id for entry in named.recommend("bob", k=2)
    ]


def test_folder_without_histories(split, tmp_path):
    make_recommender(split).save_pretrained(tmp_path, histories=False)
    loaded = Recommender.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="histories were not saved with this model: pass history="):
        loaded.recommend("ann")
    assert loaded.recommend("ann", ["a"], k=1)[0].item_id in set("bcdef")


@pytest.mark.parametrize(
    "missing",
    [
        "adapter_config.json",
        "adapter_model.safetensors",
        "items.parquet",
        "users.parquet",
        "pod_processor.json",
        "pod_generation.json",
        "base/config.json",
    ],
)
def test_a_missing_file_is_named(split, tmp_path, missing):
    make_recommender(split).save_pretrained(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        Recommender.from_pretrained(tmp_path)


def test_neither_folder_nor_repository(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder nor a model repository"):
        Recommender.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("mode", list(MODES))
def test_what_was_loaded_can_be_saved_again_and_stands_alone(split, tmp_path, mode):
    recommender = make_recommender(split, mode)
    recommender.save_pretrained(tmp_path / "first")
    Recommender.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    again = Recommender.from_pretrained(tmp_path / "second")
    assert again.recommend("ann", ["a", "b"], k=3) == recommender.recommend("ann", ["a", "b"], k=3)
