"""Dropout from few random bits.

PyTorch draws a floating-point number for every element that may be dropped; on a CPU that takes longer than the
matrix products between two dropouts. Here one random number of 64 bits decides over four elements, 16 bits each. So the
probability is rounded to a multiple of 1/65536; what is kept is scaled by exactly what was rounded to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import nn

_LEVELS = 2**16
_LOWEST = -(2**15)
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def threshold(probability: float) -> int:
    """A probability in 65536ths.

    Raises:
        ValueError: it is not between 0 and 1.

    Example:
        >>> threshold(0.5)
        32768
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"a dropout probability is between 0 and 1, got {probability}")
    return round(probability * _LEVELS)


def dropped(
    shape: torch.Size, probability: float, device: torch.device, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw which elements are dropped: `True` with the rounded probability, each on its own."""
    level = threshold(probability)
    if level in (0, _LEVELS):
        return torch.full(shape, level > 0, device=device)
    bits = torch.empty(-(-shape.numel() // 4), dtype=torch.int64, device=device)
    bits.random_(-(2**63), None, generator=generator)
    return (bits.view(torch.int16)[: shape.numel()] < _LOWEST + level).view(shape)


def erase_(values: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    """Set elements to zero in place, and return the values.

    Done on the bits, which a CPU does several times faster than `masked_fill_`.

    Example:
        >>> erase_(torch.ones(3), torch.tensor([False, True, False]))
        tensor([1., 0., 1.])
    """
    whole = _WHOLE[values.element_size()]
    values.view(whole).bitwise_and_(gone.to(whole).sub_(1))
    return values


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: torch.Tensor, probability: float) -> torch.Tensor:
        gone = dropped(values.shape, probability, values.device)
        context.save_for_backward(gone)
        kept = 1 - threshold(probability) / _LEVELS
        context.scale = 1 / kept if kept else 0.0
        return erase_(values * context.scale, gone)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gone,) = context.saved_tensors
        return erase_(gradients[0] * context.scale, gone), None


def fast_dropout(values: torch.Tensor, probability: float) -> torch.Tensor:
    """Drop elements with a probability and scale the others, so that the mean stays; draws from PyTorch's seed.

    Example:
        >>> fast_dropout(torch.ones(3), 0.0)
        tensor([1., 1., 1.])
    """
    return cast(torch.Tensor, _Dropout.apply(values, probability))


def _forward(module: nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    if not module.training or not module.p or torch.compiler.is_compiling():
        return nn.functional.dropout(values, module.p, module.training)
    return fast_dropout(values, module.p)


@contextmanager
def faster_dropout(model: nn.Module) -> Iterator[None]:
    """Let a model's `nn.Dropout` modules draw by `fast_dropout` for a while; its parts are the same afterwards.

    Architectures that call `torch.nn.functional.dropout` themselves, as BART does, are not changed.

    Args:
        model: the model.
    """
    modules = [module for module in model.modules() if type(module) is nn.Dropout and "forward" not in vars(module)]
    for module in modules:
        vars(module)["forward"] = partial(_forward, module)
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]
