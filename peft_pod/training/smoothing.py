"""Labels that are smoothed (`label_smoothing_factor`), on any base.

The Trainer takes labels that it smooths away from the model, which then has nothing to make its decoder inputs from,
unless the collator does: one that knows the base. Here the model keeps its labels, which serve every architecture.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Seq2SeqTrainer


def logits_of(outputs: Any) -> torch.Tensor:
    """The logits in what a model returns for labels."""
    logits: torch.Tensor = outputs["logits"] if isinstance(outputs, dict) else outputs[1]
    return logits


class SmoothsLabels(Seq2SeqTrainer):
    """The part of `PODTrainer` that smooths labels, in training and, as the Trainer does, in validation."""

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """See `Trainer`."""
        if self.label_smoother is None or self.compute_loss_func is not None or "labels" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        outputs = model(**inputs)
        loss = self.label_smoother({"logits": logits_of(outputs)}, inputs["labels"])
        return (loss, outputs) if return_outputs else loss
