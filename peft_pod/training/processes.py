"""How many processes there are, and which one this is."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState


def process_state() -> PartialState:
    """The state of this process among those that `accelerate launch` or `torchrun` started; alone without them.

    Where there is no accelerator, or `ACCELERATE_USE_CPU` is set, the processes meet on the CPU. Accelerate itself
    takes each of them for the only one then, unless it is told, and all would train and write the same files.
    """
    return PartialState(cpu=runs_on_cpu())


def runs_on_cpu() -> bool:
    """Whether models run on the CPU."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") or not torch.accelerator.is_available():
        return True
    # Processes cannot talk to each other through Apple's accelerator.
    accelerator = torch.accelerator.current_accelerator()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and accelerator is not None and accelerator.type == "mps"
