"""Training by task-alternated batches, or by mixed ones."""

from .arguments import PODTrainingArguments
from .base_model import SCRATCH_SIZES, check_base_model, is_scratch, load_base_model
from .checkpoints import CheckpointWriteError, last_checkpoint
from .finite import NonFiniteLossError
from .item_start import start_items
from .processes import process_state
from .setup import build_model, build_tokenizer
from .trainer import PODTrainer, check_tasks

__all__ = [
    "SCRATCH_SIZES",
    "CheckpointWriteError",
    "NonFiniteLossError",
    "PODTrainer",
    "PODTrainingArguments",
    "build_model",
    "build_tokenizer",
    "check_base_model",
    "check_tasks",
    "is_scratch",
    "last_checkpoint",
    "load_base_model",
    "process_state",
    "start_items",
]
