from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from peft_pod.corpus import Ragged, load_corpus
from peft_pod.indexing.neighbours import NeighbourCounts

from .training_parts import make_train

ITEMS = 8
sequences = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=9), min_size=1, max_size=6)


def score_by_hand(rows: list[list[int]], history: list[int], item: int) -> float:
    """The formula, one pair after the other."""
    total = 0.0
    for back, last in enumerate(reversed(history[-5:])):
        for row in rows:
            for first in range(len(row)):
                for second in range(first + 1, min(first + 4, len(row))):
                    pair = row[first], row[second]
                    hits = (pair == (last, item)) + (pair == (item, last))
                    total += hits * 0.5**back / (second - first)
    return total / (sum(row.count(item) for row in rows) ** 0.5 + 1)


@settings(max_examples=30, deadline=None)
@given(sequences, sequences)
def test_scores_are_those_of_the_formula(rows, histories):
    counts = NeighbourCounts.fit(make_train(rows, ITEMS))
    found = counts.scores(Ragged.of(histories)).toarray()
    expected = [[score_by_hand(rows, history, item) for item in range(ITEMS)] for history in histories]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_counts_come_back_from_their_file(tmp_path):
    split = load_corpus("embedded", num_users=40, num_items=60).split()
    counts = NeighbourCounts.fit(split.train)
    counts.save(tmp_path / "counts.safetensors")
    loaded = NeighbourCounts.load(tmp_path / "counts.safetensors")
    histories = split.histories("test")
    assert (counts.scores(histories) != loaded.scores(histories)).nnz == 0
    assert [path.name for path in tmp_path.iterdir()] == ["counts.safetensors"]


def test_files_that_hold_no_counts(tmp_path):
    path = tmp_path / "counts.safetensors"
    with pytest.raises(FileNotFoundError, match=r"counts\.safetensors does not exist: the model was not saved with"):
        NeighbourCounts.load(path)
    path.write_bytes(b"\0" * 40)
    with pytest.raises(ValueError, match="holds no counts, or damaged ones"):
        NeighbourCounts.load(path)
    NeighbourCounts.fit(make_train([[0, 1, 2]], 3)).save(path)
    arrays = load_file(path)
    save_file({**arrays, "columns": arrays["columns"] + 3}, path)
    with pytest.raises(ValueError, match="holds no counts, or damaged ones"):
        NeighbourCounts.load(path)
    save_file({"counts": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="holds no counts, or damaged ones"):
        NeighbourCounts.load(path)
