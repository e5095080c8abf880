"""Text to tensors: tokens, whole-word IDs, batches that alternate between tasks."""

from .collator import PODCollator
from .processor import PODProcessor
from .sampler import SampleKey, TaskAlternatingBatchSampler
from .samples import EvaluationSamples, TrainingSamples
from .tokenizer import train_tokenizer
from .words import WordTokenizer

__all__ = [
    "EvaluationSamples",
    "PODCollator",
    "PODProcessor",
    "SampleKey",
    "TaskAlternatingBatchSampler",
    "TrainingSamples",
    "WordTokenizer",
    "train_tokenizer",
]
