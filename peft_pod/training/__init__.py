"""Training by task-alternated batches."""

from .arguments import PODTrainingArguments
from .base_model import SCRATCH_SIZES, is_scratch, load_base_model
from .trainer import PODTrainer, check_tasks

__all__ = ["SCRATCH_SIZES", "PODTrainer", "PODTrainingArguments", "check_tasks", "is_scratch", "load_base_model"]
