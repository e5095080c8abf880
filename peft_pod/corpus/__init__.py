"""Raw files in, three tables out: who took what, the catalogue, and what people said about it.

Example:
    >>> from peft_pod.corpus import load_corpus
    >>> corpus = load_corpus("embedded", num_users=50)
    >>> split = corpus.split()
    >>> split.train.num_users
    50
"""

from .corpus import Corpus
from .load import available_corpora, load_corpus
from .prepare import PrepareOptions
from .ragged import Ragged
from .saved_split import load_split, save_split
from .schema import CorpusFormatError
from .split import Explanation, LeaveOneOut, Part, Split, TrainingPart
from .steps import Step
from .temporal import TemporalSplit

__all__ = [
    "Corpus",
    "CorpusFormatError",
    "load_corpus",
    "load_split",
    "save_split",
    "available_corpora",
    "Split",
    "LeaveOneOut",
    "TemporalSplit",
    "TrainingPart",
    "Explanation",
    "Part",
    "Ragged",
    "PrepareOptions",
    "Step",
]
