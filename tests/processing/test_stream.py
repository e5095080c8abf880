from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Ragged, load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.processing.stream import SequentialEncoder, write_evaluation_examples, write_training_examples
from peft_pod.tasks import SequentialTask, Template, load_task

from ..corpora import hand_made_corpus
from .tokenizers_for_tests import TOKENIZERS

COLUMNS = ["input_ids", "attention_mask", "whole_word_ids", "task_id", "labels"]


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=60).split()


def make_processor(split, kind: str = "own", users: bool = True, history_length: int = 5, **arguments) -> PODProcessor:
    indexing = load_indexing("random", users="index" if users else "none").fit(split.train)
    # The sequential task is not the first one, so that its ID is not 0.
    tasks = [load_task("explanation"), load_task("sequential", history_length=history_length)]
    return PODProcessor(TOKENIZERS[kind](), indexing, tasks, **arguments)


def one_by_one(processor: PODProcessor, samples: list) -> list[dict]:
    return [{name: processor(sample, "sequential")[name] for name in COLUMNS} for sample in samples]


@pytest.mark.parametrize("users", [True, False])
@pytest.mark.parametrize("kind", list(TOKENIZERS))
def test_rows_equal_those_of_the_processor(split, tmp_path, kind: str, users: bool):
    processor = make_processor(split, kind, users)
    task = processor.task("sequential")
    for part in ("validation", "test"):
        count = write_evaluation_examples(tmp_path / "examples.arrow", processor, split, part, batch_size=17)
        written = Dataset.from_file(str(tmp_path / "examples.arrow"))
        expected = one_by_one(processor, task.evaluation_samples(split, part))
        assert count == len(expected) == 60
        assert list(written) == expected


def test_training_examples_end_in_the_last_training_item(tmp_path):
    """Training items: ann a, b, c; bob b, c; cat d, e."""
    split = hand_made_corpus().split()
    processor = make_processor(split)
    task = processor.task("sequential")
    write_training_examples(tmp_path / "examples.arrow", processor, split.train)
    samples = [task.query(0, [0, 1], 2), task.query(1, [1], 2), task.query(2, [3], 4)]
    assert list(Dataset.from_file(str(tmp_path / "examples.arrow"))) == one_by_one(processor, samples)


def test_words_that_are_tokens_of_their_own(split, tmp_path):
    indexing = load_indexing("random").fit(split.train)
    words = [*indexing.item_words, *indexing.user_words]
    processor = PODProcessor(train_tokenizer(["take"] * 9, whole_words=words), indexing, [load_task("sequential")])
    write_evaluation_examples(tmp_path / "examples.arrow", processor, split, "test")
    written = list(Dataset.from_file(str(tmp_path / "examples.arrow")))
    assert written == one_by_one(processor, processor.tasks[0].evaluation_samples(split, "test"))
    assert {len(row["labels"]) for row in written} == {2}


@settings(max_examples=30, deadline=None)
@given(st.integers(7, 25), st.booleans(), st.data())
def test_long_inputs_lose_their_oldest_items(split, limit: int, users: bool, data: st.DataObject):
    processor = make_processor(split, users=users, history_length=6, max_input_length=limit)
    items = st.integers(0, split.train.num_items - 1)
    histories = data.draw(st.lists(st.lists(items, min_size=1, max_size=9), min_size=1, max_size=5))
    encoder = SequentialEncoder(processor)
    batch = encoder.encode(np.arange(len(histories)), Ragged.of(histories), np.zeros(len(histories), dtype=np.int64))
    samples = [processor.task("sequential").query(user, history, 0) for user, history in enumerate(histories)]
    assert batch.to_pylist() == one_by_one(processor, samples)


def test_an_input_that_cannot_fit_is_refused(split):
    encoder = SequentialEncoder(make_processor(split, max_input_length=5))
    with pytest.raises(ValueError, match=r"the input of user 7 has \d+ tokens with one item, and the model takes 5"):
        encoder.encode(np.array([7]), Ragged.of([[1, 2]]), np.array([0]))


def test_an_empty_history_is_refused(split):
    encoder = SequentialEncoder(make_processor(split))
    with pytest.raises(ValueError, match="the history of user 7 is empty"):
        encoder.encode(np.array([3, 7]), Ragged.of([[1], []]), np.array([0, 0]))


def test_other_templates_are_refused(split):
    class Backwards(SequentialTask):
        bare = Template("{history} {user}")

    processor = make_processor(split)
    other = PODProcessor(processor.tokenizer, processor.indexing, [Backwards()])
    with pytest.raises(ValueError, match="the bare template must be '{user} {history}', not '{history} {user}'"):
        SequentialEncoder(other)
    without = PODProcessor(processor.tokenizer, processor.indexing, [load_task("explanation")])
    with pytest.raises(ValueError, match="unknown task 'sequential'"):
        SequentialEncoder(without)


def test_a_failure_leaves_no_file(split, tmp_path):
    with pytest.raises(ValueError, match="the input of user"):
        write_training_examples(tmp_path / "x.arrow", make_processor(split, max_input_length=5), split.train)
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        write_training_examples(tmp_path / "x.arrow", make_processor(split), split.train, batch_size=0)
    assert list(tmp_path.iterdir()) == []
