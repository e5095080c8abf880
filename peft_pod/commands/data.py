"""From the arguments that name data to what a verb works on: the corpus, its split, and the item IDs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from peft_pod.audit import Audit, nothing_to_audit
from peft_pod.corpus import Corpus, Split, load_corpus
from peft_pod.indexing import Indexing, LeakWarning, load_indexing

from .arguments import DataArguments, parse_options


def read_corpus(arguments: DataArguments) -> Corpus:
    """Load and prepare the corpus.

    Raises:
        ValueError: an option is unknown or cannot be used, or nothing is left of the corpus.
        FileNotFoundError: there are no such files.
    """
    reading = parse_options(arguments.corpus_options, "--corpus_options")
    preparing = parse_options(arguments.prepare, "--prepare")
    corpus = load_corpus(arguments.corpus, arguments.data_dir, **reading)
    if preparing:
        corpus = corpus.prepare(**preparing)
    if arguments.explanations_from_reviews:
        settings = parse_options(arguments.split_options, "--split_options")
        corpus = corpus.with_explanations(split=arguments.split, split_settings=settings)
    return corpus


def split_corpus(corpus: Corpus, arguments: DataArguments) -> Split:
    """Split a corpus as the arguments say."""
    return corpus.split(arguments.split, **parse_options(arguments.split_options, "--split_options"))


def split_of_run(corpus: Corpus, recorded: Mapping[str, Any]) -> Split:
    """Split the corpus of a run as it was split when the run was trained.

    Args:
        corpus: of the run.
        recorded: the run's arguments of its corpus.
    """
    return corpus.split(recorded["split"], **parse_options(recorded["split_options"], "split_options"))


def fit_indexing(split: Split, arguments: DataArguments, seed: int) -> Indexing:
    """Make the item and user IDs.

    That a scheme leaks is not warned of here: the audit's verdict says so, with figures, wherever results are shown.
    """
    options = parse_options(arguments.indexing_options, "--indexing_options")
    indexing = load_indexing(arguments.indexing, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        return indexing.fit_split(split, seed)


def audit_of(corpus: Corpus, split: Split, indexing: Indexing, seed: int) -> Audit:
    """Look for whatever gives held-out items away, where there are test items."""
    if len(split.evaluated_users("test")) == 0:
        return nothing_to_audit(corpus, indexing, split)
    return corpus.audit(indexing, split, seed=seed)
