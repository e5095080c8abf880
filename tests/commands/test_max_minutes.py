"""Runs of the console script that end in time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import yaml

from peft_pod.training.time_limit import Costs
from peft_pod.training.time_limited import TimeLimited

from .runs import call, contents, read, small, train

OPTIONS = small(max_steps=10, tasks=["sequential"], learning_rate=0.005, warmup_steps=4, max_minutes=1)
FRACTIONS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 0.3, "save_steps": 0.3}
COSTS = Costs(step=8.0, validation=2.0, checkpoint=1.0)
"""Of 60 seconds 58.2 are kept: six steps, of which 2, 4 and 6 are validated and saved, take 6 * 8 + 3 * 3."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A run that was told that its steps take longer than they do, so that fewer fit, but none is taken back."""
    folder = tmp_path_factory.mktemp("limited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimeLimited, "_agreed_costs", lambda self: COSTS)
        plan = train({**OPTIONS, **FRACTIONS}, folder / "run", "--dry-run", "--json")
        text = train({**OPTIONS, **FRACTIONS}, folder / "run", "--dry-run")
        done = train({**OPTIONS, **FRACTIONS}, folder / "run")
    assert (plan.status, text.status, done.status) == (0, 0, 0), done.err
    return folder / "run", json.loads(plan.out), text.out


def test_the_record_says_what_was_asked_for_and_what_was_done(limited):
    folder, plan, text = limited
    metrics, arguments = read(folder / "metrics.json"), read(folder / "arguments.json")
    assert metrics["training/steps"] == metrics["training/planned_steps"] == 6
    assert metrics["training/max_minutes"] == 1
    assert (arguments["training"]["max_steps"], arguments["training"]["max_minutes"]) == (10, 1)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["max_steps"] == 6
    assert "max_minutes" not in config
    assert [entry["step"] for entry in read(folder / "log.json") if "eval_loss" in entry] == [2, 4, 6]
    length = plan["length"]
    assert (length["steps"], length["asked_steps"], length["max_minutes"], length["validations"]) == (6, 10, 1, 3)
    assert "6 steps of 8 samples, one task each, of 10 that are asked for, fitted to 1 minutes; " in text


def test_the_config_makes_the_run_again_without_a_clock(limited, tmp_path):
    folder, _, _ = limited
    done = call("train", "--config", folder / "config.yaml", "--output_dir", tmp_path / "again")
    assert done.status == 0, done.err
    assert contents(tmp_path / "again" / "model") == contents(folder / "model")
    assert (tmp_path / "again" / "config.yaml").read_text() == (folder / "config.yaml").read_text()
    assert read(tmp_path / "again" / "metrics.json")["training/planned_steps"] is None


def test_the_steps_of_a_run_without_a_limit_are_the_same_with_one_that_is_far(tmp_path):
    options = {**OPTIONS, "max_minutes": 600}
    assert train(options, tmp_path / "far").status == 0
    assert train(small(**{**options, "max_minutes": None}), tmp_path / "none").status == 0
    name = "model/adapter_model.safetensors"
    assert contents(tmp_path / "far")[name] == contents(tmp_path / "none")[name]
    assert read(tmp_path / "far" / "metrics.json")["training/planned_steps"] == 10


def test_going_on_needs_the_same_limit_and_times_nothing(limited, tmp_path, monkeypatch):
    folder = shutil.copytree(limited[0], tmp_path / "run")
    before = contents(folder)

    def timed(self):
        raise AssertionError("timed anew")

    monkeypatch.setattr(TimeLimited, "_agreed_costs", timed)
    for minutes in (None, 2):
        options = small(**{**OPTIONS, **FRACTIONS, "max_minutes": minutes})
        done = train(options, folder, "--resume_from_checkpoint", "true")
        assert done.status == 2
        assert f"--max_minutes is {minutes if minutes is None else float(minutes)!r}, but the run in" in done.err
        assert "was begun with 1.0: resume with the same" in done.err
    done = train({**OPTIONS, **FRACTIONS}, folder, "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    after = contents(folder)
    for name in ("config.yaml", "model/adapter_model.safetensors", "report.json"):
        assert after[name] == before[name]
    assert read(folder / "metrics.json")["training/planned_steps"] == 6
    planned = train({**OPTIONS, **FRACTIONS}, folder, "--resume_from_checkpoint", "true", "--dry-run", "--json")
    assert (json.loads(planned.out)["length"]["steps"], json.loads(planned.out)["length"]["steps_done"]) == (6, 6)


def test_a_run_without_checkpoints_knows_how_it_ended(tmp_path, monkeypatch):
    """As where the evaluation was interrupted; the plan of a run that has ended takes its length over, too."""
    options = {**OPTIONS, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    monkeypatch.setattr(TimeLimited, "_agreed_costs", lambda self: Costs(step=10.0))
    assert train(options, tmp_path / "run").status == 0
    before = contents(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(TimeLimited, "_agreed_costs", lambda self: pytest.fail("timed again"))
    plan = train(options, tmp_path / "run", "--resume_from_checkpoint", "true", "--dry-run", "--json")
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert (plan.status, done.status) == (0, 0), done.err
    length = json.loads(plan.out)["length"]
    assert (length["steps"], length["steps_done"], length["asked_steps"]) == (5, 5, 10)
    after = contents(tmp_path / "run")
    assert after["config.yaml"] == before["config.yaml"]
    metrics = [json.loads(files["metrics.json"]) for files in (before, after)]
    assert metrics[1]["training/planned_steps"] == metrics[1]["training/steps"] == 5
    # What it saw and how long that took is of the process that trained it.
    gone = {name for name, value in metrics[1].items() if value != metrics[0][name]}
    assert gone == {f"training/{name}" for name in ("seconds", "samples", "samples_per_second", "tokens_per_second")}

    (tmp_path / "run" / "trainer_state.json").unlink()
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert done.status == 2
    assert "trainer_state.json is missing, which says how long the run was trained: put it back" in done.err


def test_what_a_kill_leaves_while_a_checkpoint_is_timed_is_in_no_ones_way(tmp_path):
    left = tmp_path / "run" / "checkpoints" / ".unfinished" / "tmpabc" / ".unfinished" / "saving" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half", encoding="utf-8")
    done = train(small(max_steps=1, tasks=["sequential"], evaluation_part="none"), tmp_path / "run")
    assert done.status == 0, done.err
    assert not list(tmp_path.rglob(".unfinished"))


def test_too_little_time_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(TimeLimited, "_agreed_costs", lambda self: replace(COSTS, step=90.0))
    done = train(OPTIONS, tmp_path / "run")
    assert done.status == 2
    assert "max_minutes is 1, and a single step with its validation and checkpoint takes about 1.6 minutes" in done.err
    # As after what else is refused: empty folders.
    assert contents(tmp_path) == {}
    done = train({**OPTIONS, "max_minutes": 0}, tmp_path / "run")
    assert (done.status, "max_minutes must be above 0" in done.err) == (2, True)
