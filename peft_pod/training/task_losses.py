"""The training loss of each task where a batch mixes them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from peft_pod.processing import PODProcessor
from peft_pod.processing.collator import IGNORED_LABEL

from .smoothing import SmoothsLabels, logits_of


def token_losses(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """The cross-entropy of each token, whose mean over the tokens that count is the loss of the batch.

    Args:
        logits: shape `(batch, length, vocabulary)`.
        labels: shape `(batch, length)`; tokens with the label −100 don't count.
        smoothing: as `TrainingArguments.label_smoothing_factor`.

    Returns:
        Shape `(batch, length)`, in float32 whatever the logits are, and 0 for tokens that don't count.

    Example:
        >>> token_losses(torch.tensor([[[0.0, 0.0], [3.0, 0.0]]]), torch.tensor([[1, -100]]))
        tensor([[0.6931, 0.0000]])
    """
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="none",
        label_smoothing=smoothing,
    )
    return losses.view_as(labels)


def sums_by_task(by_token: torch.Tensor, labels: torch.Tensor, task_id: torch.Tensor, num_tasks: int) -> torch.Tensor:
    """Sums over the tokens of each task's answers.

    Args:
        by_token: what is summed up, shape `(batch, length)`; 0 for tokens that don't count.
        labels: likewise; tokens with the label −100 don't count.
        task_id: the task of each row.
        num_tasks: how many tasks there are.

    Returns:
        Shape `(num_tasks, 2)`: for each task the sum, and how many tokens it is of.

    Example:
        >>> labels = torch.tensor([[7, 8], [7, -100], [9, 9]])
        >>> sums_by_task(torch.tensor([[1.0, 2.0], [3.0, 0.0], [4.0, 5.0]]), labels, torch.tensor([1, 0, 1]), 3)
        tensor([[ 3.,  1.],
                [12.,  4.],
                [ 0.,  0.]])
    """
    rows = torch.stack([by_token.sum(1), (labels != IGNORED_LABEL).sum(1).to(by_token)], dim=1)
    return rows.new_zeros(num_tasks, 2).index_add(0, task_id, rows)


class MixedBatchLosses(SmoothsLabels):
    """The part of `PODTrainer` that logs the loss of each task where batches mix them (`batch_tasks="mixed"`).

    The model tells the loss of a whole batch alone, so those of the tasks are computed from its logits once more. Each
    is the mean over the tokens of the task's answers since the last log, over all processes. What a base adds to its
    loss besides, such as that of routers, is no task's.
    """

    processor: PODProcessor
    _mixed_sums: torch.Tensor | None = None

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """See `Trainer`."""
        if self.args.batch_tasks != "mixed" or not model.training:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        labels, task_id = inputs["labels"], inputs["task_id"]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        by_token = token_losses(logits_of(outputs).detach(), labels, self.args.label_smoothing_factor)
        sums = sums_by_task(by_token, labels, task_id, len(self.processor.tasks))
        self._mixed_sums = sums if self._mixed_sums is None else self._mixed_sums + sums
        return (loss, outputs) if return_outputs else loss

    def add_to_mixed_losses(self, by_task: torch.Tensor) -> None:
        """Count something else that is part of the loss of the batch that was seen last.

        Args:
            by_task: for each task its sum over the answers' tokens.
        """
        if self._mixed_sums is not None:
            self._mixed_sums = self._mixed_sums + functional.pad(by_task[:, None], (0, 1))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the loss of each task in mixed batches since the last time."""
        if "loss" in logs and self.args.batch_tasks == "mixed":
            sums = torch.zeros(len(self.processor.tasks), 2, device=self.args.device)
            sums = self.accelerator.reduce(sums if self._mixed_sums is None else self._mixed_sums, reduction="sum")
            for name, (loss, tokens) in zip(self.processor.task_names, sums.tolist(), strict=True):
                if tokens:
                    logs[f"loss_{name}"] = loss / tokens
            self._mixed_sums = None
        super().log(logs, start_time)
