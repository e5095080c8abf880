from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from peft_pod.corpus import Explanation, Ragged
from peft_pod.corpus.parts import ExplanationColumns
from tests.indexing.training_parts import make_train


@pytest.fixture
def sentences() -> ExplanationColumns:
    texts = pa.chunked_array([["It lasts.", "Too loud."], ["A gem."]])
    return ExplanationColumns(np.array([0, 1, 0]), np.array([3, 2, 1]), texts, pa.array(["", "loud", "gem"]))


def test_sentences_are_a_sequence(sentences: ExplanationColumns):
    listed = [
        Explanation(0, 3, "It lasts.", ""),
        Explanation(1, 2, "Too loud.", "loud"),
        Explanation(0, 1, "A gem.", "gem"),
    ]
    assert list(sentences) == listed
    assert sentences == listed
    assert sentences != listed[:2]
    assert (len(sentences), sentences[-1], sentences[1]) == (3, listed[2], listed[1])
    assert list(sentences[::-1]) == listed[::-1]
    assert list(sentences[1:]) == listed[1:]
    assert list(sentences.take(np.array([2, 0]))) == [listed[2], listed[0]]
    assert pickle.loads(pickle.dumps(sentences)) == listed
    for row in (3, -4):
        with pytest.raises(IndexError, match=f"there is no sentence {row}; the 3 sentences"):
            sentences[row]


def test_any_sequences_become_ragged():
    train = make_train([[0, 2], [], [2, 2, 1]], 4)
    assert isinstance(train.sequences, Ragged)
    assert isinstance(train.timestamps, Ragged)
    assert train.lengths.tolist() == [2, 0, 3]
    assert train.item_counts.tolist() == [1, 1, 3, 0]
    assert train.popularity_ends.tolist() == [2, 4, 8, 9]
    assert train.transition_ends.tolist() == [1, 1, 3]
    assert repr(train) == "TrainingPart(3 users, 4 items, 5 interactions, 0 explanations)"
