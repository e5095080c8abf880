from __future__ import annotations

import json

import pytest
from transformers import TrainerCallback
from transformers.integrations import INTEGRATION_TO_CALLBACK
from transformers.integrations.integration_utils import rewrite_logs

from peft_pod.training import PODTrainingArguments, reporting
from peft_pod.training.reporting import check_report_to, describe_run

from .test_trainer import TASKS, make_trainer

VALUES = {"corpus": {"indexing": "random", "tasks": ["topn"]}, "model": {"lora_r": 0}}
CURVES = {
    *(f"train/loss_{name}" for name in TASKS),
    *(f"eval/{name}_loss" for name in TASKS),
    "train/loss", "eval/loss", "train/learning_rate", "train/grad_norm",
}  # fmt: skip


class _Recorder(TrainerCallback):
    """An integration that keeps what it is given, as those of transformers name it."""

    def __init__(self):
        self.config, self.curves, self.run_name = None, {}, None

    def on_train_begin(self, args, state, control, **kwargs):
        self.config, self.run_name = args.to_dict(), args.run_name

    def on_log(self, args, state, control, logs=None, **kwargs):
        for name, value in rewrite_logs(logs).items():
            self.curves.setdefault(name, []).append((state.global_step, value))


def trained(split, processor, folder, integration):
    trainer = make_trainer(
        split, processor, folder / "run" / "checkpoints", max_steps=6, logging_steps=3, report_to=[integration]
    )
    describe_run(trainer, VALUES, "0123abcd", folder / "run")
    trainer.train()
    return trainer


def test_an_integration_is_given_curves_by_task_and_what_the_run_is(
    split,
    processor,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "recorder", _Recorder)
    check_report_to(["recorder"])
    trainer = trained(split, processor, tmp_path, "recorder")
    recorder = next(one for one in trainer.callback_handler.callbacks if isinstance(one, _Recorder))
    assert set(recorder.curves) >= CURVES
    for entry in trainer.state.log_history:
        for name, value in rewrite_logs(entry).items():
            if name in CURVES:
                assert (entry["step"], value) in recorder.curves[name]
    expected = {"corpus/indexing": "random", "corpus/tasks": ["topn"], "model/lora_r": 0, "max_steps": 6}
    expected["corpus/fingerprint"] = "0123abcd"
    assert {name: recorder.config[name] for name in expected} == expected
    assert recorder.run_name == "run"


def test_tensorboard_reads_back_what_was_logged(split, processor, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = trained(split, processor, tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) >= CURVES
    for name in CURVES:
        logged = [
            (entry["step"], rewrite_logs(entry)[name])
            for entry in trainer.state.log_history
            if name in rewrite_logs(entry)
        ]
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert read == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged]
    (text,) = events.Tensors("args/text_summary")
    config = json.loads(text.tensor_proto.string_val[0])
    assert (config["corpus/fingerprint"], config["corpus/indexing"]) == ("0123abcd", "random")


def test_nothing_is_reported_unless_it_is_asked_for(split, processor, tmp_path):
    assert PODTrainingArguments(output_dir=str(tmp_path)).report_to == []
    kinds = {type(callback) for callback in make_trainer(split, processor, tmp_path).callback_handler.callbacks}
    assert not kinds & set(INTEGRATION_TO_CALLBACK.values())


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setattr(reporting, "find_spec", lambda module: None)
    with pytest.raises(ValueError, match=f"--report_to {name} needs a package .*: pip install {name}$"):
        check_report_to([name])


def test_an_integration_that_cannot_be_made(monkeypatch):
    class Broken(TrainerCallback):
        def __init__(self):
            raise RuntimeError("needs broken to be installed")

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "broken", Broken)
    with pytest.raises(ValueError, match="--report_to broken cannot be used: needs broken .*; pip install broken"):
        check_report_to(["broken"])


def test_an_unknown_integration():
    with pytest.raises(ValueError, match="--report_to tensorbord is not known; there are .*tensorboard, .*wandb"):
        check_report_to(["tensorbord"])
