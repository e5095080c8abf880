"""A run without prompts, which shows what they are worth, from training to recommending."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from peft_pod.generation import Recommender

from .runs import call, flags, read, small, train

OPTIONS = small(num_virtual_tokens=0, learning_rate=0.005, max_steps=20)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    folder = tmp_path_factory.mktemp("no-prompts") / "run"
    done = train(OPTIONS, folder, "--recipe", "best")
    assert done.status == 0, done.err
    return folder


def test_the_model_learned_and_has_no_prompts(without):
    names = load_file(without / "model" / "adapter_model.safetensors").keys()
    assert [name for name in names if ".prompts." in name] == ["base_model.prompts.pod_whole_words"]
    losses = [entry["loss"] for entry in read(without / "log.json") if "loss" in entry]
    assert len(losses) == 20
    assert sum(losses[-3:]) < sum(losses[:3]) - 1
    config = read(without / "model" / "adapter_config.json")
    assert (config["num_virtual_tokens"], config["tasks"]) == (0, ["sequential", "topn", "explanation"])
    assert list(read(without / "report.json")["tasks"]) == config["tasks"]


def test_the_saved_model_is_evaluated_to_the_same_numbers(without):
    done = call("evaluate", "--run", without, "--limit", 7, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["tasks"] == read(without / "report.json")["tasks"]


def test_what_is_recommended_is_what_generate_finds(without):
    loaded = Recommender.from_pretrained(without / "model")
    assert loaded.engine._search.inference is not None  # the fast method
    users = list(loaded.catalogue.user_ids)
    settings = replace(loaded.settings, method="generate")
    slow = Recommender(loaded.model, loaded.processor, loaded.catalogue, settings)
    done = call("recommend", "--run", without, "--num_users", len(users), "--k", 4, "--json")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 40
    for row, fast, expected in zip(rows, loaded.recommend(users, k=4), slow.recommend(users, k=4), strict=True):
        wanted = [item.item_id for item in expected]
        assert [item["item_id"] for item in row["items"]] == [item.item_id for item in fast] == wanted
        assert [item.score for item in fast] == pytest.approx([item.score for item in expected], abs=1e-4)
    items = list(loaded.catalogue.item_ids)
    assert loaded.explain(users[:5], items[:5]) == slow.explain(users[:5], items[:5])


def test_the_plan_counts_no_prompts(without, tmp_path):
    done = call("train", *flags(OPTIONS), "--recipe", "best", "--output_dir", tmp_path / "run", "--dry_run", "--json")
    assert done.status == 0, done.err
    parameters = json.loads(done.out)["model"]["parameters"]
    assert set(parameters) == {"all", "base", "whole words"}
    assert parameters["all"]["total"] == read(without / "metrics.json")["parameters/total"]


def test_there_is_nothing_to_draw_of_prompts(without, tmp_path):
    assert call("evaluate", "--run", without).status == 0
    for name in ("prompts.png", "attention.png"):
        (tmp_path / name).write_bytes(b"of another model")
    done = call("pictures", "--run", without, "--output", tmp_path)
    assert done.status == 0, done.err
    note = "There are no pictures of prompts and of attention to them: the model has no prompts"
    assert note in done.out
    assert "nearest" not in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hit_rates.png", "pictures.json"]
    numbers = read(tmp_path / "pictures.json")
    assert (numbers["prompts"], numbers["attention"]) == ({}, {})
    assert numbers["notes"][-1].startswith(note)
    assert list(numbers["hit_rates"]) == ["sequential", "topn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no_whole_word_embedding", "--no_train_base"], "nothing would be trained: num_virtual_tokens is 0, "),
        (["--prompt_init", "text"], "prompt_init is 'text', but num_virtual_tokens is 0"),
    ],
)
def test_what_cannot_be_trained_is_named(tmp_path, arguments, message):
    done = train(OPTIONS, tmp_path / "run", *arguments)
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_tasks_are_not_added_to_it(without, tmp_path):
    done = call("train", "--add_tasks_to", without, "--tasks", "topn", "--output_dir", tmp_path / "run")
    assert done.status == 2
    assert f"--add_tasks_to {without} was made with --num_virtual_tokens 0: a new task is learned by" in done.err
    assert not (tmp_path / "run").exists()
