"""Counting what training has seen, to say how fast it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from peft_pod.processing.collator import IGNORED_LABEL

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object


@dataclass(frozen=True)
class Seen:
    """What training has seen since this process began, over all processes.

    Attributes:
        samples: how many samples.
        input_tokens: their tokens, padding and prompts left out.
        answer_tokens: the tokens of their answers.
    """

    samples: int
    input_tokens: int
    answer_tokens: int


class CountsTokens(_Base):
    """Part of `PODTrainer`: counts samples and tokens of training steps, without making an accelerator wait."""

    _counted: torch.Tensor | None = None

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """See `Trainer`; counts the batch too."""
        mask, labels = inputs["attention_mask"], inputs["labels"]
        samples = torch.full((), len(labels), device=labels.device)
        counts = torch.stack([samples, mask.sum(), (labels != IGNORED_LABEL).sum()])
        self._counted = counts if self._counted is None else self._counted.to(counts.device) + counts
        return super().training_step(model, inputs, *args, **kwargs)

    def seen(self) -> Seen:
        """What training has seen since this process began; all processes must call it."""
        counted = torch.zeros(3, dtype=torch.long) if self._counted is None else self._counted
        total = self.accelerator.reduce(counted.to(self.args.device), reduction="sum")
        return Seen(*total.tolist())
