"""Training for a few steps as if it had never been."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .states import random_state, set_random_state

if TYPE_CHECKING:
    from transformers import Trainer

_WRAPPED = ("forward", "_original_forward")
"""What Accelerate sets on a model for mixed precision."""


@contextmanager
def put_back(trainer: Trainer) -> Iterator[None]:
    """Let a trainer train and validate for a while, then put everything back: a training after it is as without it.

    Weights, buffers, gradients, random generators, a gradient scaler and all that the trainer itself holds: optimizer,
    schedule, state, sums of losses. The copy of the weights is on the CPU. What is written stays, so nothing should be.

    Args:
        trainer: whose model is not dealt out to processes, and which has no schedule of the caller's.
    """
    model: nn.Module = trainer.model
    held = dict(vars(trainer))
    control = copy.deepcopy(trainer.control)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = [(tensor, tensor.detach().to("cpu", copy=True)) for tensor in (*trained, *model.buffers())]
    gradients = [(parameter, parameter.grad) for parameter in trained]
    modes = [(module, module.training) for module in model.modules()]
    wrapped = {name: vars(model)[name] for name in _WRAPPED if name in vars(model)}
    # One that the caller made is the same object afterwards, and had taken steps.
    optimizer = None if trainer.optimizer is None else copy.deepcopy(trainer.optimizer.state_dict())
    scaler = getattr(trainer.accelerator, "scaler", None)
    scale = None if scaler is None else scaler.state_dict()
    random = random_state(trainer.args.device)
    try:
        yield
    finally:
        vars(trainer).clear()
        vars(trainer).update(held)
        vars(trainer.control).update(vars(control))
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
        _set(model, wrapped)
        if optimizer is not None:
            trainer.optimizer.load_state_dict(optimizer)
        if scaler is not None:
            scaler.load_state_dict(scale)
        trainer.accelerator.free_memory()
        # Wrappers of several processes leave the model alone only once they are gone.
        gc.collect()
        set_random_state(random, trainer.args.device)


def _set(model: nn.Module, wrapped: dict[str, Any]) -> None:
    for name in _WRAPPED:
        vars(model).pop(name, None)
    vars(model).update(wrapped)
