from __future__ import annotations

import pytest

from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_tokenizer

from ..corpora import hand_made_corpus
from .test_trainer import TASKS


@pytest.fixture(scope="package")
def split():
    return hand_made_corpus().split()


@pytest.fixture(scope="package")
def processor(split):
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [load_task(name, **({"num_negatives": 2} if name == "topn" else {})) for name in TASKS]
    return PODProcessor(
        build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens="pieces"),
        indexing,
        tasks,
    )
