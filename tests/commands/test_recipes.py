from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import asdict

import pytest
import yaml

from peft_pod.commands.arguments import CorpusArguments, ModelArguments, parse_arguments
from peft_pod.commands.recipes import RecipeArguments, available_recipes, read_recipe
from peft_pod.training import PODTrainingArguments

from ..training.launching import ROOT
from .runs import call

KINDS = (CorpusArguments, ModelArguments, PODTrainingArguments, RecipeArguments)
# What docs/results.md was made with, written out.
SHARED = {
    "recipe": "none",
    "base_model": "scratch:lean",
    "indexing": "random",
    "indexing_options": ["users=none"],
    "segments": "prefixes",
    "history_dropout": 0.3,
    "candidates_in": "trie",
    "topn_history_length": 20,
    "bare_probability": 1.0,
    "num_virtual_tokens": 2,
    "dropout": 0.2,
    "per_device_train_batch_size": 256,
    "per_device_eval_batch_size": 256,
    "length_bucketing": True,
    "learning_rate": 1e-3,
    "embedding_lr_ratio": 2.0,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "num_train_epochs": 5,
    "early_stopping_patience": None,
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 0.1,
    "save_steps": 0.1,
    "metric_for_best_model": "auto",
    "validation_limit": 4000,
}
EXAMPLES = {
    "demo": {
        "corpus": "embedded", "base_model": "scratch:tiny", "indexing_options": ["users=index"],
        "bare_probability": 0.5, "num_virtual_tokens": 5, "dropout": 0.0, "history_dropout": 0.0,
        "per_device_train_batch_size": 64, "per_device_eval_batch_size": 64,
        "length_bucketing": False, "embedding_lr_ratio": 1.0, "max_steps": 1800, "eval_steps": 600, "save_steps": 600,
        "warmup_steps": 50,
    },
    "movielens_100k": {"corpus": "movielens-100k"},
    "amazon_beauty": {"corpus": "amazon-2014/beauty", "item_beams": 10},
}  # fmt: skip


def parsed(*arguments: object) -> dict[str, object]:
    """What train is given, by name, the recipe itself left out."""
    corpus, model, training, _ = parse_arguments(KINDS, [str(argument) for argument in arguments], "train")
    return {**asdict(corpus), **asdict(model), **training.to_dict()}


def written(folder, values):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_do_what_results_were_made_with(tmp_path, name):
    expected = parsed("--config", written(tmp_path, {**SHARED, **EXAMPLES[name]}))
    assert parsed("--config", ROOT / "examples" / f"{name}.yaml") == expected


def test_flags_override_the_file_and_the_file_the_recipe(tmp_path):
    config = written(tmp_path, {"segments": "random", "dropout": 0.2, "bare_probability": None})
    found = parsed("--recipe", "best", "--config", config, "--dropout", 0.3, "--num-virtual-tokens", 7)
    assert (found["segments"], found["bare_probability"]) == ("random", None)
    assert (found["dropout"], found["num_virtual_tokens"]) == (0.3, 7)
    assert (found["indexing"], found["learning_rate"]) == ("random", 1e-3)


def test_a_value_overrides_what_a_recipe_leaves_open(tmp_path):
    assert parsed("--recipe", "paper")["bare_probability"] is None
    assert parsed("--recipe", "paper", "--bare-probability", 0.25)["bare_probability"] == 0.25
    config = written(tmp_path, {"bare_probability": 0.25, "recipe": "paper"})
    assert parsed("--config", config)["bare_probability"] == 0.25


def test_the_recipe_of_a_file_and_that_of_a_flag(tmp_path):
    config = written(tmp_path, {"recipe": "best"})
    assert parsed("--config", config) == parsed("--recipe", "best")
    assert parsed("--config", config, "--recipe", "paper") == parsed("--recipe=paper")
    assert parsed("--recipe", "paper") != parsed("--recipe", "best")


@pytest.mark.parametrize("name", available_recipes())
def test_every_value_of_a_recipe_reaches_its_argument(name):
    found = parsed("--recipe", name)
    assert {key: found[key] for key in read_recipe(name)} == read_recipe(name)


def test_best_is_where_arguments_start_from_unless_another_run_decides(tmp_path):
    assert parsed() == parsed("--recipe", "best") != parsed("--recipe", "none")
    config = written(tmp_path, {"dropout": 0.3})
    assert parsed("--config", config) == parsed("--recipe", "best", "--dropout", 0.3)
    assert parsed("--recipe", "none") == {**parsed("--add_tasks_to", "x"), "add_tasks_to": None}
    config = written(tmp_path, {"add_tasks_to": "x"})
    assert parsed("--config", config) == parsed("--add-tasks-to=x") == parsed("--recipe=none", "--add_tasks_to", "x")


def test_the_paper_recipe():
    """Values of the paper's section 4.1, and how it trains (section 3.3)."""
    found = parsed("--recipe", "paper")
    expected = {
        "base_model": "google-t5/t5-small", "num_virtual_tokens": 10, "per_device_train_batch_size": 64,
        "learning_rate": 5e-4, "train_base": True, "lora_r": 0, "early_stopping_patience": 5, "item_beams": 20,
        "text_beams": 7, "num_negatives": 99, "segments": "random", "prompt_init": "uniform",
        "metric_for_best_model": "eval_loss", "indexing": "sequential", "max_steps": -1, "item_start": "random",
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("how", ["flag", "file"])
def test_an_unknown_recipe_is_refused_and_those_there_are_listed(tmp_path, how):
    chosen = ["--recipe", "fast"] if how == "flag" else ["--config", written(tmp_path, {"recipe": "fast"})]
    done = call("train", *chosen, "--output-dir", tmp_path / "run")
    assert (done.status, done.err) == (
        2,
        "peft-pod train: --recipe fast does not exist; recipes are best, paper, or none for none\n",
    )
    assert not (tmp_path / "run").exists()


def test_help_lists_the_recipes():
    done = call("train", "--help")
    assert "flags override: best, paper" in " ".join(done.out.split())


def test_other_verbs_have_no_recipes(tmp_path):
    done = call("audit", "--recipe", "best")
    assert (done.status, "unknown argument '--recipe'" in done.err) == (2, True)


def test_a_wheel_holds_the_recipes(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path]
    source = tmp_path / "source"
    # Beside the sources a build would leave folders of its own.
    subprocess.run([sys.executable, "-c", _COPY, ROOT, source], check=True)
    done = subprocess.run([*command, source], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"peft_pod/commands/recipes/{name}.yaml" for name in available_recipes()} < set(names)


_COPY = """
import shutil, sys
from pathlib import Path
root, target = map(Path, sys.argv[1:])
shutil.copytree(root / "peft_pod", target / "peft_pod", ignore=shutil.ignore_patterns("__pycache__"))
for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(root / name, target / name)
"""
