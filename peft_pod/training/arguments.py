"""Training arguments, with defaults that suit POD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from transformers import Seq2SeqTrainingArguments

from .attention import Attention, check_attention
from .processes import runs_on_cpu

_POSITIVE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")


@dataclass
class PODTrainingArguments(Seq2SeqTrainingArguments):
    """Arguments of `PODTrainer`: those of `Seq2SeqTrainingArguments`, with other defaults and some more.

    The validation loss of each task and their mean are taken after every epoch; the model of the best mean is kept,
    and training stops once it has not become better for `early_stopping_patience` epochs in a row.

    Args:
        early_stopping_patience: consecutive epochs without a better mean validation loss after which training stops;
            `None` never stops early.
        attention: how attention is computed in training; see `resolve_attention`.
        length_bucketing: whether batches hold samples of similar length; see `TaskAlternatingBatchSampler`.
        fast_dropout: on a CPU, draw dropout by 16 random bits an element; see `fast_dropout`.
        keep_memory: on a CPU with glibc, keep the memory that a step frees for the next; see `kept_memory`.

    Without an accelerator, `use_cpu` is set, so that several processes find each other.

    Raises:
        ValueError: `early_stopping_patience` or another number that counts something is not positive, or there is no
            such `attention`.
    """

    output_dir: str | None = field(default="runs/pod", metadata={"help": "Folder of the run."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Samples of one batch; each has one task."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Samples of one batch in evaluation."})
    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate (paper: 5e-4)."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When the validation losses are taken."})
    save_strategy: str = field(default="epoch", metadata={"help": "When a checkpoint is written."})
    save_total_limit: int | None = field(default=2, metadata={"help": "The most checkpoints kept; the best is one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the model of the best validation."})
    metric_for_best_model: str | None = field(
        default="eval_loss", metadata={"help": "What is best: 'eval_loss' is the mean of the tasks' losses."}
    )
    greater_is_better: bool | None = field(default=False, metadata={"help": "Whether more of it is better."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between two lines of the log."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Resume with the count of epochs without a better loss, not from zero."}
    )
    # Again as they are in transformers, whose types mypy does not see.
    use_cpu: bool = field(default=False, metadata={"help": "Do not use an accelerator where there is one."})
    dataloader_pin_memory: bool = field(
        default=True, metadata={"help": "Pin the memory of batches that are copied to an accelerator."}
    )
    early_stopping_patience: int | None = field(
        default=5, metadata={"help": "Consecutive epochs without a better mean loss after which training stops."}
    )
    attention: str = field(
        default="auto",
        metadata={
            "help": "Attention in training: blockwise, sdpa or eager. By default blockwise on a CPU where the base "
            "learns a bias of relative positions, as T5 does, and else the base's own. They differ by rounding alone.",
            "choices": list(get_args(Attention)),
        },
    )
    length_bucketing: bool = field(
        default=True, metadata={"help": "Put samples of similar length into the same batch, so that little is padded."}
    )
    fast_dropout: bool = field(
        default=True, metadata={"help": "On a CPU, draw dropout by 16 random bits an element, its rate rounded so."}
    )
    keep_memory: bool = field(
        default=True, metadata={"help": "On a CPU, keep the memory that a step frees for the next one (glibc)."}
    )

    def __post_init__(self) -> None:
        self.use_cpu = self.use_cpu or runs_on_cpu()
        # Pinned memory speeds up copies to an accelerator; without one, PyTorch warns about it.
        self.dataloader_pin_memory = self.dataloader_pin_memory and not self.use_cpu
        super().__post_init__()
        check_attention(self.attention)
        # The Trainer would find these only once it has begun.
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
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
