"""Text to tensors: tokens, whole-word IDs, batches that alternate between tasks."""

from .collator import PODCollator
from .processor import PODProcessor
from .sampler import SampleKey, TaskAlternatingBatchSampler
from .samples import EvaluationSamples, TrainingSamples
from .tokenizer import add_new_tokens, train_tokenizer
from .words import WordTokenizer

__all__ = [
    "EvaluationSamples",
    "PODCollator",
    "PODProcessor",
    "SampleKey",
    "TaskAlternatingBatchSampler",
    "TrainingSamples",
    "WordTokenizer",
    "add_new_tokens",
    "train_tokenizer",
]
