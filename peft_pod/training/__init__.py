"""Training by task-alternated batches."""

from .arguments import PODTrainingArguments
from .base_model import SCRATCH_SIZES, is_scratch, load_base_model
from .id_start import start_ids
from .setup import build_model, build_tokenizer
from .trainer import PODTrainer, check_tasks

__all__ = [
    "SCRATCH_SIZES",
    "PODTrainer",
    "PODTrainingArguments",
    "build_model",
    "build_tokenizer",
    "check_tasks",
    "is_scratch",
    "load_base_model",
    "start_ids",
]
