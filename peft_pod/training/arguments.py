"""Training arguments, with defaults that suit POD."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from transformers import Seq2SeqTrainingArguments

from .attention import Attention, check_attention
from .processes import runs_on_cpu

BatchTasks = Literal["alternated", "mixed"]

_POSITIVE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")


@dataclass
class PODTrainingArguments(Seq2SeqTrainingArguments):
    """Arguments of `PODTrainer`: those of `Seq2SeqTrainingArguments`, with other defaults and some more.

    The validation loss of each task and their mean are taken after every epoch; the model of the best mean is kept,
    and training stops once it has not become better for `early_stopping_patience` epochs in a row. What is best may be
    another of the things that a validation measures (`metric_for_best_model`), such as `eval_sequential_ndcg@10` where
    the trainer ranks items.

    Args:
        early_stopping_patience: consecutive validations without a better one after which training stops; `None` never
            stops early.
        embedding_lr_ratio: the learning rate of the base's token embeddings over `learning_rate`. Of a base from
            scratch they are most of what there is to learn, and each is touched by few batches. Where they are not
            trained it does nothing.
        distillation_weight: what the divergence between the answers to a question with its template and to the bare
            question is multiplied by before it is added to the loss; see `peft_pod.training.distillation`. With 0,
            which is the paper, bare questions are not asked beside the others.
        distillation_temperature: of that divergence; 1 compares the distributions as they are.
        attention: how attention is computed in training; see `resolve_attention`.
        batch_tasks: whether batches have one task each, and tasks take turns (`"alternated"`, the paper), or samples of
            all tasks together (`"mixed"`); see `TaskAlternatingBatchSampler` and `MixedBatchSampler`.
        length_bucketing: whether batches hold samples of similar length; see the same.
        fast_dropout: on a CPU, draw dropout by 16 random bits an element; see `fast_dropout`.
        keep_memory: on a CPU with glibc, keep the memory that a step frees for the next; see `kept_memory`.
        max_minutes: the most minutes that training takes, its schedule fitted to them; `None` for no limit. See
            `peft_pod.training.time_limited`.

    Without an accelerator, `use_cpu` is set, so that several processes find each other.

    Raises:
        ValueError: `early_stopping_patience` or another number that counts something is not positive, the weight or the
            temperature of distillation, `embedding_lr_ratio` or `max_minutes` cannot be used, or `attention` or
            `batch_tasks` is none of those.
    """

    output_dir: str | None = field(default="runs/pod", metadata={"help": "Folder of the run."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Samples of one batch."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Samples of one batch in evaluation."})
    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate (paper: 5e-4)."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When the validation losses are taken."})
    save_strategy: str = field(default="epoch", metadata={"help": "When a checkpoint is written."})
    save_total_limit: int | None = field(default=2, metadata={"help": "The most checkpoints kept; the best is one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the model of the best validation."})
    metric_for_best_model: str | None = field(
        default="eval_loss",
        metadata={
            "help": "What is best: eval_loss, the mean of the tasks' losses, eval_<task>_loss, or how items are "
            "ranked, such as eval_sequential_ndcg@10. `peft-pod train` takes auto too: the NDCG@10 of the first task "
            "that names items, and eval_loss where there is none."
        },
    )
    greater_is_better: bool | None = field(
        default=None, metadata={"help": "Whether more of it is better; by default of all but losses."}
    )
    embedding_lr_ratio: float = field(
        default=1.0, metadata={"help": "The learning rate of the base's token embeddings over that of the rest."}
    )
    logging_steps: float = field(default=50, metadata={"help": "Steps between two lines of the log."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Resume with the count of epochs without a better loss, not from zero."}
    )
    # Again as they are in transformers, whose types mypy does not see.
    use_cpu: bool = field(default=False, metadata={"help": "Do not use an accelerator where there is one."})
    dataloader_pin_memory: bool = field(
        default=True, metadata={"help": "Pin the memory of batches that are copied to an accelerator."}
    )
    report_to: list[str] = field(
        default_factory=list,
        metadata={"help": "Where to send what is logged: tensorboard, trackio, wandb, or others; nowhere by default."},
    )
    early_stopping_patience: int | None = field(
        default=5, metadata={"help": "Consecutive validations without a better one after which training stops."}
    )
    distillation_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of the divergence between answers with a template and with the bare question."},
    )
    distillation_temperature: float = field(default=1.0, metadata={"help": "Temperature of that divergence."})
    attention: str = field(
        default="auto",
        metadata={
            "help": "Attention in training: blockwise, sdpa or eager. By default blockwise on a CPU where the base "
            "learns a bias of relative positions, as T5 does, and else the base's own. They differ by rounding alone.",
            "choices": list(get_args(Attention)),
        },
    )
    batch_tasks: str = field(
        default="alternated",
        metadata={
            "help": "Tasks of a batch: alternated, one a batch, so that samples of a batch are alike in length (the "
            "paper), or mixed, samples of all tasks together. An epoch has the same samples either way.",
            "choices": list(get_args(BatchTasks)),
        },
    )
    length_bucketing: bool = field(
        default=False,
        metadata={
            "help": "Put samples of similar length into the same batch, so that little is padded. Such batches are "
            "less alike one another, which made models worse; see docs/training-speed.md."
        },
    )
    fast_dropout: bool = field(
        default=True, metadata={"help": "On a CPU, draw dropout by 16 random bits an element, its rate rounded so."}
    )
    keep_memory: bool = field(
        default=True, metadata={"help": "On a CPU, keep the memory that a step frees for the next one (glibc)."}
    )

    max_minutes: float | None = field(
        default=None,
        metadata={
            "help": "The most minutes that training takes, validations and checkpoints included: a few steps are "
            "timed, and no more are planned than fit, schedule included. Reading the corpus, that timing, and the "
            "evaluation at the end are not counted."
        },
    )

    def __post_init__(self) -> None:
        # What integrations are told of the run beside these arguments; see `reporting.describe_run`.
        self.described: dict[str, Any] = {}
        self.use_cpu = self.use_cpu or runs_on_cpu()
        # Pinned memory speeds up copies to an accelerator; without one, PyTorch warns about it.
        self.dataloader_pin_memory = self.dataloader_pin_memory and not self.use_cpu
        super().__post_init__()
        check_attention(self.attention)
        if self.batch_tasks not in get_args(BatchTasks):
            raise ValueError(f"batch_tasks must be one of {list(get_args(BatchTasks))}, got {self.batch_tasks!r}")
        # The Trainer would find these only once it has begun.
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not (math.isfinite(self.distillation_weight) and self.distillation_weight >= 0):
            raise ValueError(
                f"distillation_weight must be 0 (no distillation) or a number above 0, got {self.distillation_weight}"
            )
        if not (math.isfinite(self.distillation_temperature) and self.distillation_temperature > 0):
            raise ValueError(f"distillation_temperature must be above 0, got {self.distillation_temperature}")
        if not (math.isfinite(self.embedding_lr_ratio) and self.embedding_lr_ratio > 0):
            raise ValueError(
                f"embedding_lr_ratio must be above 0 (1 for the rate of the rest), got {self.embedding_lr_ratio}"
            )
        if self.max_minutes is not None and not (math.isfinite(self.max_minutes) and self.max_minutes > 0):
            raise ValueError(f"max_minutes must be above 0, or None for no limit; got {self.max_minutes}")
        if self.max_steps <= 0 and self.num_train_epochs <= 0:
            raise ValueError(f"num_train_epochs must be above 0, got {self.num_train_epochs}; or set max_steps")
        if self.early_stopping_patience is not None and self.metric_for_best_model is None:
            raise ValueError(
                "early_stopping_patience needs a metric_for_best_model, such as eval_loss; set it, or set "
                "early_stopping_patience to None"
            )
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ValueError(
                f"early_stopping_patience must be at least 1, or None to never stop early; "
                f"got {self.early_stopping_patience}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The arguments by name, and what else describes the run: integrations of `report_to` keep this."""
        return {**super().to_dict(), **self.described}
