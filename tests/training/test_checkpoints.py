from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from peft_pod.training import CheckpointWriteError, PODTrainer, last_checkpoint
from peft_pod.training import checkpoints as checkpoints_module
from peft_pod.training.checkpoints import UNFINISHED, checkpoints, put_right

from .killed_run import (
    differences,
    ended,
    in_child,
    kill_at_file_operation,
    make_trainer,
    run,
)
from .launching import ROOT, environment

KILLED = -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def usable(folder: Path) -> list[str]:
    """Names of the checkpoints; all files of each must be there."""
    found = checkpoints(folder)
    for path in found:
        assert {
            "adapter_model.safetensors", "optimizer.safetensors", "scheduler.safetensors",
            "random_state_0.safetensors", "trainer_state.json",
        } <= set(names(path))  # fmt: skip
    return [path.name for path in found]


def test_eight_kills_at_file_operations_change_nothing(parts, undisturbed, tmp_path):
    """Most of the operations are those of saves and of the removal of old checkpoints."""
    folder = tmp_path / "run"
    drawn = random.Random(0)
    kills = 0
    while kills < 8:
        number = drawn.randint(1, 130)
        before = last_checkpoint(folder)

        def killed(number=number):
            kill_at_file_operation(number, folder)
            run(parts, folder)

        status = in_child(killed)
        assert status in (KILLED, 0)
        found = usable(folder)
        assert before is None or (found and int(found[-1].split("-")[1]) >= int(before.name.split("-")[1]))
        if status == 0:  # the run came to its end before that many operations: begin another
            shutil.rmtree(folder)
        kills += status == KILLED
    assert in_child(lambda: run(parts, folder)) == 0
    expected, _ = undisturbed
    assert differences(ended(folder), expected) == []


@pytest.mark.slow
def test_a_kill_at_each_file_operation_of_a_run(parts, undisturbed, tmp_path):
    """`pytest -m slow tests/training/test_checkpoints.py`."""
    expected, _ = undisturbed
    operation = 0
    while True:
        operation += 1
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)

        def killed(number=operation, folder=folder):
            kill_at_file_operation(number, folder)
            run(parts, folder)  # whole, since the learning rates of a shorter run would be others

        status = in_child(killed)
        usable(folder) if folder.is_dir() else None
        if status == 0:
            break
        assert status == KILLED
        if operation % 7 == 0:  # going on takes longer than all that went before
            assert in_child(lambda folder=folder: run(parts, folder)) == 0
            assert [name for name in differences(ended(folder), expected) if name != "kept"] == [], operation
    assert operation > 100


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path):
    """Real processes, killed in loading, training, validation and saving; `pytest -m slow`, five minutes."""
    command = [sys.executable, "-m", "tests.training.killed_run"]
    steps, folder = "300", tmp_path / "killed"
    subprocess.run([*command, str(tmp_path / "undisturbed"), steps], check=True, cwd=ROOT, env=environment())
    expected = ended(tmp_path / "undisturbed")
    drawn = random.Random(1)
    before = 0
    found: list[int] = []
    while len(found) < 20:
        process = subprocess.Popen(
            [*command, str(folder), steps], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(drawn.uniform(0, 6))
        process.kill()
        process.communicate()
        last = last_checkpoint(folder)
        step = 0 if last is None else int(last.name.split("-")[1])
        if process.returncode == 0:  # it came to its end before: begin another
            assert differences(ended(folder), expected) == []
            shutil.rmtree(folder)
            before = 0
            continue
        assert process.returncode == KILLED
        assert step >= before
        before = step
        found.append(step)
    print("steps that were found saved after each kill:", found)
    subprocess.run([*command, str(folder), steps], check=True, cwd=ROOT, env=environment())
    assert differences(ended(folder), expected) == []


def test_what_a_checkpoint_is_made_of(undisturbed):
    """Nothing that is a pickle: neither one of its own nor one in an archive of PyTorch."""
    _, folder = undisturbed
    for checkpoint in checkpoints(folder):
        assert names(checkpoint) == [
            "README.md", "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors",
            "random_state_0.safetensors", "scheduler.safetensors", "tokenizer.json", "tokenizer_config.json",
            "trainer_state.json",
        ]  # fmt: skip
    assert names(folder) == ["checkpoint-14", "checkpoint-6"]


def test_a_killed_saves_leftovers_are_no_checkpoint_and_are_removed(parts, undisturbed, tmp_path):
    _, whole = undisturbed
    folder = tmp_path / "run"
    shutil.copytree(whole / "checkpoint-6", folder / "checkpoint-10")
    shutil.copytree(whole / "checkpoint-14", folder / UNFINISHED / "saving" / "checkpoint-12")
    shutil.copytree(whole / "checkpoint-14", folder / UNFINISHED / "removed" / "checkpoint-8")
    # As versions of transformers leave them that write in place.
    (folder / "checkpoint-13").mkdir()
    (folder / "checkpoint-99.txt").touch()
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-10"]
    assert last_checkpoint(folder) == folder / "checkpoint-10"
    assert names(folder) == ["checkpoint-10", "checkpoint-13", "checkpoint-99.txt"]


def test_a_checkpoint_that_was_about_to_be_replaced_comes_back(undisturbed, tmp_path):
    _, whole = undisturbed
    replaced = tmp_path / UNFINISHED / "replaced" / "checkpoint-10"
    shutil.copytree(whole / "checkpoint-6", replaced)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert names(tmp_path) == ["checkpoint-10"]
    # Where the new one is in its place, the old one goes.
    shutil.copytree(whole / "checkpoint-14", replaced)
    put_right(tmp_path)
    assert names(tmp_path) == ["checkpoint-10"]
    there, before = (folder / "trainer_state.json" for folder in (tmp_path / "checkpoint-10", whole / "checkpoint-6"))
    assert there.read_bytes() == before.read_bytes()


class _Looks(TrainerCallback):
    """Notes which checkpoints there are, and which of them is the best, after each save."""

    def __init__(self):
        self.seen = []

    def on_save(self, args, state, control, **kwargs):
        kept = [int(path.name.split("-")[1]) for path in checkpoints(args.output_dir)]
        self.seen.append((kept, Path(state.best_model_checkpoint).name if state.best_model_checkpoint else None))


def test_the_best_and_the_newest_are_kept_and_the_oldest_goes(parts, tmp_path, monkeypatch):
    scripted = {2: 5.0, 4: 3.0, 6: 4.0, 8: 4.0, 10: 2.0, 12: 4.0}

    class Scripted(PODTrainer):
        def evaluate(self, *args, **kwargs):
            return {"eval_loss": scripted[self.state.global_step]}

    trainer = make_trainer(parts, tmp_path, Scripted, max_steps=12)
    looks = _Looks()
    trainer.add_callback(looks)
    trainer.train()
    assert looks.seen == [
        ([2], "checkpoint-2"),
        ([2, 4], "checkpoint-4"),
        ([4, 6], "checkpoint-4"),
        ([4, 8], "checkpoint-4"),
        ([8, 10], "checkpoint-10"),
        ([10, 12], "checkpoint-10"),
    ]


def test_rotation_looks_at_steps_not_at_times(parts, tmp_path):
    """A copy of a run has new times; the Trainer would then remove the newest but one."""
    trainer = make_trainer(parts, tmp_path, save_total_limit=3, max_steps=6, eval_strategy="no",
                           load_best_model_at_end=False, early_stopping_patience=None)  # fmt: skip
    trainer.train()
    for seconds, step in ((100, 6), (200, 4), (300, 2)):
        os.utime(tmp_path / f"checkpoint-{step}", (seconds, seconds))
    (tmp_path / "checkpoint-5").mkdir()  # not counted, since it is none
    longer = make_trainer(parts, tmp_path, save_total_limit=3, max_steps=8, eval_strategy="no",
                          load_best_model_at_end=False, early_stopping_patience=None)  # fmt: skip
    longer.train(resume_from_checkpoint=True)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]


