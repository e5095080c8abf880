"""The product from states to logits, in parts of the vocabulary that stay in a processor's cache."""

from __future__ import annotations

import torch

from .linear import Dense

_PART_TOKENS = 2048
_BLOCK_STATES = 256


class Head:
    """`x Wᵀ` over the vocabulary.

    All logits of a step of a decoder are tens of megabytes. What is only summed up is taken from one part of the
    vocabulary after the other.

    Args:
        rows: the weight of each token, float32, shape `(vocabulary, width)`.
        dtype: in which the product is computed.

    Attributes:
        rows: see there.

    Example:
        >>> head = Head(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), torch.float32)
        >>> head(torch.tensor([[1.0, 1.0]]))
        tensor([[1., 2., 3.]])
    """

    def __init__(self, rows: torch.Tensor, dtype: torch.dtype) -> None:
        self.rows = rows
        self._parts = [Dense(part.to(dtype)) for part in rows.split(_PART_TOKENS)]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """All logits, float32: `(..., width)` to `(..., vocabulary)`."""
        return torch.cat([part(states) for part in self._parts], dim=-1).float()

    def log_sums(self, states: torch.Tensor) -> torch.Tensor:
        """The logarithm of the sum of the exponentials of each state's logits: `(states, width)` to `(states,)`.

        Example:
            >>> head = Head(torch.eye(3), torch.float32)
            >>> head.log_sums(torch.zeros(1, 3)).exp()
            tensor([3.])
        """
        return torch.cat([self._log_sums(block) for block in states.split(_BLOCK_STATES)])

    def _log_sums(self, states: torch.Tensor) -> torch.Tensor:
        largest = states.new_full((len(states), 1), -torch.inf, dtype=torch.float32)
        sums = torch.zeros_like(largest)
        for part in self._parts:
            logits = part(states).float()
            before, largest = largest, torch.maximum(largest, logits.amax(1, keepdim=True))
            sums = sums.mul_((before - largest).exp_()).add_(logits.sub_(largest).exp_().sum(1, keepdim=True))
        return sums.log_().add_(largest)[:, 0]
