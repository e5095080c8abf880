"""Text to tensors: tokens, whole-word IDs, batches that alternate between tasks or mix them."""

from .collator import PODCollator
from .mixed_sampler import MixedBatchSampler
from .processor import PODProcessor
from .sampler import SampleKey, TaskAlternatingBatchSampler
from .samples import EvaluationSamples, TrainingSamples
from .tokenizer import add_new_tokens, train_tokenizer
from .words import WordTokenizer

__all__ = [
    "EvaluationSamples",
    "MixedBatchSampler",
    "PODCollator",
    "PODProcessor",
    "SampleKey",
    "TaskAlternatingBatchSampler",
    "TrainingSamples",
    "WordTokenizer",
    "add_new_tokens",
    "train_tokenizer",
]
