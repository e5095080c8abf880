"""Making a learning rate schedule shorter while training goes on."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments


def shorten_schedule(trainer: Trainer, steps: int) -> None:
    """Let the learning rates of the steps to come be those of a run with fewer steps.

    Schedules of transformers are functions of the step, in which the number of all steps is fixed; here the function is
    made anew and put in the place of the old one. A schedule that adapts to losses knows of no end, and stays.

    Args:
        trainer: that trains, by a schedule that it made itself.
        steps: of the whole run.
    """
    # Accelerate's wrapper has it inside.
    schedule = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    if not isinstance(schedule, LambdaLR):
        return
    # A schedule sets the rates of the optimizer that it is made for, so this one is made for another.
    rate = schedule.optimizer.defaults["lr"]
    stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    used, trainer.lr_scheduler = trainer.lr_scheduler, None
    try:
        fresh = trainer.create_scheduler(steps, optimizer=stand_in)
    finally:
        trainer.lr_scheduler = used
    schedule.lr_lambdas = [fresh.lr_lambdas[0]] * len(schedule.lr_lambdas)


def warmup_as_share(args: TrainingArguments, steps: int) -> float:
    """`warmup_steps` as a fraction, so that a shorter run has a warm-up that is shorter in proportion.

    Args:
        args: of the Trainer.
        steps: of the run that `warmup_steps` was meant for; that run gets the same number of steps by the fraction.

    Example:
        >>> args = TrainingArguments(warmup_steps=50, use_cpu=True)
        >>> args.warmup_steps = warmup_as_share(args, 1800)
        >>> args.get_warmup_steps(1800), args.get_warmup_steps(360)
        (50, 10)
    """
    warmup = float(args.warmup_steps)
    # Half a step less, because the Trainer rounds up.
    return warmup if warmup < 1 or warmup > steps else (int(warmup) - 0.5) / steps
