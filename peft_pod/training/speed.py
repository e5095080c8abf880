"""What makes a training run faster without changing what it learns, put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from .arguments import PODTrainingArguments
from .attention import base_of, using_attention
from .dropout import faster_dropout
from .memory import kept_memory


@contextmanager
def training_speed(model: torch.nn.Module, args: PODTrainingArguments) -> Iterator[None]:
    """Let a model train fast for a while, by what the arguments say; nothing of it is left on the model afterwards.

    Args:
        model: a PEFT model.
        args: `attention`, `fast_dropout` and `keep_memory` are looked at; the latter two on a CPU alone.

    Raises:
        ValueError: see `using_attention`.
    """
    with ExitStack() as stack:
        stack.enter_context(using_attention(base_of(model), args.attention))
        if args.device.type == "cpu":
            if args.fast_dropout:
                stack.enter_context(faster_dropout(model))
            if args.keep_memory:
                stack.enter_context(kept_memory())
        yield
