"""How far training is, and the loss of each task: bars on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils.import_utils import is_in_notebook

from .validation import ranking_metric

LOSS, TASK_LOSS = "loss", "loss_"
EVAL_PREFIX, EVAL_LOSS = "eval_", "_loss"
SECONDS_BETWEEN_LINES = 60.0


def shows_bars(disabled: bool = False) -> bool:
    """Whether progress bars can be seen: on a terminal or in a notebook, unless `disabled`.

    Example:
        >>> shows_bars(disabled=True)
        False
    """
    return not disabled and (sys.stderr.isatty() or is_in_notebook())


def say(line: str) -> None:
    """Write a line to standard error, past a bar that is drawn there."""
    tqdm.write(line, file=sys.stderr)


def use_progress(trainer: Trainer) -> None:
    """Put `TaskProgress` in the place of the Trainer's own bars and lines; a notebook keeps its table."""
    replaced = [trainer.pop_callback(kind) for kind in (ProgressCallback, PrinterCallback)]
    if any(replaced):
        trainer.add_callback(TaskProgress(bars=shows_bars(trainer.args.disable_tqdm)))


class TaskProgress(TrainerCallback):
    """Shows on standard error how far training is, with the latest losses of the tasks.

    They are those that are logged every `logging_steps` steps: a loss of each step would make an accelerator wait.
    Without bars there is a line after each validation, and between them at most one in `seconds`, so that a log file
    stays short.

    Args:
        bars: whether to draw bars; `False` for lines.
        seconds: between two lines.
    """

    def __init__(self, *, bars: bool, seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self.bars = bars
        self.seconds = seconds
        self._bar: tqdm | None = None
        self._validation: tqdm | None = None
        self._validated: DataLoader | None = None
        self._began = self._last = 0.0
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        if not state.is_world_process_zero:
            return
        self._began = self._last = time.monotonic()
        self._first_step = state.global_step
        if self.bars:
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="training", unit="step", dynamic_ncols=True
            )
        else:
            self._write(f"training: step {state.global_step} of {state.max_steps}")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.total = state.max_steps  # a run with a time limit may have become shorter
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the losses beside the bar, or write a line."""
        losses = training_losses(logs or {})
        if not state.is_world_process_zero or not losses:
            return
        if self._bar is not None:
            self._bar.set_postfix({name: f"{loss:.4g}" for name, loss in losses.items()}, refresh=False)
        elif not self.bars and time.monotonic() - self._last >= self.seconds:
            self._write(f"training: {self._reached(state)}: {_listed(losses)}")

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        """Move the bar of the task that is evaluated on."""
        if not (state.is_world_process_zero and self.bars) or eval_dataloader is None:
            return
        if eval_dataloader is not self._validated:
            self._close_validation()
            self._validated = eval_dataloader
            name = task_of(eval_dataloader.dataset)
            self._validation = tqdm(
                total=len(eval_dataloader),
                desc=f"validation of {name}" if name else "validation",
                unit="batch",
                leave=False,
                dynamic_ncols=True,
            )
        if self._validation is not None:
            self._validation.update(1)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line with what the validation measured."""
        if not state.is_world_process_zero:
            return
        self._close_validation()
        measured = {**validation_losses(metrics or {}), **validation_rankings(metrics or {})}
        if measured:
            self._write(f"validation: step {state.global_step}: {_listed(measured)}")

    def on_predict(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Close the bar of the evaluation."""
        self._close_validation()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bars."""
        self._close_validation()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif state.is_world_process_zero:
            took = timedelta(seconds=round(time.monotonic() - self._began))
            self._write(f"training: ended at step {state.global_step} of {state.max_steps} after {took}")

    def _reached(self, state: TrainerState) -> str:
        rate = (state.global_step - self._first_step) / (time.monotonic() - self._began)
        left = timedelta(seconds=round((state.max_steps - state.global_step) / rate)) if rate > 0 else "unknown"
        return f"step {state.global_step} of {state.max_steps}, {rate:.3g} steps a second, {left} left"

    def _close_validation(self) -> None:
        if self._validation is not None:
            self._validation.close()
        self._validation = self._validated = None

    def _write(self, line: str) -> None:
        self._last = time.monotonic()
        say(line)


def training_losses(logs: Mapping[str, float]) -> dict[str, float]:
    """The losses of an entry of the Trainer's log by task, that of all tasks where it has no others.

    Example:
        >>> training_losses({"loss": 2.0, "loss_topn": 1.0, "loss_sequential": 3.0, "epoch": 0.1})
        {'topn': 1.0, 'sequential': 3.0}
    """
    by_task = {name.removeprefix(TASK_LOSS): loss for name, loss in logs.items() if name.startswith(TASK_LOSS)}
    return by_task or {name: loss for name, loss in logs.items() if name == LOSS}


def validation_losses(metrics: Mapping[str, float]) -> dict[str, float]:
    """The validation losses in what `PODTrainer.evaluate` returns: by task, then their mean.

    Example:
        >>> validation_losses({"eval_topn_loss": 1.0, "eval_loss": 1.0, "eval_topn_runtime": 3.0})
        {'topn': 1.0, 'mean': 1.0}
    """
    by_task = {
        name.removeprefix(EVAL_PREFIX).removesuffix(EVAL_LOSS): loss
        for name, loss in metrics.items()
        if name.startswith(EVAL_PREFIX) and name.endswith(EVAL_LOSS) and name != "eval_loss"
    }
    return {**by_task, **({"mean": metrics["eval_loss"]} if "eval_loss" in metrics else {})}


def validation_rankings(metrics: Mapping[str, float]) -> dict[str, float]:
    """How items were ranked, in what `PODTrainer.evaluate` returns.

    Example:
        >>> validation_rankings({"eval_loss": 1.0, "eval_topn_hr@10": 0.5})
        {'topn hr@10': 0.5}
    """
    found = {}
    for name, value in metrics.items():
        asked = ranking_metric(name) if name.startswith(EVAL_PREFIX) else None
        if asked is not None:
            found[f"{asked[0]} {asked[1]}@{asked[2]}"] = value
    return found


def task_of(dataset: Any) -> str | None:
    """The task of evaluation samples, also of those that are wrapped; `None` where it is not known."""
    while dataset is not None:
        task = getattr(dataset, "task", None)
        if task is not None:
            return str(task)
        dataset = getattr(dataset, "dataset", None)
    return None


def _listed(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
