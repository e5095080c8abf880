from __future__ import annotations

import pytest

from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_tokenizer

from ..corpora import hand_made_corpus
from .killed_run import ended, in_child, make_parts, run
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


@pytest.fixture(scope="session")
def parts():
    """Corpus and processor of the runs in `killed_run`."""
    return make_parts()


@pytest.fixture(scope="session")
def undisturbed(parts, tmp_path_factory):
    """What a run ends with that nothing disturbs, and its folder, which tests only read."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert in_child(lambda: run(parts, folder)) == 0
    return ended(folder), folder
