"""Training that ends in time, its schedule included."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate.utils import broadcast, broadcast_object_list
from transformers import Seq2SeqTrainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from .arguments import PODTrainingArguments
from .clock import TrainingClock
from .progress import say
from .rehearsal import put_back
from .run_length import cadences, cadences_of, run_length, strategy_of
from .schedule import shorten_schedule, warmup_as_share
from .time_limit import RESERVE, Costs, most_steps
from .timing import TIMED_BATCHES, drawn_tokens, time_checkpoint, time_steps, time_validation

if TYPE_CHECKING:
    from .trainer import PODTrainer

_LOOKS = 50
"""How often it is asked whether all steps still fit."""
_TRUST = 0.5
"""What the steps timed in advance weigh beside those of training, as a share of all: one moment of a busy machine right
after the start must not shorten a run that cannot be made longer again."""
_STEPS_BETWEEN_AGREEMENTS = 10
_WORTH_SAYING = 0.9


@dataclass(frozen=True)
class PlannedLength:
    """What fits into the time.

    Attributes:
        minutes: of training.
        asked: steps that the arguments ask for without a limit.
        steps: that were planned when the run began.
        warmup_steps: as `TrainingArguments.warmup_steps`, fitted to them.
    """

    minutes: float
    asked: int
    steps: int
    warmup_steps: float

    def arguments(self) -> dict[str, Any]:
        """Training arguments that make the same run again, however fast the machine is."""
        return {"max_minutes": None, "max_steps": self.steps, "warmup_steps": self.warmup_steps}


class TimeLimited(Seq2SeqTrainer):
    """A Trainer that ends after `max_minutes`, with a whole schedule.

    Before a new run begins, a few steps, validation batches and a checkpoint are timed, and everything is put back.
    `max_steps` becomes what fits, if that is less than is asked for; so fractions such as `eval_steps=0.1` are of the
    run as it will be, and a warm-up is shorter in proportion.

    While it trains, it looks now and then whether what is left still fits. If not, the end is moved, and the
    learning rates of the steps to come are those of the shorter run. What comes last is a validation, as without a
    limit, for which time is kept. A run is never made longer than it was planned.

    A run that goes on from a checkpoint takes over its length, and the time that it has used.

    In several processes the first one decides, and all follow: after every step on the CPU, and after every tenth on
    accelerators, which would have to wait for each other.
    """

    args: PODTrainingArguments
    _planned: PlannedLength | None = None
    _steps_per_epoch = 0
    _looked_at_step = -1
    _looked_at = 0.0
    _said = 0

    def plan_length(self, checkpoint: str | None = None) -> PlannedLength | None:
        """Find out how many steps fit, and set `args.max_steps` to them; `train` does this if nobody has before.

        In several processes all must call it.

        Args:
            checkpoint: to go on from, whose length is taken over; `None` for a new run.

        Returns:
            The length; `None` where there is no limit.

        Raises:
            ValueError: not even one step fits; processes share out the weights; or the learning rate schedule is the
                caller's.
        """
        minutes = self.args.max_minutes
        if minutes is None or (checkpoint is None and self._planned is not None):
            return self._planned
        self._check_can_be_limited()
        length = run_length(self)
        clock = TrainingClock() if checkpoint is None else _clock_of(checkpoint, length.steps)
        if checkpoint is None:
            costs = self._agreed_costs()
            clock.planned_steps = steps = self._fitting(costs, length.steps, length.steps_per_epoch, minutes)
            shorter = steps < length.steps
            clock.warmup_steps = warmup_as_share(self.args, length.steps) if shorter else self.args.warmup_steps
            weight = max(-(-TIMED_BATCHES // length.batches_per_step), round(_TRUST * steps))
            clock.add("step", weight * costs.step, weight)
            clock.add("validation", costs.validation)
            clock.add("checkpoint", costs.checkpoint)
        else:
            steps = _steps_of(checkpoint)
        # The caller may make another trainer of the same arguments.
        self.args = copy.copy(self.args)
        self.args.max_steps, self.args.warmup_steps = steps, clock.warmup_steps
        self.remove_callback(TrainingClock)
        self.add_callback(clock)
        self._steps_per_epoch = length.steps_per_epoch
        self._planned = PlannedLength(minutes, length.steps, clock.planned_steps, clock.warmup_steps)
        return self._planned

    def _check_can_be_limited(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"max_minutes is {self.args.max_minutes}, but steps cannot be timed in advance under FSDP or "
                "DeepSpeed: leave it out, and set max_steps"
            )
        if self.lr_scheduler is not None and not self._created_lr_scheduler:
            raise ValueError(
                f"max_minutes is {self.args.max_minutes}, and a learning rate schedule was given, which cannot be "
                "fitted to the time: leave one of them out, or choose a schedule by lr_scheduler_type"
            )

    def _agreed_costs(self) -> Costs:
        """What each part takes, as the first process measured it."""
        trainer = cast("PODTrainer", self)
        with put_back(self):
            order = list(drawn_tokens(trainer, batches=1))
            batch = float(np.mean(list(time_steps(trainer, order).seconds.values())))
            saves = strategy_of(self.args, "save_strategy") != "no"
            checkpoint = time_checkpoint(trainer) if saves else 0.0
            validates = strategy_of(self.args, "eval_strategy") != "no"
            validation = sum(time_validation(trainer).values()) if validates else 0.0
        measured = [batch * self.args.gradient_accumulation_steps, validation, checkpoint]
        if self.args.world_size > 1:
            broadcast_object_list(measured)
        return Costs(*measured)

    def _fitting(self, costs: Costs, asked: int, steps_per_epoch: int, minutes: float) -> int:
        def cost(steps: int) -> float:
            return costs.left(0, steps, *cadences_of(self.args, steps, steps_per_epoch))

        steps = most_steps((1 - RESERVE) * 60 * minutes, 1, asked, cost)
        if steps < 1:
            raise ValueError(
                f"max_minutes is {minutes:g}, and a single step with its validation and checkpoint takes about "
                f"{cost(1) / 60:.2g} minutes here: give more time"
            )
        if self.is_world_process_zero():
            which = f"all {asked:,}" if steps == asked else f"{steps:,} of {asked:,}"
            say(
                f"training: {which} steps fit into {minutes:.4g} minutes ({costs.step:.3g} s a step, "
                f"{costs.validation:.3g} s a validation, {costs.checkpoint:.3g} s a checkpoint)"
            )
        return steps

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # After the last step of an epoch the Trainer calls this twice.
        if self.args.max_minutes is not None and self.state.global_step != self._looked_at_step:
            self._looked_at_step = self.state.global_step
            self._keep_in_time(self._clock())
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _clock(self) -> TrainingClock:
        # Resuming puts another one in the place of the first.
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, TrainingClock))

    def _keep_in_time(self, clock: TrainingClock) -> None:
        done, total = self.state.global_step, self.state.max_steps
        self._said = max(self._said, total)
        alone = self.args.world_size == 1 or self.args.device.type == "cpu"
        stride = 1 if alone else _STEPS_BETWEEN_AGREEMENTS
        if done < total and done % stride == 0:
            fitting = self._still_fitting(clock, min(done + stride, total)) if self.is_world_process_zero() else total
            if self.args.world_size > 1:
                fitting = int(broadcast(torch.tensor([fitting], device=self.args.device)).item())
            if fitting < total:
                self._shorten(clock, fitting)
        if done >= self.state.max_steps:
            self._close()

    def _still_fitting(self, clock: TrainingClock, following: int) -> int:
        """The last step of the run, as far as one knows.

        Args:
            clock: of the run.
            following: step after which one will look again.
        """
        done, total = self.state.global_step, self.state.max_steps
        seconds = 60 * cast(float, self.args.max_minutes)
        elapsed, costs = clock.elapsed(), clock.costs()
        careful = clock.careful_costs()
        left = seconds - elapsed
        rhythm = cadences(self.args, self.state, self._steps_per_epoch)

        def cost(last: int) -> float:
            return costs.left(done, last, *rhythm)

        if careful.left(done, following, *rhythm) > left:
            return done
        if 0 <= elapsed - self._looked_at < seconds / _LOOKS:
            return total
        self._looked_at = elapsed
        if cost(total) <= left:
            return total
        return max(done, most_steps((1 - RESERVE) * left, done, total, cost))

    def _shorten(self, clock: TrainingClock, steps: int) -> None:
        before, done = self.state.max_steps, self.state.global_step
        self.args.warmup_steps = clock.warmup_steps = warmup_as_share(self.args, before)
        self.state.max_steps = steps
        shorten_schedule(self, steps)
        self.state.log_history.append({"epoch": self.state.epoch, "step": done, "max_steps": steps})
        # An end that creeps nearer, as it does until it is known how slow the machine is, is said now and then.
        if steps <= _WORTH_SAYING * self._said and self.is_world_process_zero():
            say(
                f"training: step {done:,}: ends at step {steps:,} in place of {self._said:,}, to keep to "
                f"{self.args.max_minutes:.4g} minutes"
            )
            self._said = steps

    def _close(self) -> None:
        """Let the last step be validated and saved as it would have been, had it been known to be the last."""
        strategy = strategy_of(self.args, "eval_strategy")
        reached = self.state.epoch if strategy == "epoch" else self.state.global_step
        began = self.args.eval_delay <= (reached or 0)
        # Of a run that ends before its first validation nothing would be known, and no best model.
        missing = self.args.load_best_model_at_end and self.state.best_metric is None
        self.control.should_training_stop = True
        # By epoch, the Trainer does what is due when it leaves the epoch.
        if (strategy == "steps" and (began or missing)) or (strategy == "epoch" and missing and not began):
            self.control.should_evaluate = True
        if strategy_of(self.args, "save_strategy") == "steps":
            self.control.should_save = True

    def _finalize_training(self, trial: Any, num_train_samples: float, start_time: float) -> Any:
        if self.args.max_minutes is not None:
            num_train_samples *= self.state.max_steps / self.args.max_steps
        return super()._finalize_training(trial, num_train_samples, start_time)


def _clock_of(checkpoint: str, asked: int) -> TrainingClock:
    state = _state_of(checkpoint)
    saved = state.stateful_callbacks.get(TrainingClock.__name__)
    if isinstance(saved, dict):
        return cast(TrainingClock, TrainingClock.from_state(saved))
    raise ValueError(
        f"max_minutes cannot be given to a run that was begun without it: {checkpoint} does not say how much time the "
        f"run has used; resume without max_minutes ({asked:,} steps), or start a new run"
    )


def _steps_of(checkpoint: str) -> int:
    return int(_state_of(checkpoint).max_steps)


def _state_of(checkpoint: str) -> TrainerState:
    return TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
