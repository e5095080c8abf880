from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import TrainerCallback

from peft_pod.training import PODTrainer, last_checkpoint
from peft_pod.training.checkpoints import DUE_FILE, checkpoints

from .killed_run import differences, ended, in_child, make_trainer, run
from .launching import ROOT, environment, free_port


class Signals(TrainerCallback):
    """Sends signals to its own process in the middle of a step: after the gradient, before the weights change."""

    def __init__(self, step, *numbers):
        self.step, self.numbers = step, numbers

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == self.step - 1:
            for number in self.numbers:
                os.kill(os.getpid(), number)


def signalled(parts, folder, step, *numbers, **changes):
    trainer = make_trainer(parts, folder, **changes)
    trainer.add_callback(Signals(step, *numbers))
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) is not None)


def test_sigterm_ends_the_step_saves_and_exits_with_143(parts, undisturbed, tmp_path):
    """And a second one while the checkpoint is written does not matter."""
    # A checkpoint is due anyway; none is due; the last step of an epoch; the last of all.
    for step in (4, 5, 9, 14):
        assert in_child(lambda step=step: signalled(parts, tmp_path, step, signal.SIGTERM, signal.SIGTERM)) == 143
        assert checkpoints(tmp_path)[-1].name == f"checkpoint-{step}"
    assert in_child(lambda: run(parts, tmp_path)) == 0
    assert differences(ended(tmp_path), undisturbed[0]) == []


def test_losses_by_epoch_are_taken_before_the_process_ends(parts, tmp_path):
    """Trap: a checkpoint after the last step of an epoch, written before them, would have resuming pass them over."""
    changes = {"eval_strategy": "epoch", "save_strategy": "epoch", "max_steps": 12}
    assert in_child(lambda: run(parts, tmp_path / "undisturbed", **changes)) == 0
    folder = tmp_path / "signalled"
    for step in (7, 9):
        assert in_child(lambda step=step: signalled(parts, folder, step, signal.SIGTERM, **changes)) == 143
        assert last_checkpoint(folder).name == f"checkpoint-{step}"
    assert in_child(lambda: run(parts, folder, **changes)) == 0
    assert len(ended(folder)["validation"]) == 2
    assert differences(ended(folder), ended(tmp_path / "undisturbed")) == []


class Slow(PODTrainer):
    """Sends SIGTERM to itself in the middle of the validation after a step."""

    at, batches = 4, 0

    def prediction_step(self, *args, **kwargs):
        self.batches += self.state.global_step == self.at
        if self.state.global_step == self.at and self.batches == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().prediction_step(*args, **kwargs)


def test_validation_is_cut_short_and_taken_anew_when_resuming(parts, undisturbed, tmp_path):
    folder, counted = tmp_path / "run", tmp_path / "batches.json"

    def cut(step):
        trainer = make_trainer(parts, folder, Slow)
        trainer.at = step
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(folder) is not None)
        finally:
            counted.write_text(json.dumps(trainer.batches))

    # The second time at resuming, before any step; the last in the validation after the last step.
    for step in (4, 4, 14):
        assert in_child(lambda step=step: cut(step)) == 143
        assert json.loads(counted.read_text()) == 2
        assert last_checkpoint(folder).name == f"checkpoint-{step}"
        assert (folder / f"checkpoint-{step}" / DUE_FILE).is_file()
    assert in_child(lambda: run(parts, folder)) == 0
    assert not list(folder.glob(f"*/{DUE_FILE}"))
    assert differences(ended(folder), undisturbed[0]) == []


def test_ctrl_c_saves_too_and_is_raised_again(parts, tmp_path):
    assert in_child(lambda: signalled(parts, tmp_path, 5, signal.SIGINT)) == 130
    assert last_checkpoint(tmp_path).name == "checkpoint-5"
    # Pressed twice, it does not wait; what was saved before is there.
    assert in_child(lambda: signalled(parts, tmp_path / "twice", 5, signal.SIGINT, signal.SIGINT)) == 130
    assert last_checkpoint(tmp_path / "twice").name == "checkpoint-4"


def test_handlers_are_as_before_after_training(parts, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    make_trainer(parts, tmp_path, max_steps=1, eval_strategy="no", load_best_model_at_end=False,
                 early_stopping_patience=None, save_strategy="no").train()  # fmt: skip
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step(tmp_path):
    """Only the second one gets the signal. Run with `pytest -m slow`."""
    port = free_port()
    processes = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.training.killed_run", str(tmp_path), "2000"],
                cwd=ROOT,
                env=environment(**place),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        deadline = time.monotonic() + 100
        while last_checkpoint_name(tmp_path) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        processes[1].send_signal(signal.SIGTERM)
        printed = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [143, 143], printed
    checkpoint = last_checkpoint(tmp_path)
    assert {"random_state_0.safetensors", "random_state_1.safetensors"} <= {path.name for path in checkpoint.iterdir()}
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert checkpoint.name == f"checkpoint-{state['global_step']}"


def last_checkpoint_name(folder: Path) -> str | None:
    # Not by `last_checkpoint`, which puts right what it takes for a killed run's.
    found = checkpoints(folder)
    return found[-1].name if found else None
