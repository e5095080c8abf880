"""Runs of the console script that are killed, asked to end, or come to numbers that are none."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

from safetensors.torch import load_file
from transformers import TrainerCallback

from peft_pod.commands import evaluate as evaluate_module
from peft_pod.commands import main
from peft_pod.corpus import Corpus
from peft_pod.training import PODTrainer

from ..training.killed_run import in_child
from .runs import contents, flags, read, small, train

KILLED = -signal.SIGKILL
OPTIONS = small(
    eval_strategy="steps", save_strategy="steps", eval_steps=2, save_steps=2, learning_rate=0.005, max_steps=4
)


def command(folder: Path, *more: object):
    """The command, for a forked process, whose standard error goes to a file beside the run's folder."""

    def call():
        os.dup2(os.open(folder.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        raise SystemExit(main(["train", *flags(OPTIONS), "--output_dir", str(folder), *map(str, more)]))

    return call


def killed_before_renaming_to(name: str, call):
    """Kill the process when a file or folder is about to get its name."""

    def watched():
        def watch(event, arguments):
            if event == "os.rename" and Path(os.fsdecode(arguments[1])).name == name:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        call()

    return watched


def without_times(folder: Path) -> dict[str, bytes]:
    """Every file but those that say how long something took, or how the run was started."""
    found = contents(folder)
    return {
        name: content
        for name, content in found.items()
        if name not in ("log.json", "losses.png", "arguments.json", "metrics.json", "config.yaml")
        and not name.endswith("trainer_state.json")
    }


def test_kills_at_the_start_and_the_end_of_a_run(tmp_path):
    """What has its name is whole; training is not done again; and the same seed gives the same files."""
    assert in_child(command(tmp_path / "undisturbed")) == 0
    folder = tmp_path / "run"
    assert in_child(killed_before_renaming_to("corpus", command(folder))) == KILLED
    assert read(folder / "arguments.json")["training"]["max_steps"] == 4
    assert not (folder / "corpus").exists()
    assert in_child(command(folder, "--resume_from_checkpoint", "true")) == 2
    assert "the run ended before the first was written; begin it anew with --overwrite" in said(folder)

    assert in_child(killed_before_renaming_to("model", command(folder, "--overwrite"))) == KILLED
    assert not (folder / "model").exists()
    assert Corpus.load_from_disk(folder / "corpus").name == "embedded"
    saved = contents(folder / "checkpoints")

    resumed = command(folder, "--resume_from_checkpoint", "true")
    assert in_child(killed_before_renaming_to("report.json", resumed)) == KILLED
    first, second = (
        load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("undisturbed", "run")
    )
    assert all(first[name].equal(second[name]) for name in first)
    assert not (folder / "report.json").exists()

    assert in_child(resumed) == 0
    assert contents(folder / "checkpoints") == saved  # nothing was trained again
    assert without_times(folder) == without_times(tmp_path / "undisturbed")


def said(folder: Path) -> str:
    return folder.with_suffix(".err").read_text()


class _Signals(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_in_training_and_in_evaluation(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:

        class Signalled(PODTrainer):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, callbacks=[_Signals()], **kwargs)

        patch.setattr("peft_pod.commands.train.PODTrainer", Signalled)
        assert in_child(command(folder)) == 143
    assert "SIGTERM: training stops after this step, when a checkpoint is saved" in said(folder)
    assert (folder / "checkpoints" / "checkpoint-3" / "trainer_state.json").is_file()
    assert not (folder / "model").exists()

    def signalled(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation goes on")

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate_model", signalled)
        assert in_child(command(folder, "--resume_from_checkpoint", "true")) == 143
        before = contents(folder)
        assert in_child(lambda: sys.exit(main(["evaluate", "--run", str(folder)]))) == 143
        assert contents(folder) == before
    assert "model/adapter_model.safetensors" in before
    assert "report.json" not in before

    done = train(OPTIONS, folder, "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    after = contents(folder)
    assert {name: after[name] for name in before if name.startswith(("checkpoints/", "corpus/"))} == {
        name: content for name, content in before.items() if name.startswith(("checkpoints/", "corpus/"))
    }
    assert "report.json" in after
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_a_run_that_keeps_no_checkpoints_is_not_trained_again(tmp_path, monkeypatch):
    options = small(max_steps=2, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    assert train(options, tmp_path / "run").status == 0
    before = contents(tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()

    def trained(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(PODTrainer, "train", trained)
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    after = contents(tmp_path / "run")
    assert after.keys() == before.keys()
    for name in ("report.json", "ranks.parquet", "log.json", "trainer_state.json", "model/adapter_model.safetensors"):
        assert after[name] == before[name]
    assert json.loads(after["metrics.json"])["training/steps"] == 2


def test_a_loss_that_is_no_number(tmp_path, monkeypatch):
    class Spoiled(PODTrainer):
        def __init__(self, model, *args, **kwargs):
            super().__init__(model, *args, **kwargs)
            model.register_forward_hook(self.spoil)

        def spoil(self, model, arguments, output):
            if model.training and self.state.global_step == 3:
                output.loss = output.loss * math.nan

    monkeypatch.setattr("peft_pod.commands.train.PODTrainer", Spoiled)
    done = train(OPTIONS, tmp_path / "run")
    assert done.status == 2
    assert "peft-pod train: the loss of step 4 (task 'sequential') is nan" in done.err
    path = tmp_path / "run" / "checkpoints" / "non_finite" / "step-4-process-0.json"
    assert str(path) in done.err
    assert json.loads(path.read_text(encoding="utf-8"))["inputs"]
    assert not (tmp_path / "run" / "model").exists()
