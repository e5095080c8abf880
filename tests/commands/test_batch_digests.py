from __future__ import annotations

import json

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import T5Config

from peft_pod.commands.batch_digests import digests_of_model

from .runs import call, save_t5, small, train


def test_a_base_elsewhere_is_part_of_what_an_output_is_made_from(tmp_path):
    base, output, users = save_t5(tmp_path / "t5"), tmp_path / "recs.parquet", tmp_path / "users.csv"
    done = train(small(base_model=base, tasks=["sequential"], max_steps=1), tmp_path / "run", "--no_train_base")
    assert done.status == 0, done.err
    users.write_text("user\nreader-1\nreader-2\n", encoding="utf-8")
    ask = ["recommend", "--run", tmp_path / "run", "--input", users, "--output", output, "--k", 3]
    assert call(*ask).status == 0
    first = output.read_bytes()
    # What does not change what it computes.
    (base / "README.md").write_text("Mine.", encoding="utf-8")
    (base / "tokenizer.json").touch()
    assert "is there already, made from the same" in call(*ask).err
    weights = load_file(base / "model.safetensors")
    save_file({name: tensor.flip(0) for name, tensor in weights.items()}, base / "model.safetensors", {"format": "pt"})
    done = call(*ask)
    assert done.status == 2
    assert "recs.parquet is there already: name another file" in done.err
    assert call(*ask, "--overwrite").status == 0
    assert output.read_bytes() != first
    assert {name for name in digests_of_model(tmp_path / "run" / "model") if name.startswith("base/")} == {
        "base/config.json",
        "base/generation_config.json",
        "base/model.safetensors",
    }


def test_of_a_base_from_the_hub_the_revision_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model, repository = tmp_path / "model", tmp_path / "cache" / "models--somebody--t5"
    model.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "somebody/t5"}
    (model / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        FileNotFoundError, match="the base model 'somebody/t5', which .*model was trained on, cannot be"
    ):
        digests_of_model(model)
    (repository / "refs").mkdir(parents=True)
    for commit in ("1" * 40, "2" * 40):
        T5Config(d_model=8).save_pretrained(repository / "snapshots" / commit)
        (repository / "refs" / "main").write_text(commit, encoding="utf-8")
        assert digests_of_model(model)["base"] == f"somebody/t5, revision {commit}"


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no adapter_config\.json: it is not a folder that Recommender"):
        digests_of_model(tmp_path)
