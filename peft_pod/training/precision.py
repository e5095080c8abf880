"""Whether bf16 pays on a machine.

Processors differ: with matrix units (AMX) a product in bf16 takes a fraction of the time it takes in float32, and with
vector instructions alone it may take twice as long. So it is measured.
"""

from __future__ import annotations

import time
from statistics import median

import torch

_ROWS = 2048
_REPEATS = 7


def bf16_speedup(width: int, inner: int, device: torch.device | str = "cpu") -> float:
    """How many times faster a matrix product is in bf16 than in float32 on a device, as it is busy now.

    Both kinds take turns, so that other work on the machine counts for both.

    Args:
        width: of the model.
        inner: of its feed-forward layers.
        device: where.

    Example:
        >>> bf16_speedup(64, 128) > 0
        True
    """
    kinds = (torch.float32, torch.bfloat16)
    operands = [
        (torch.ones(_ROWS, width, dtype=kind, device=device), torch.ones(inner, width, dtype=kind, device=device))
        for kind in kinds
    ]
    seconds: list[list[float]] = [[], []]
    with torch.no_grad():
        # The first round compiles kernels.
        for round_ in range(_REPEATS + 1):
            for taken, (rows, weight) in zip(seconds, operands, strict=True):
                _wait(rows)
                began = time.perf_counter()
                torch.nn.functional.linear(rows, weight)
                _wait(rows)
                if round_:
                    taken.append(time.perf_counter() - began)
    plain, half = map(median, seconds)
    return plain / half


def _wait(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
