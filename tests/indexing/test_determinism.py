"""The same training part and seed give the same words, wherever they are made."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from peft_pod.corpus import load_corpus
from peft_pod.indexing import available_indexings, collaborative_vectors, load_indexing

ROOT = Path(__file__).parents[2]


def digest() -> str:
    """Of the words and start vectors of all schemes."""
    train = load_corpus("embedded", num_users=80).split().train
    found = hashlib.sha256()
    for scheme in available_indexings():
        if not load_indexing(scheme).leaks:
            indexing = load_indexing(scheme).fit(train, seed=2)
            found.update(repr((indexing.item_words, indexing.user_words)).encode())
            found.update(indexing.start_vectors(train, 16).tobytes())
    return found.hexdigest()


def test_another_process_makes_the_same_words() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    code = "from tests.indexing.test_determinism import digest; print(digest())"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == digest()


def test_the_number_of_threads_does_not_show_in_the_vectors() -> None:
    train = load_corpus("embedded", num_users=300).split().train
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(collaborative_vectors(train, 64))
    np.testing.assert_array_equal(found[0], found[1])
