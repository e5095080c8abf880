"""The Trainer, for batches that alternate between tasks or mix them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from peft_pod.processing import (
    EvaluationSamples,
    MixedBatchSampler,
    PODCollator,
    PODProcessor,
    TaskAlternatingBatchSampler,
    TrainingSamples,
)
from peft_pod.processing.collator import IGNORED_LABEL
from peft_pod.processing.sampler import SampleKey, TaskBatchSampler
from peft_pod.tuner import PODModel

from .arguments import PODTrainingArguments
from .checkpoints import evaluation_due, last_checkpoint
from .distillation import DistillingTrainer
from .embedding_rate import set_rate_ratio, token_embeddings
from .finite import FiniteLosses
from .interruption import Interruptible
from .progress import use_progress
from .sharding import check_sharding, embeddings_in_one_unit, gather_weights, shards_weights
from .speed import training_speed
from .throughput import CountsTokens
from .time_limited import TimeLimited
from .validation import RanksValidation, check_best_metric

_SAMPLES_CHECKED = 4
MODEL_COLUMNS = ("input_ids", "attention_mask", "whole_word_ids", "task_id", "labels")


class PODTrainer(CountsTokens, TimeLimited, FiniteLosses, DistillingTrainer, Interruptible):
    """Trains a POD model by task-alternated batches (POD paper, section 3.3), or by mixed ones (`batch_tasks`).

    A loss is the mean over the answers' tokens, also over those of several processes: each step of two processes is
    the step of one with twice the batch, and the validation losses do not depend on how samples are dealt out.

    With a `distillation_weight`, the loss also draws the answers to bare questions towards those to questions with a
    template; see `peft_pod.training.distillation`.

    Where the adapter trains some of its tasks alone (`train_tasks`), batches are of those; validation is of all.

    A checkpoint is there whole or not at all; SIGTERM and a loss that is not finite stop training in order: see
    `AtomicCheckpoints`, `Interruptible` and `FiniteLosses`.

    With `max_minutes`, training ends in time, its learning rate schedule included: see `TimeLimited`.

    With `rank_validation`, each validation also ranks items, and the best model may be chosen by that: the loss of a
    recommender may rise, since it becomes surer of what it gets wrong, while it finds more of what users took next.

    Everything else is the Trainer's: devices, precision and processes through Accelerate, resuming.

    Args:
        model: a PEFT model with a POD adapter.
        args: the training arguments.
        processor: its tasks must be those of the adapter, in the same order.
        train_dataset: the training samples.
        eval_dataset: validation samples of each task, by name.
        rank_validation: ranks items for samples of the validation part, such as `peft_pod.metrics.ValidationRanking`;
            what it measures is `eval_<task>_<metric>@<k>`.
        callbacks: see `Trainer`.
        **kwargs: see `Trainer`.

    Raises:
        ValueError: the model has no POD adapter, or other tasks than the processor; a template of a task is too long
            for the model; `metric_for_best_model` is nothing that validations measure; or an optimizer is given beside
            an `embedding_lr_ratio`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        args: PODTrainingArguments,
        *,
        processor: PODProcessor,
        train_dataset: TrainingSamples | None = None,
        eval_dataset: dict[str, EvaluationSamples] | None = None,
        rank_validation: RanksValidation | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **kwargs: Any,
    ) -> None:
        check_tasks(model, processor)
        if isinstance(eval_dataset, dict) and args.load_best_model_at_end:
            # The Trainer would find out only after the first evaluation.
            check_best_metric(args.metric_for_best_model, eval_dataset, rank_validation)
        _check_optimizer(args, kwargs)
        if train_dataset is not None and processor.max_input_length is not None:
            _check_lengths(train_dataset)
        if train_dataset is not None and args.distillation_weight > 0:
            train_dataset = train_dataset.with_bare_questions()
        self.processor = processor
        self.rank_validation = rank_validation
        self._loss_sums = torch.zeros(len(processor.tasks))
        self._loss_counts = torch.zeros(len(processor.tasks))
        self._eval_loss, self._eval_tokens = 0.0, 0
        callbacks = list(callbacks)
        if args.early_stopping_patience is not None and eval_dataset and args.eval_strategy != "no":
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
        # The Trainer takes a model whose `forward` has `**kwargs` for one that divides its loss by the number of tokens
        # in all processes and accumulated batches. T5 and BART have them and don't: their loss is the mean of a batch,
        # which the Trainer would then multiply by the number of processes and not divide by that of batches.
        self.model_accepts_loss_kwargs = False
        use_progress(self)
        check_sharding(self.accelerator)
        self._whole: torch.nn.Module | None = None

    def get_train_dataloader(self) -> DataLoader:
        """Batches of one task each, the same task on all ranks at a step; or mixed ones.

        Raises:
            ValueError: there is no training dataset.
        """
        if self.train_dataset is None:
            raise ValueError("PODTrainer needs a train_dataset to train")
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        kind = MixedBatchSampler if self.args.batch_tasks == "mixed" else TaskAlternatingBatchSampler
        sampler = kind(
            self.train_dataset.sizes,
            self._train_batch_size,
            seed=seed,
            num_processes=self.args.world_size,
            tasks=self.trained_tasks(),
            length=self.train_dataset.length if self.args.length_bucketing else None,
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

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """See `Trainer`; token embeddings get a learning rate of their own where one is asked for."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if made and self.args.embedding_lr_ratio != 1:
            set_rate_ratio(optimizer, token_embeddings(cast(PeftModel, self.model)), self.args.embedding_lr_ratio)
        return optimizer

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        if self._whole is None and shards_weights(self.accelerator):
            self._whole = copy.deepcopy(self.model)
        with embeddings_in_one_unit(self.model) if self.accelerator.is_fsdp2 else nullcontext():
            return super()._prepare_for_training(*args, **kwargs)

    def whole_model(self) -> PeftModel:
        """The trained model, whole in each process: a copy where processes share out its weights.

        All processes must call it.
        """
        if self._whole is None:
            return cast(PeftModel, self.model)
        gather_weights(self.accelerator, self.model_wrapped, self._whole)
        return cast(PeftModel, self._whole.to(self.args.device))

    def trained_tasks(self) -> list[int]:
        """IDs of the tasks whose samples are trained on, in the order in which they take turns."""
        config = cast(PeftModel, self.model).active_peft_config
        if config.train_tasks is None:
            return list(range(len(self.processor.tasks)))
        return [config.task_keys.index(config.task_key(task)) for task in config.train_tasks]

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; see `Trainer`. Where training had ended at the checkpoint, the model is loaded and nothing else done.

        Args:
            resume_from_checkpoint: folder of a checkpoint, or `True` for the last one that was written to the end.
            *args: see `Trainer`.
            **kwargs: likewise.

        Raises:
            FileNotFoundError: there is no checkpoint to go on from, or it lacks a file.
            SystemExit: with 143, after SIGTERM, once a checkpoint is saved; after Ctrl-C, `KeyboardInterrupt`.
            NonFiniteLossError: a loss or its gradient is NaN or infinite.
            ValueError: `max_minutes` cannot be kept; see `plan_length`.
        """
        found = last_checkpoint(str(self.args.output_dir))
        if resume_from_checkpoint is True:
            if found is None:
                raise FileNotFoundError(f"{self.args.output_dir} holds no checkpoint to go on from")
            resume_from_checkpoint = str(found)
        self.plan_length(str(resume_from_checkpoint) if resume_from_checkpoint else None)
        if resume_from_checkpoint and self.had_ended(Path(resume_from_checkpoint)):
            return self._load_ended(Path(resume_from_checkpoint))
        with training_speed(self.model, self.args):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def load_weights(self, folder: Path) -> None:
        """Load what is trained from a checkpoint, or from a folder of `save_pretrained`.

        Args:
            folder: of either.
        """
        if shards_weights(self.accelerator):  # not yet
            cast(PeftModel, self.model).load_adapter(str(folder), self.model.active_adapter, is_trainable=True)
        else:
            self._load_from_checkpoint(str(folder))

    def had_ended(self, checkpoint: Path) -> bool:
        """Whether training had ended at a checkpoint, by its length or by stopping early: `train` only loads it then.

        Args:
            checkpoint: its folder.
        """
        # The Trainer would take one step more, or go on for an epoch after it had stopped early.
        path = checkpoint / TRAINER_STATE_NAME
        if not path.is_file() or evaluation_due(checkpoint):
            return False
        state = TrainerState.load_from_json(str(path))
        if self.args.max_steps > 0:
            reached = state.global_step >= self.args.max_steps
        else:
            reached = (state.epoch or 0) >= self.args.num_train_epochs
        saved = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, {})
        waited = saved.get("attributes", {}).get("early_stopping_patience_counter", 0) if isinstance(saved, dict) else 0
        patience = self.args.early_stopping_patience
        return reached or (patience is not None and waited >= patience)

    def _load_ended(self, checkpoint: Path) -> TrainOutput:
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint:
            # Beside this one, also where the folder of the run was moved.
            checkpoint = checkpoint.parent / Path(self.state.best_model_checkpoint).name
        self.load_weights(checkpoint)
        return TrainOutput(self.state.global_step, math.nan, {})

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """The model's loss; what it was for which task is kept for the log, of mixed batches by `MixedBatchLosses`."""
        task_id = inputs["task_id"][:1]
        weight = self._weight(inputs["labels"]) if model.training and self.args.world_size > 1 else None
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if weight is not None:
            result = (result[0] * weight, *result[1:]) if isinstance(result, tuple) else result * weight
        if model.training and self.args.batch_tasks == "alternated":
            loss = result[0] if isinstance(result, tuple) else result
            self._loss_sums = self._loss_sums.to(loss.device).index_add(0, task_id, loss.detach().float().reshape(1))
            self._loss_counts = self._loss_counts.to(loss.device).index_add(
                0, task_id, torch.ones(1, device=loss.device)
            )
        return result

    def _weight(self, labels: torch.Tensor) -> torch.Tensor:
        """What a process' mean loss is multiplied by, so that the mean over processes is the mean over all tokens."""
        tokens = (labels != IGNORED_LABEL).sum()
        return tokens * self.args.world_size / self.accelerator.reduce(tokens.clone(), reduction="sum")

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
        """Take the loss of each task, and their mean; with `rank_validation` also rank items.

        Args:
            eval_dataset: samples by task, whose losses are taken; by default those the Trainer was made with, and
                items are ranked too.
            ignore_keys: see `Trainer`.
            metric_key_prefix: put before the names of what is returned.
            **kwargs: see `Seq2SeqTrainer`.

        Returns:
            For each task the mean loss over all tokens of its answers, whatever batches or processes they are in:
            `eval_<task>_loss` for each task, `eval_loss`, their mean, what `rank_validation` measures, each with
            `eval_` in front, and how long it took.
        """
        datasets = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(datasets, dict):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix, **kwargs)
        if not datasets:
            raise ValueError("there is nothing to evaluate: eval_dataset has no tasks")
        metrics: dict[str, float] = {}
        for name, dataset in datasets.items():
            self._eval_loss, self._eval_tokens = 0.0, 0
            output = self.evaluation_loop(
                self.get_eval_dataloader(self._padded(dataset)),
                description=f"Evaluation of {name}",
                prediction_loss_only=True,
                ignore_keys=ignore_keys,
                metric_key_prefix=f"{metric_key_prefix}_{name}",
            )
            sums = torch.tensor([self._eval_loss, float(self._eval_tokens)], device=self.args.device)
            total, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
            metrics.update(output.metrics)
            metrics[f"{metric_key_prefix}_{name}_loss"] = total / tokens
        losses = [metrics[f"{metric_key_prefix}_{name}_loss"] for name in datasets]
        metrics[f"{metric_key_prefix}_loss"] = sum(losses) / len(losses)
        if eval_dataset is None and self.rank_validation is not None:
            measured = self.rank_validation(self.whole_model())
            metrics.update({f"{metric_key_prefix}_{name}": value for name, value in measured.items()})
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """See `Trainer`; sums up the loss over tokens too."""
        tokens = int((inputs["labels"] != IGNORED_LABEL).sum()) if "labels" in inputs else 0
        result = super().prediction_step(model, inputs, *args, **kwargs)
        if result[0] is not None and tokens:
            self._eval_loss += float(result[0]) * tokens
            self._eval_tokens += tokens
        return result

    def _padded(self, dataset: EvaluationSamples) -> Dataset[dict[str, Any]]:
        # Accelerate fills the last batches of several processes with samples that were there already. These count not.
        if self.args.world_size == 1:
            return dataset
        return _Padded(dataset, self.args.world_size * self.args.eval_batch_size)

    def _set_signature_columns_if_needed(self) -> None:
        # The base's forward, which the Trainer looks at, does not name what the tuner takes.
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *MODEL_COLUMNS]))


