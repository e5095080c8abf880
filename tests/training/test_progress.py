from __future__ import annotations

import pytest
from transformers import ProgressCallback
from transformers.trainer_callback import PrinterCallback

from peft_pod.training import progress
from peft_pod.training.progress import TaskProgress, task_of
from peft_pod.training.trainer import _Padded

from .test_trainer import make_trainer


class _Bar:
    """What is asked of a bar."""

    made: list[_Bar]

    def __init__(self, total, desc, initial=0, **kwargs):
        self.total, self.desc, self.n, self.postfix, self.closed = total, desc, initial, [], False
        self.made.append(self)

    def update(self, count):
        self.n += count

    def set_postfix(self, values, refresh):
        self.postfix.append((self.n, values))

    def close(self):
        self.closed = True

    @staticmethod
    def write(line, file):
        print(line, file=file)


def test_lines_where_there_is_no_terminal(split, processor, tmp_path, capsys):
    trainer = make_trainer(split, processor, tmp_path, disable_tqdm=False)
    trainer.train()
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    history = trainer.state.log_history
    validated = [entry for entry in history if "eval_loss" in entry]
    assert len([entry for entry in history if "loss" in entry]) == trainer.state.max_steps > len(lines)
    assert lines[0] == f"training: step 0 of {trainer.state.max_steps}"
    assert lines[1:-1] == [
        f"validation: step {entry['step']}: sequential {entry['eval_sequential_loss']:.4g}, "
        f"topn {entry['eval_topn_loss']:.4g}, explanation {entry['eval_explanation_loss']:.4g}, "
        f"mean {entry['eval_loss']:.4g}"
        for entry in validated
    ]
    assert lines[-1].startswith(
        f"training: ended at step {trainer.state.max_steps} of {trainer.state.max_steps} after 0:"
    )


def test_a_line_between_validations_once_the_time_has_passed(split, processor, tmp_path, capsys):
    trainer = make_trainer(split, processor, tmp_path, with_eval=False, max_steps=3)
    trainer.pop_callback(TaskProgress)
    trainer.add_callback(TaskProgress(bars=False, seconds=0.0))
    trainer.train()
    lines = capsys.readouterr().err.splitlines()
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    for step, (line, entry) in enumerate(zip(lines[1:-1], losses, strict=True), start=1):
        (name,) = [key for key in entry if key.startswith("loss_")]
        assert line.startswith(f"training: step {step} of 3, ")
        assert line.endswith(f" left: {name.removeprefix('loss_')} {entry[name]:.4g}")


def test_bars_have_the_losses_of_tasks_and_the_names_of_what_is_validated(
    split,
    processor,
    tmp_path,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr(_Bar, "made", [], raising=False)
    monkeypatch.setattr(progress, "tqdm", _Bar)
    # Three steps are a turn of each task.
    trainer = make_trainer(split, processor, tmp_path, max_steps=6, logging_steps=3, per_device_eval_batch_size=1)
    trainer.pop_callback(TaskProgress)
    trainer.add_callback(TaskProgress(bars=True))
    trainer.train()
    training, *validations = _Bar.made
    assert (training.desc, training.total, training.n) == ("training", 6, 6)
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    expected = [
        (entry["step"], {name: f"{entry[f'loss_{name}']:.4g}" for name in ("sequential", "topn", "explanation")})
        for entry in losses
    ]
    assert training.postfix == expected
    counts = {name: len(samples) for name, samples in trainer.eval_dataset.items()}
    times = len([entry for entry in trainer.state.log_history if "eval_loss" in entry])
    assert [(bar.desc, bar.n, bar.total) for bar in validations] == times * [
        (f"validation of {name}", count, count) for name, count in counts.items()
    ]
    assert all(bar.closed for bar in _Bar.made)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("disabled", [True, False])
def test_the_trainers_own_bars_and_lines_are_replaced(split, processor, tmp_path, disabled):
    trainer = make_trainer(split, processor, tmp_path, disable_tqdm=disabled)
    kinds = [type(callback) for callback in trainer.callback_handler.callbacks]
    assert kinds.count(TaskProgress) == 1
    assert not {ProgressCallback, PrinterCallback} & set(kinds)


def test_the_task_of_samples_that_are_filled_up(split, processor, tmp_path):
    samples = make_trainer(split, processor, tmp_path).eval_dataset["topn"]
    assert (task_of(samples), task_of(_Padded(samples, 4)), task_of([1, 2])) == ("topn", "topn", None)
