from __future__ import annotations

import json

import pytest

from .runs import call, flags, read, small, train

OPTIONS = small(batch_tasks="mixed", tasks=["sequential", "topn"], evaluation_limit=2)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run with mixed batches."""
    folder = tmp_path_factory.mktemp("mixed") / "run"
    done = train(OPTIONS, folder)
    assert done.status == 0, done.err
    return folder


def test_a_run_says_that_its_batches_are_mixed(mixed):
    assert "batch_tasks: mixed" in (mixed / "config.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in read(mixed / "log.json") if "loss" in entry]
    assert len(entries) == 6
    # A step is logged with the losses of both tasks, between which its own lies.
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["loss_sequential"], abs=1)
        low, high = sorted((entry["loss_sequential"], entry["loss_topn"]))
        assert low - 1e-4 <= entry["loss"] <= high + 1e-4


def test_a_plan_of_mixed_batches(tmp_path):
    arguments = ("train", *flags(OPTIONS), "--output_dir", tmp_path / "run", "--dry-run")
    done = call(*arguments)
    assert done.status == 0, done.err
    assert "batch_tasks: mixed" in done.out
    assert "6 steps of 8 samples, tasks mixed; " in done.out
    assert "tokens are those of a task's samples in a batch on average" in done.out
    plan = json.loads(call(*arguments, "--json").out)
    assert plan["length"]["batch_tasks"] == "mixed"
    tasks = plan["tasks"].values()
    assert {task["batches_per_epoch"] for task in tasks} == {plan["length"]["batches_per_epoch"]}
    # All take the time of the batches that they share.
    seconds = [task["seconds_per_batch"] for task in tasks]
    assert seconds == [pytest.approx(plan["seconds"]["step"])] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_with_the_batches_that_it_was_begun_with(mixed):
    options = {**OPTIONS, "batch_tasks": "alternated", "resume_from_checkpoint": "true"}
    done = train(options, mixed)
    assert done.status == 2
    assert "--batch_tasks is 'alternated', but the run in" in done.err
    assert "was begun with 'mixed': resume with the same" in done.err


def test_a_run_that_was_begun_before_there_were_mixed_batches_goes_on(mixed, run):
    from peft_pod.commands.run_folder import RunFolder

    folder = RunFolder(run[0])
    values = json.loads(folder.arguments.read_text(encoding="utf-8"))
    begun = {**values, "training": {**values["training"]}}
    del begun["training"]["batch_tasks"]

    class Old(RunFolder):
        def _read_arguments(self):
            return begun

    Old(run[0]).check_same(values)
    values["training"]["batch_tasks"] = "mixed"
    with pytest.raises(ValueError, match="--batch_tasks is 'mixed', but the run in .* was begun with 'alternated'"):
        Old(run[0]).check_same(values)


def test_there_is_no_other_kind(tmp_path):
    done = train(small(batch_tasks="both"), tmp_path / "run")
    assert done.status == 2
    assert "invalid choice: 'both'" in done.err
