"""Training that stops at a loss that is not a finite number, and keeps the batch for inspection."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import Seq2SeqTrainer

from peft_pod.files import replacing, write_text
from peft_pod.processing import PODProcessor
from peft_pod.processing.collator import IGNORED_LABEL

NON_FINITE_FOLDER = "non_finite"
_MOST_UNCHECKED = 16


class NonFiniteLossError(FloatingPointError):
    """A training loss, its gradient or a validation loss is NaN or infinite."""


class FiniteLosses(Seq2SeqTrainer):
    """A Trainer that stops when a loss or the norm of its gradient is NaN or infinite.

    On the CPU both are looked at before the optimizer's step, so the weights stay as they were. An accelerator would
    have to wait for each look, so it is looked at after 16 steps and before every log line, validation and
    checkpoint: the weights in memory may have been spoiled by then, those in checkpoints never are. In several
    processes all see the same norm, and stop at the same step.

    The batch, with what is known of it, is written into `non_finite/` in `output_dir`.

    Under a gradient scaler (`fp16`), which itself skips steps whose gradient is not finite, only losses are looked at.
    """

    processor: PODProcessor
    _unchecked: list[tuple[str, int, torch.Tensor, dict[str, Any]]]
    _batch: dict[str, Any]

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """See `Trainer`."""
        if not model.training:
            return super().compute_loss(model, inputs, *args, **kwargs)
        self._batch = dict(inputs)
        result = super().compute_loss(model, inputs, *args, **kwargs)
        self._batch["loss"] = (result[0] if isinstance(result, tuple) else result).detach()
        # Of several processes, those whose loss is finite would wait for the others: they look at the norm alone.
        if self.args.world_size == 1:
            self._watch("loss", self._batch["loss"])
        return result

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None and getattr(self.accelerator, "scaler", None) is None:
            norm_here = torch.as_tensor(norm).detach()
            # Where processes share out the weights, each has a part of the norm; all of them come by here.
            self._watch("gradient norm", norm_here.full_tensor() if isinstance(norm_here, DTensor) else norm_here)
        return norm

    def _watch(self, what: str, value: torch.Tensor) -> None:
        self._unchecked = [*getattr(self, "_unchecked", []), (what, self.state.global_step + 1, value, self._batch)]
        if self._looks_at_once() or len({step for _, step, _, _ in self._unchecked}) > _MOST_UNCHECKED:
            self.check_finite()

    def _looks_at_once(self) -> bool:
        return bool(self.args.device.type == "cpu")

    def check_finite(self) -> None:
        """Look at what has been seen since the last time.

        Raises:
            NonFiniteLossError: a loss or gradient was NaN or infinite; the message names the file of the batch.
        """
        unchecked, self._unchecked = getattr(self, "_unchecked", []), []
        if not unchecked:
            return
        values = torch.stack([value.float().reshape(()) for _, _, value, _ in unchecked]).tolist()
        for value, (what, step, _, batch) in zip(values, unchecked, strict=True):
            if not math.isfinite(value):
                self._stop(what, value, step, batch)

    def _stop(self, what: str, value: float, step: int, batch: dict[str, Any]) -> NoReturn:
        tasks = [self.processor.task_names[task] for task in batch["task_id"].tolist()]
        path = self._save_batch(what, value, step, tasks, batch)
        names = list(dict.fromkeys(tasks))
        named = f"{'task' if len(names) == 1 else 'tasks'} {', '.join(map(repr, names))}"
        options = [f"lower --learning_rate ({self.args.learning_rate} now)"]
        options += [f"take full precision by --{name} false" for name in ("bf16", "fp16") if getattr(self.args, name)]
        raise NonFiniteLossError(
            f"the {what} of step {step} ({named}) is {value}, so training has stopped and nothing was saved "
            f"since; the batch is in {path}: {', or '.join(options)}, and start a new run, since a checkpoint "
            "keeps the learning rate it was written with"
        )

    def _save_batch(self, what: str, value: float, step: int, tasks: list[str], batch: dict[str, Any]) -> Path:
        folder = Path(self.args.output_dir) / NON_FINITE_FOLDER
        path = folder / f"step-{step}-process-{self.args.process_index}.json"
        tensors = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in batch.items()
            if isinstance(tensor, torch.Tensor)
        }
        with replacing(path.with_suffix(".safetensors")) as temporary:
            save_file(tensors, temporary)
        tokenizer = self.processor.tokenizer
        labels = tensors["labels"].masked_fill(tensors["labels"] == IGNORED_LABEL, tokenizer.pad_token_id)
        known = {
            "what": what,
            "value": str(value),
            "step": step,
            "epoch": self.state.epoch,
            "tasks": tasks,
            "loss": str(float(tensors["loss"])),
            "learning_rate": self._get_learning_rate(),
            "inputs": tokenizer.batch_decode(tensors["input_ids"], skip_special_tokens=True),
            "answers": tokenizer.batch_decode(labels, skip_special_tokens=True),
        }
        write_text(path, json.dumps(known, indent=1, ensure_ascii=False))
        return path

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self.check_finite()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self.check_finite()
        super()._save_checkpoint(model, trial)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics: dict[str, float] = super()._evaluate(*args, **kwargs)
        for name, value in metrics.items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise NonFiniteLossError(
                    f"{name} is {value} after step {self.state.global_step}, so training has stopped: lower "
                    f"--learning_rate ({self.args.learning_rate} now), and start a new run"
                )
        return metrics
