"""How many steps, validations and checkpoints a run has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import TrainerState, TrainingArguments

if TYPE_CHECKING:
    from transformers import Trainer


@dataclass(frozen=True)
class RunLength:
    """The length of a run, as the Trainer counts it.

    Attributes:
        batches_per_epoch: of one process.
        batches_per_step: whose gradients are accumulated.
        samples_per_step: of all processes.
        steps_per_epoch: steps of an epoch.
        epochs: how many; the last may be a part of one.
        steps: of the run.
        validations: how often validation losses are taken in a run that is not stopped early.
    """

    batches_per_epoch: int
    batches_per_step: int
    samples_per_step: int
    steps_per_epoch: int
    epochs: float
    steps: int
    validations: int


@dataclass(frozen=True)
class Cadence:
    """How often something is done in a run: after every so many steps, and after the last one.

    Attributes:
        every: so many steps; `None` for never.
        delay: not before this step.
    """

    every: int | None
    delay: float = 0.0

    def count(self, first: int, last: int) -> int:
        """How often in the steps from `first` on, where `last` is the last step of the run.

        Args:
            first: step, counted from 1.
            last: step.

        Example:
            >>> Cadence(every=3).count(1, 10), Cadence(every=3).count(10, 12), Cadence(every=3, delay=7).count(1, 10)
            (4, 1, 2)
        """
        begin = max(first, math.ceil(self.delay), 1)
        if self.every is None or last < begin:
            return 0
        return last // self.every - (begin - 1) // self.every + bool(last % self.every)


def cadences(args: TrainingArguments, state: TrainerState, steps_per_epoch: int) -> tuple[Cadence, Cadence]:
    """When validation losses are taken, and when checkpoints are written.

    With `save_strategy="best"` each validation may lead to a checkpoint.

    Args:
        args: of the Trainer.
        state: has `eval_steps` and `save_steps` as whole numbers.
        steps_per_epoch: of an epoch.
    """
    every = {"steps": state.eval_steps, "epoch": steps_per_epoch}.get(strategy_of(args, "eval_strategy"))
    delay = args.eval_delay * (steps_per_epoch if strategy_of(args, "eval_strategy") == "epoch" else 1)
    validation = Cadence(every, delay)
    saves = {"steps": Cadence(state.save_steps), "epoch": Cadence(steps_per_epoch), "best": validation}
    return validation, saves.get(strategy_of(args, "save_strategy"), Cadence(None))


def cadences_of(args: TrainingArguments, steps: int, steps_per_epoch: int) -> tuple[Cadence, Cadence]:
    """The same for a run of so many steps, of which `eval_steps` and `save_steps` may be fractions."""
    state = TrainerState()
    state.compute_steps(args, steps)
    return cadences(args, state, steps_per_epoch)


def count_validations(args: TrainingArguments, steps: int, steps_per_epoch: int) -> int:
    """How often validation losses are taken in a run that is not stopped early.

    Args:
        args: of the Trainer.
        steps: of the run.
        steps_per_epoch: of an epoch.

    Example:
        >>> from peft_pod.training import PODTrainingArguments
        >>> count_validations(PODTrainingArguments(eval_strategy="steps", eval_steps=0.3, save_strategy="no",
        ...     load_best_model_at_end=False), steps=10, steps_per_epoch=4)
        4
    """
    return cadences_of(args, steps, steps_per_epoch)[0].count(1, steps)


def run_length(trainer: Trainer) -> RunLength:
    """Batches, steps and validations of a run, as the Trainer counts them.

    Args:
        trainer: that would train.
    """
    args = trainer.args
    loader = trainer.get_train_dataloader()
    _, steps_per_epoch, _, _, samples, _, steps = trainer.set_initial_training_values(args, loader)
    return RunLength(
        batches_per_epoch=len(loader),
        batches_per_step=args.gradient_accumulation_steps,
        samples_per_step=samples,
        steps_per_epoch=steps_per_epoch,
        epochs=steps / steps_per_epoch,
        steps=steps,
        validations=count_validations(args, steps, steps_per_epoch),
    )


def strategy_of(args: TrainingArguments, name: str) -> str:
    """A strategy of the arguments by its name, such as `"epoch"`, whether it is an enumeration's or a string.

    Args:
        args: of the Trainer.
        name: `eval_strategy` or `save_strategy`.
    """
    strategy = getattr(args, name)
    return str(getattr(strategy, "value", strategy))
