"""The Trainer, for batches that alternate between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Seq2SeqTrainer, TrainerCallback

from peft_pod.processing import (
    EvaluationSamples,
    PODCollator,
    PODProcessor,
    TaskAlternatingBatchSampler,
    TrainingSamples,
)
from peft_pod.tuner import PODModel

from .arguments import PODTrainingArguments

MODEL_COLUMNS = ("input_ids", "attention_mask", "whole_word_ids", "task_id", "labels")


class PODTrainer(Seq2SeqTrainer):
    """Trains a POD model by task-alternated batches (POD paper, section 3.3).

    Everything else is the Trainer's: devices, precision and processes through Accelerate, checkpoints, resuming.

    Args:
        model: a PEFT model with a POD adapter.
        args: the training arguments.
        processor: its tasks must be those of the adapter, in the same order.
        train_dataset: the training samples.
        eval_dataset: validation samples of each task, by name.
        callbacks: see `Trainer`.
        **kwargs: see `Trainer`.

    Raises:
        ValueError: the model has no POD adapter, or other tasks than the processor.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        args: PODTrainingArguments,
        *,
        processor: PODProcessor,
        train_dataset: TrainingSamples | None = None,
        eval_dataset: dict[str, EvaluationSamples] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **kwargs: Any,
    ) -> None:
        check_tasks(model, processor)
        self.processor = processor
        self._loss_sums = torch.zeros(len(processor.tasks))
        self._loss_counts = torch.zeros(len(processor.tasks))
        callbacks = list(callbacks)
        if args.early_stopping_patience is not None and eval_dataset:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))
        super().__init__(
            model=model,
            args=args,
            data_collator=PODCollator(processor.tokenizer.pad_token_id),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processor.tokenizer,
            callbacks=callbacks,
            **kwargs,
        )

    def get_train_dataloader(self) -> DataLoader:
        """Batches of one task each, the same task on all ranks at a step.

        Raises:
            ValueError: there is no training dataset.
        """
        if self.train_dataset is None:
            raise ValueError("PODTrainer needs a train_dataset to train")
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        sampler = TaskAlternatingBatchSampler(
            self.train_dataset.sizes,
            self._train_batch_size,
            seed=seed,
            num_processes=self.args.world_size,
        )
        # Accelerate and the Trainer forget to pass the epoch on where batches are both dealt out and skipped.
        self.remove_callback(_EpochSetter)
        self.add_callback(_EpochSetter(sampler))
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """The model's loss; what it was for which task is kept for the log."""
        task_id = inputs["task_id"][:1]
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if model.training:
            loss = result[0] if isinstance(result, tuple) else result
            self._loss_sums = self._loss_sums.to(loss.device).index_add(0, task_id, loss.detach().float().reshape(1))
            self._loss_counts = self._loss_counts.to(loss.device).index_add(
                0, task_id, torch.ones(1, device=loss.device)
            )
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean training loss of each task since the last time."""
        if "loss" in logs:
            totals = self.accelerator.reduce(torch.stack([self._loss_sums, self._loss_counts]), reduction="sum")
            for name, (loss, count) in zip(self.processor.task_names, totals.T.tolist(), strict=True):
                if count:
                    logs[f"loss_{name}"] = loss / count
            self._loss_sums = torch.zeros_like(self._loss_sums)
            self._loss_counts = torch.zeros_like(self._loss_counts)
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **kwargs: Any,
    ) -> dict[str, float]:
        """Take the loss of each task, and their mean.

        Args:
            eval_dataset: samples by task; by default those the Trainer was made with.
            ignore_keys: see `Trainer`.
            metric_key_prefix: put before the names of what is returned.
            **kwargs: see `Seq2SeqTrainer`.

        Returns:
            `eval_<task>_loss` for each task, `eval_loss`, their mean, and how long it took.
        """
        datasets = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(datasets, dict):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix, **kwargs)
        if not datasets:
            raise ValueError("there is nothing to evaluate: eval_dataset has no tasks")
        metrics: dict[str, float] = {}
        for name, dataset in datasets.items():
            output = self.evaluation_loop(
                self.get_eval_dataloader(dataset),
                description=f"Evaluation of {name}",
                prediction_loss_only=True,
                ignore_keys=ignore_keys,
                metric_key_prefix=f"{metric_key_prefix}_{name}",
            )
            metrics.update(output.metrics)
        losses = [metrics[f"{metric_key_prefix}_{name}_loss"] for name in datasets]
        metrics[f"{metric_key_prefix}_loss"] = sum(losses) / len(losses)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _set_signature_columns_if_needed(self) -> None:
        # The base's forward, which the Trainer looks at, does not name what the tuner takes.
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *MODEL_COLUMNS]))


class _EpochSetter(TrainerCallback):
    def __init__(self, sampler: TaskAlternatingBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch))


def check_tasks(model: torch.nn.Module, processor: PODProcessor) -> None:
    """Check that a model was made for the tasks of a processor.

    Raises:
        ValueError: it has no POD adapter, or its tasks are others or in another order.
    """
    tuner = getattr(model, "base_model", None)
    if not isinstance(tuner, PODModel):
        raise ValueError("the model has no POD adapter: make it by get_peft_model(model, PODConfig(...))")
    for name, config in tuner.peft_config.items():
        if config.tasks is None and config.num_tasks == len(processor.tasks):
            continue
        if config.tasks != processor.task_names:
            raise ValueError(
                f"adapter {name!r} has the tasks {config.tasks or config.num_tasks}, the processor "
                f"{processor.task_names}: they must be the same in the same order"
            )