class _Padded(Dataset[dict[str, Any]]):
    """A dataset with samples added whose answers don't count, until its length is a multiple of a number."""

    def __init__(self, dataset: EvaluationSamples, multiple: int) -> None:
        self.dataset = dataset
        self.length = -(-len(dataset) // multiple) * multiple

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < len(self.dataset):
            return self.dataset[index]
        sample = self.dataset[0]
        return {**sample, "labels": [IGNORED_LABEL] * len(sample["labels"])}


class _EpochSetter(TrainerCallback):
    def __init__(self, sampler: TaskBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch))


def _check_optimizer(args: PODTrainingArguments, given: Mapping[str, Any]) -> None:
    optimizer = (given.get("optimizers") or (None, None))[0]
    if args.embedding_lr_ratio != 1 and (optimizer is not None or given.get("optimizer_cls_and_kwargs") is not None):
        raise ValueError(
            f"embedding_lr_ratio is {args.embedding_lr_ratio}, and an optimizer was given, whose rates are its own: "
            "leave one of them out"
        )


def _check_lengths(samples: TrainingSamples) -> None:
    # Which template a sample has is drawn, so one that is too long might come up only after hours.
    for number, task in enumerate(samples.processor.tasks):
        for index in range(min(_SAMPLES_CHECKED, samples.sizes[number])):
            sample = samples.sample(SampleKey(number, index, 0))
            for template in (*task.templates, task.bare):
                samples.processor(replace(sample, template=template), task.name)


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
