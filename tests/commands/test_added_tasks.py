"""A run that gives the model of another run more tasks, by prompts alone."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from peft_pod.generation import Recommender
from peft_pod.training import PODTrainer

from .runs import call, contents, flags, read, small, train
from .test_bad_input import corpus_files, refused

MODES = {
    "full": {"learning_rate": 0.005},
    "lora": {"learning_rate": 0.005, "train_base": False, "lora_r": 2},
}
SAID_ANEW = {"max_steps": 5, "per_device_train_batch_size": 8, "logging_steps": 1, "learning_rate": 0.05,
             "evaluation_limit": 7, "disable_tqdm": True}  # fmt: skip


def make_first(folder, mode):
    options = small(tasks=["sequential", "explanation"], history_length=9, seed=5, **MODES[mode])
    done = train(options, folder)
    assert done.status == 0, done.err
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make_first(tmp_path_factory.mktemp("first") / "run", "full")


def add(first, folder, *more, tasks=("topn",), **options):
    said = flags({**SAID_ANEW, **options})
    return call("train", "--add_tasks_to", first, "--tasks", *tasks, *said, "--output_dir", folder, *more)


class StopsAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def weights(folder):
    return load_file(folder / "model" / "adapter_model.safetensors")


@pytest.mark.parametrize("mode", list(MODES))
def test_the_other_tasks_answer_as_before_to_the_bit(first, tmp_path, mode):
    first = first if mode == "full" else make_first(tmp_path / "first", mode)
    before = contents(first)
    done = add(first, tmp_path / "second", new_task_start="sequential", num_negatives=20)
    assert done.status == 0, done.err
    assert contents(first) == before

    old, new = (Recommender.from_pretrained(folder / "model") for folder in (first, tmp_path / "second"))
    users = list(old.catalogue.user_ids)
    items = list(old.catalogue.item_ids)
    assert new.recommend(users, k=8) == old.recommend(users, k=8)
    assert new.explain(users[:9], items[:9]) == old.explain(users[:9], items[:9])
    candidates = [items[:6]] * len(users)
    histories = [items[7:9]] * len(users)
    assert new.rank(users, candidates, histories) == old.rank(users, candidates, histories)
    assert len(new.rank(users[0], items[:6])) == 6  # the new task
    assert new.processor.task("sequential").history_length == 9

    kept, grown = weights(first), weights(tmp_path / "second")
    (added,) = grown.keys() - kept.keys()
    assert added.endswith("task_topn")
    assert all(torch.equal(value, grown[name]) for name, value in kept.items())
    assert not torch.equal(grown[added], kept[added.replace("topn", "sequential")])


def test_the_run_is_a_whole_one(first, tmp_path):
    """Made with the corpus, split, seed of candidates and model of the first; all tasks are evaluated."""
    folder = tmp_path / "second"
    done = add(first, folder, seed=5, corpus_options=["num_users=40", "num_items=60"], text_beams=3)
    assert done.status == 0, done.err
    assert {path.name for path in folder.iterdir()} == {path.name for path in first.iterdir()}
    old, new = read(first / "report.json"), read(folder / "report.json")
    assert list(new["tasks"]) == ["sequential", "explanation", "topn"]
    assert new["tasks"]["sequential"] == old["tasks"]["sequential"]
    assert new["tasks"]["explanation"]["protocol"]["beams"] == 3
    assert new["corpus"] == old["corpus"]
    arguments, before = read(folder / "arguments.json"), read(first / "arguments.json")
    changed = {"tasks": ["sequential", "explanation", "topn"]}
    assert arguments["corpus"] == {**before["corpus"], **changed}
    changed = {"add_tasks_to": str(first), "text_beams": 3}
    assert arguments["model"] == {**before["model"], **changed}
    losses = [entry for entry in read(folder / "log.json") if "loss" in entry]
    assert all({name for name in entry if name.startswith("loss_")} == {"loss_topn"} for entry in losses)
    assert call("evaluate", "--run", folder, "--limit", 3).status == 0


def test_its_configuration_makes_it_again_and_can_be_planned(first, tmp_path):
    # How training goes is its own, of the first run's corpus though it is.
    done = add(first, tmp_path / "second", new_task_start="sequential", validation_limit=5)
    assert done.status == 0, done.err
    again = ["--config", tmp_path / "second" / "config.yaml", "--output_dir", tmp_path / "again"]
    plan = call("train", *again, "--dry-run", "--json")
    assert plan.status == 0, plan.err
    assert json.loads(plan.out)["length"]["steps"] == SAID_ANEW["max_steps"]
    assert {task["validation_samples"] for task in json.loads(plan.out)["tasks"].values()} == {5}
    assert not (tmp_path / "again").exists()
    done = call("train", *again)
    assert done.status == 0, done.err
    expected, found = weights(tmp_path / "second"), weights(tmp_path / "again")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_resuming_goes_on_with_the_new_prompts(first, tmp_path, monkeypatch):
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2, "max_steps": 6}
    assert add(first, tmp_path / "unbroken", **options).status == 0

    class Interrupted(PODTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, callbacks=[StopsAt(5)], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("peft_pod.commands.train.PODTrainer", Interrupted)
        assert add(first, tmp_path / "broken", **options).status == 130
    done = add(first, tmp_path / "broken", "--resume_from_checkpoint", "true", **options)
    assert done.status == 0, done.err
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys()
    assert all((expected[name] - found[name]).abs().max() < 1e-5 for name in expected)
    assert read(tmp_path / "broken" / "report.json") == read(tmp_path / "unbroken" / "report.json")
    done = add(first, tmp_path / "broken", "--resume_from_checkpoint", "true", new_task_start="sequential", **options)
    refused(done, "--new_task_start is 'sequential', but the run in .*broken was begun with 'uniform'")


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["topn", "sequential"], {}, r"--tasks names \['sequential'\], which the run in .* has already; it has \['seq"),
        (["topn", "topn"], {}, r"--add_tasks_to needs --tasks: those to add, each once; got \['topn', 'topn'\]"),
        (["rating"], {}, "unknown task 'rating'; known are "),
        (
            ["topn"],
            {"new_task_start": "text"},
            r"--new_task_start must be one of \['uniform', 'vocabulary', 'sequ.*'te",
        ),
        (
            ["topn"],
            {"base_model": "scratch:medium"},
            "--base_model is 'scratch:medium', but the run in .*'scratch:tiny': le",
        ),
        (["topn"], {"corpus_options": ["num_users=41"]}, r"--corpus_options is \['num_users=41'\], but the run in "),
        (["topn"], {"history_length": 7}, "--history_length is 7, but the run in .* was made with 9: leave it out"),
        (["topn"], {"num_negatives": 700}, "may hold 702 IDs, and the model in .* has whole-word embeddings for 512"),
    ],
)
def test_what_cannot_be_added_is_refused_before_anything_is_written(first, tmp_path, tasks, options, message):
    refused(add(first, tmp_path / "second", tasks=tasks, **options), message)
    assert not (tmp_path / "second").exists()


def test_a_run_without_a_model_or_tasks_to_add(first, tmp_path):
    refused(add(tmp_path / "none", tmp_path / "second"), "--add_tasks_to .*none does not exist")
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(first / "arguments.json", broken)
    refused(add(broken, tmp_path / "second"), "--add_tasks_to .*broken has no model yet: its training did not end")
    done = call("train", "--add_tasks_to", first, "--output_dir", tmp_path / "second")
    refused(done, "--add_tasks_to needs --tasks: those to add, each once; got none")
    done = call("train", "--new_task_start", "vocabulary", "--output_dir", tmp_path / "second")
    refused(done, "--new_task_start vocabulary needs --add_tasks_to")
    refused(add(first, first, "--overwrite"), "--add_tasks_to .* lies in --output_dir .*, which a new run replaces")
    refused(add(first, first), "already holds a run")


def test_a_task_that_the_corpus_of_the_run_does_not_serve(tmp_path):
    options = small(
        corpus="pod", corpus_options=["name=toy"], data_dir=corpus_files(tmp_path / "data"), tasks=["sequential"],
        max_steps=1, eval_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    done = train(options, tmp_path / "first")
    assert done.status == 0, done.err
    done = add(tmp_path / "first", tmp_path / "second", tasks=["explanation"])
    refused(done, r"corpus 'toy' has no samples for the task 'explanation'; it supports \['sequential', 'topn'\]")
