"""Training that ends well when it is asked to end: it finishes its step, saves, and leaves with status 143."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from peft_pod.signals import StopRequest

from .checkpoints import AtomicCheckpoints, evaluation_due
from .states import random_state, set_random_state

_STEPS_BETWEEN_AGREEMENTS = 10


class _EvaluationCut(Exception):
    """The validation losses are not taken to the end, because the process is asked to end."""


class Interruptible(AtomicCheckpoints):
    """A Trainer that on SIGTERM or Ctrl-C finishes its step, saves a checkpoint and ends the process.

    `train` raises `SystemExit(143)` then, or `KeyboardInterrupt` after Ctrl-C. (The Trainer's own
    `enable_jit_checkpoint` waits for three seconds, then saves, but `train` returns as if training had ended.)

    In several processes all stop after the same step, wherever the signal came first. They agree after every step on
    the CPU, and after every tenth on accelerators, which would have to wait for each other.

    While validation losses are taken, one process does not wait for them: it saves the state of before, and resuming
    takes them first. Several processes take them to the end.
    """

    _request: StopRequest | None = None
    _step_seen = -1
    _due_from: Path | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; see `Trainer`.

        Raises:
            SystemExit: with 143, after SIGTERM, once a checkpoint is saved.
            KeyboardInterrupt: likewise after Ctrl-C, or at once where it is pressed again.
        """
        self._due_from = self._random_state_from = None
        if isinstance(resume_from_checkpoint, str) and evaluation_due(resume_from_checkpoint):
            self._due_from = Path(resume_from_checkpoint)
        announcement = "training stops after this step, when a checkpoint is saved" if self._is_first() else ""
        with StopRequest(announcement) as self._request:
            try:
                result = super().train(resume_from_checkpoint, *args, **kwargs)
            except _EvaluationCut:
                # At resuming, before the first step: the checkpoint still says that they are to be taken.
                self._request.obey()
            if self._request.signal is not None:
                self._request.obey()
        return result

    def _is_first(self) -> bool:
        return bool(self.args.process_index == 0)

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: torch.nn.Module, trial: Any, epoch: float, *args: Any, **kwargs: Any
    ) -> None:
        random = random_state(self.args.device) if self.control.should_evaluate else None
        saved = self.num_saved
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, epoch, *args, **kwargs)
        except _EvaluationCut:
            if random is not None:
                set_random_state(random, self.args.device)
            self._due = True
            self._save_and_stop(model, trial)
        # After the last step of an epoch the Trainer calls this twice; only then the epoch's own losses are taken.
        first_call, self._step_seen = self.state.global_step != self._step_seen, self.state.global_step
        is_last = self.control.should_training_stop or (self.state.epoch or 0) >= epoch + 1
        if not (first_call and is_last) and self._is_asked_to_stop():
            self._save_and_stop(model, trial, saved=self.num_saved > saved)

    def _save_and_stop(self, model: torch.nn.Module, trial: Any, *, saved: bool = False) -> None:
        if not saved:
            self._save_checkpoint(model, trial)
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        if self._request is not None:
            self._request.obey()

    def _is_asked_to_stop(self) -> bool:
        if self._request is None:
            return False
        if self.args.world_size > 1:
            if self.args.device.type != "cpu" and self.state.global_step % _STEPS_BETWEEN_AGREEMENTS:
                return False
            asked = torch.tensor([self._request.signal or 0], device=self.args.device)
            self._request.signal = int(self.accelerator.gather(asked).max()) or None
        return self._request.signal is not None

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """See `Trainer`."""
        if self._request is not None and self._request.signal is not None and self.args.world_size == 1:
            raise _EvaluationCut
        return super().prediction_step(*args, **kwargs)

    def _run_epoch(self, **kwargs: Any) -> None:
        self._take_due_evaluation()
        if not self.control.should_training_stop:
            super()._run_epoch(**kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self._take_due_evaluation()
        return super()._finalize_training(*args, **kwargs)

    def _take_due_evaluation(self) -> None:
        """Take the validation losses whose interruption ended the run that is resumed, and save what follows."""
        checkpoint, self._due_from = self._due_from, None
        if checkpoint is None:
            return
        self._load_rng_state(str(checkpoint))
        metrics = self._evaluate(None, None)
        self._determine_best_metric(metrics=metrics, trial=None)
        self._due = False
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        self._random_state_from = Path(self._get_output_dir(None)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
