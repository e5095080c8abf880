"""Encoded samples to a batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED_LABEL = -100
BARE = "bare_"
"""Begins the names of what encodes the bare question of a sample, where the sample is asked by another template too."""

_PADDED_INPUTS = ("input_ids", "attention_mask", "whole_word_ids")
BARE_COLUMNS = tuple(f"{BARE}{name}" for name in _PADDED_INPUTS)


@dataclass(frozen=True)
class PODCollator:
    """Pads encoded samples on the right and stacks them.

    Padding has attention mask 0, whole-word ID 0 and label −100, which the loss leaves out. Bare questions beside
    those with a template (`bare_input_ids`, ...) are padded by themselves.

    Args:
        pad_token_id: the tokenizer's padding token.
        pad_to_multiple_of: make lengths a multiple of this, for hardware that likes it.

    Example:
        >>> batch = PODCollator(pad_token_id=0)([
        ...     {"input_ids": [5, 6], "attention_mask": [1, 1], "whole_word_ids": [1, 1], "task_id": 0, "labels": [7]},
        ...     {"input_ids": [5], "attention_mask": [1], "whole_word_ids": [1], "task_id": 0, "labels": [7, 8]},
        ... ])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[5, 6], [5, 0]], [[7, -100], [7, 8]])
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch: tensors of shape `(batch, length)`, and `task_id` of shape `(batch,)`."""
        padding = {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "whole_word_ids": 0,
            "labels": IGNORED_LABEL,
        }
        padding |= {f"{BARE}{name}": padding[name] for name in _PADDED_INPUTS}
        batch = {
            name: self._pad([sample[name] for sample in samples], value)
            for name, value in padding.items()
            if name in samples[0]
        }
        batch["task_id"] = torch.tensor([sample["task_id"] for sample in samples], dtype=torch.long)
        return batch

    def _pad(self, rows: list[list[int]], value: int) -> torch.Tensor:
        length = max(map(len, rows))
        if self.pad_to_multiple_of:
            length = -(-length // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return torch.tensor([row + [value] * (length - len(row)) for row in rows], dtype=torch.long)