def test_a_limit_of_one_keeps_the_last_beside_the_best(parts, undisturbed, tmp_path):
    """Else a run whose training had ended would be trained again from the best on."""
    trainer = make_trainer(parts, tmp_path, save_total_limit=1)
    trainer.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-14"]
    again = make_trainer(parts, tmp_path, save_total_limit=1)
    again.train(resume_from_checkpoint=True)
    assert again.num_saved == 0
    first, second = trainer.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def fails_after(number: int):
    """An `open` for the scheduler's file that finds the disk full."""

    def save(path, state):
        if Path(path).name == "scheduler.safetensors" and f"checkpoint-{number}" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, state)

    original = checkpoints_module.save_state
    return save


def test_a_full_disk_leaves_the_checkpoint_before(parts, undisturbed, tmp_path, monkeypatch):
    trainer = make_trainer(parts, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, "save_state", fails_after(6))
        with pytest.raises(CheckpointWriteError) as caught:
            trainer.train()
    text = str(caught.value)
    assert f"the checkpoint of step 6 could not be written to {tmp_path} ([Errno 28] No space left" in text
    assert "free some space there" in text
    assert "from checkpoint-4 with --resume_from_checkpoint true" in text
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    run(parts, tmp_path)
    expected, _ = undisturbed
    assert differences(ended(tmp_path), expected) == []


def test_a_file_that_the_system_does_not_let_grow(parts, tmp_path):
    """A real failure of a write, in the middle of a file and outside of Python: the writer is safetensors'."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        trainer = make_trainer(parts, tmp_path, max_steps=4)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            trainer.train()
        except CheckpointWriteError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            (tmp_path / "said.txt").write_text(str(error))
            raise SystemExit(2) from error

    assert in_child(limited) == 2
    assert names(tmp_path) == ["said.txt"]
    assert "from no checkpoint, since there is none yet, with" in (tmp_path / "said.txt").read_text()


def test_resuming_without_a_file_is_an_error(parts, undisturbed, tmp_path):
    """Trap: the Trainer goes on with a new optimizer."""
    _, whole = undisturbed
    shutil.copytree(whole / "checkpoint-6", tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "optimizer.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"checkpoint-10 has no optimizer.safetensors, so training cannot go on"
    ):
        make_trainer(parts, tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint to go on from"):
        make_trainer(parts, tmp_path / "none").train(resume_from_checkpoint=True)
