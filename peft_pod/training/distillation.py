"""Distillation taken literally: the model with a discrete template teaches the model with the prompts alone.

POD distils what the templates say into the prompts by training both on the same answers (POD paper, section 3.1). Here
the output distributions are drawn together as well, as in knowledge distillation (Hinton et al., 2015): for each token
of an answer the distribution after the bare question approaches the one after the question with its template.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from peft_pod.processing.collator import BARE, BARE_COLUMNS, IGNORED_LABEL

from .smoothing import logits_of
from .task_losses import MixedBatchLosses, sums_by_task


def divergence(
    teacher_logits: torch.Tensor, student_logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the answers' tokens (Hinton et al., 2015).

    No gradient reaches the teacher. The factor T² keeps gradients as large at every temperature.

    Args:
        teacher_logits: shape `(batch, length, vocabulary)`.
        student_logits: likewise.
        labels: shape `(batch, length)`; tokens with the label −100 don't count.
        temperature: T, above 0.

    Returns:
        A number, computed in float32 whatever the logits are.

    Example:
        >>> teacher, student = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 0.0]]])
        >>> round(float(divergence(teacher, student, torch.tensor([[1]]))), 4)
        0.3278
    """
    by_token = token_divergences(teacher_logits, student_logits, labels, temperature)
    return by_token.sum() / (labels != IGNORED_LABEL).sum()


def token_divergences(
    teacher_logits: torch.Tensor, student_logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """What `divergence` is the mean of: that of each token, shape `(batch, length)`, 0 where the label is −100.

    Args:
        teacher_logits: as for `divergence`.
        student_logits: likewise.
        labels: likewise.
        temperature: likewise.
    """
    teacher = functional.log_softmax(teacher_logits.detach().float() / temperature, dim=-1)
    student = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    by_token = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return temperature**2 * torch.where(labels != IGNORED_LABEL, by_token, 0.0)


class DistillingTrainer(MixedBatchLosses):
    """The part of `PODTrainer` that adds the divergence to the loss of batches that hold bare questions.

    Both passes are those of training, with dropout where there is some. The loss of other batches is as it was.
    """

    _divergences: torch.Tensor | None = None

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """See `Trainer`; with `distillation_weight` times the divergence."""
        if f"{BARE}input_ids" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        bare = {name.removeprefix(BARE): inputs[name] for name in BARE_COLUMNS}
        labels, task_id = inputs["labels"], inputs["task_id"]
        question = {name: tensor for name, tensor in inputs.items() if name not in BARE_COLUMNS}
        loss, outputs = super().compute_loss(model, question, return_outputs=True, **kwargs)
        # Labels make any architecture's decoder inputs; the loss that they give here is not used.
        answered = model(**bare, labels=labels, task_id=task_id)
        temperature, weight = self.args.distillation_temperature, self.args.distillation_weight
        by_token = token_divergences(logits_of(outputs), logits_of(answered), labels, temperature)
        sums = sums_by_task(by_token.detach(), labels, task_id, len(self.processor.tasks))
        self._divergences = sums if self._divergences is None else self._divergences + sums
        self.add_to_mixed_losses(weight * sums[:, 0])
        loss = loss + weight * (by_token.sum() / (labels != IGNORED_LABEL).sum())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with each task's divergence since the last time, the mean over tokens and without its weight."""
        if "loss" in logs and self.args.distillation_weight > 0:
            sums = torch.zeros(len(self.processor.tasks), 2, device=self.args.device)
            sums = self.accelerator.reduce(sums if self._divergences is None else self._divergences, reduction="sum")
            for name, (apart, tokens) in zip(self.processor.task_names, sums.tolist(), strict=True):
                if tokens:
                    logs[f"distillation_{name}"] = apart / tokens
            self._divergences = None
        super().log(logs, start_time)
