"""Whole numbers to look up, in as few bytes as they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_TYPES = (np.int16, np.int32, np.int64)


def smallest_type(largest: int) -> type[np.signedinteger[Any]]:
    """The smallest of NumPy's whole numbers from 16 bits on that holds 0 to `largest`, and −1.

    Example:
        >>> smallest_type(32_767).__name__, smallest_type(32_768).__name__
        ('int16', 'int32')
    """
    return next(kind for kind in _TYPES if largest <= np.iinfo(kind).max)


class IndexTable:
    """A table of whole numbers from −1 on, held in 2, 4 or 8 bytes each.

    What is looked up has 8 bytes, as PyTorch wants it of indices.

    Args:
        values: the numbers; a flat array.

    Attributes:
        values: the same as a tensor of the smallest type that holds them.

    Example:
        >>> table = IndexTable(np.array([5, -1, 70_000]))
        >>> table.values.dtype, table[torch.tensor([2, 1])]
        (torch.int32, tensor([70000,    -1]))
    """

    def __init__(self, values: npt.NDArray[np.signedinteger[Any]]) -> None:
        kind = smallest_type(int(values.max(initial=0)))
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=kind))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.values[index].long()

    @property
    def nbytes(self) -> int:
        """How many bytes the numbers take."""
        return self.values.nbytes

    def tolist(self) -> list[int]:
        """All numbers."""
        return self.values.tolist()

    def to(self, device: torch.device | str) -> IndexTable:
        """The same table on a device."""
        moved = IndexTable.__new__(IndexTable)
        moved.values = self.values.to(device)
        return moved
