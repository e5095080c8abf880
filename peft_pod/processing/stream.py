"""Sequential examples of many users at once, written to disk as they are made.

`PODProcessor` encodes one sample after the other, which is what training needs: every epoch draws other segments. Where
the examples are the same every time, a million of them are encoded here by array operations, in batches, into an Arrow
file that `datasets` reads without loading it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from peft_pod.corpus import Part, Ragged, Split, TrainingPart
from peft_pod.corpus.split import IntArray
from peft_pod.files import replacing
from peft_pod.tasks import Field, SequentialTask

from .processor import PODProcessor

SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "attention_mask": pa.list_(pa.int8()),
        "whole_word_ids": pa.list_(pa.int32()),
        "task_id": pa.int32(),
        "labels": pa.list_(pa.int32()),
    }
)
_PREFIX, _SUFFIX, _NAMES = 0, 1, 2


class SequentialEncoder:
    """Encodes questions of the sequential task with its bare template, many at once, as `PODProcessor` does one.

    Args:
        processor: has the tokenizer, the item IDs and the task.

    Raises:
        ValueError: the processor has no sequential task, or its bare template is not the user followed by the history.

    Example:
        >>> from peft_pod.corpus import Ragged, load_corpus
        >>> from peft_pod.indexing import load_indexing
        >>> from peft_pod.processing import PODProcessor, train_tokenizer
        >>> from peft_pod.tasks import load_task
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing = load_indexing("random").fit(train)
        >>> processor = PODProcessor(train_tokenizer(["user_ item_"] * 9), indexing, [load_task("sequential")])
        >>> encoder = SequentialEncoder(processor)
        >>> rows = encoder.encode(np.array([3]), Ragged.of([[5, 9]]), np.array([2]))
        >>> rows["whole_word_ids"].to_pylist()
        [[1, 1, 2, 2, 2, 3, 3, 3, 0]]
    """

    def __init__(self, processor: PODProcessor) -> None:
        task = processor.task(SequentialTask.name)
        parts = [part.name if isinstance(part, Field) else part for part in task.bare.parts]
        if not isinstance(task, SequentialTask) or parts != ["user", "history"] or task.bare.fields != tuple(parts):
            raise ValueError(f"the bare template must be '{{user}} {{history}}', not {task.bare.text!r}")
        self.task_id = processor.task_id(task.name)
        self.history_length = task.history_length
        self.max_input_length = processor.max_input_length
        words, indexing = processor._words, processor.indexing
        answers = processor.item_tokens()
        self._num_users = len(indexing.user_words)
        self._num_items = len(answers)
        # Users stand first in a text, items do not, unless users have no words.
        self._pieces = _rows(
            chain(
                (words.prefix, words.suffix),
                (words.encode(word, first=True) for word in indexing.user_words),
                (words.encode(word) for word in indexing.item_words),
                () if self._num_users else answers,
            )
        )
        self._answers = _rows((*tokens, processor.tokenizer.eos_token_id) for tokens in answers)

    def encode(self, users: IntArray, histories: Ragged, targets: IntArray) -> pa.RecordBatch:
        """Encode a question, with its answer, for each user.

        Args:
            users: positions of the users.
            histories: for each of them the positions of the items they took, oldest first, at least one.
            targets: for each the answer.

        Raises:
            ValueError: a history is empty, or an input does not fit into the processor's `max_input_length`.
        """
        if len(histories) and histories.lengths.min() == 0:
            user = int(users[np.argmin(histories.lengths)])
            raise ValueError(f"the history of user {user} is empty: the next item is predicted from at least one item")
        names = self._names(users, self._recent(users, histories))
        inputs = self._pieces.take(names.values)
        numbers = np.where(names.values == _SUFFIX, 0, names.places)
        ends = inputs.offsets[names.offsets]
        labels = self._answers.take(targets)
        return pa.record_batch(
            [
                _lists(inputs.values, ends, np.int32),
                _lists(np.ones(len(inputs.values)), ends, np.int8),
                _lists(np.repeat(numbers, inputs.lengths), ends, np.int32),
                pa.array(np.full(len(users), self.task_id, dtype=np.int32)),
                _lists(labels.values, labels.offsets, np.int32),
            ],
            schema=SCHEMA,
        )

    def _names(self, users: IntArray, histories: Ragged) -> Ragged:
        """For each question the rows of `_pieces` that it is made of."""
        items = histories.values + _NAMES + self._num_users
        if self._num_users:
            begin = Ragged(np.stack([np.full(len(users), _PREFIX), _NAMES + users], 1).ravel(), _steps(len(users), 2))
        else:
            items = np.where(histories.places == 0, items + self._num_items, items)
            begin = Ragged(np.full(len(users), _PREFIX), _steps(len(users), 1))
        end = Ragged(np.full(len(users), _SUFFIX), _steps(len(users), 1))
        return begin.join(Ragged(items, histories.offsets)).join(end)

    def _recent(self, users: IntArray, histories: Ragged) -> Ragged:
        """The most recent items, as many as the task and the longest input allow."""
        recent = _last(histories, np.minimum(histories.lengths, self.history_length))
        while self.max_input_length is not None:
            names = self._names(users, recent)
            sizes = np.diff(_offsets_of(self._pieces.lengths[names.values], names))
            too_long = sizes > self.max_input_length
            if not too_long.any():
                break
            if (too_long & (recent.lengths == 1)).any():
                row = int(np.flatnonzero(too_long & (recent.lengths == 1))[0])
                raise ValueError(
                    f"the input of user {users[row]} has {sizes[row]} tokens with one item, and the model takes "
                    f"{self.max_input_length}: configure a larger max_input_length if the base allows it"
                )
            recent = _last(recent, recent.lengths - too_long)
        return recent


def write_training_examples(
    path: str | os.PathLike[str], processor: PODProcessor, train: TrainingPart, *, batch_size: int = 20_000
) -> int:
    """Write one example for each user with two training items: the last is the answer, those before it the history.

    Args:
        path: an Arrow file, which `datasets.Dataset.from_file` reads; it is complete or not there.
        processor: encodes; it must have the sequential task.
        train: the training part.
        batch_size: how many users are encoded at once.

    Returns:
        The number of examples.
    """
    users = train.users_with_transitions
    histories, answers = train.sequences.split(np.maximum(train.lengths - 1, 0))
    targets = np.full(train.num_users, -1, dtype=np.int64)
    targets[train.lengths > 0] = answers.values
    return _write(path, SequentialEncoder(processor), users, histories, targets, batch_size)


def write_evaluation_examples(
    path: str | os.PathLike[str], processor: PODProcessor, split: Split, part: Part, *, batch_size: int = 20_000
) -> int:
    """Write one example for each user with a held-out item in `part`; arguments as above.

    Example:
        >>> import tempfile, pathlib
        >>> from datasets import Dataset
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import load_indexing
        >>> from peft_pod.processing import train_tokenizer
        >>> from peft_pod.tasks import load_task
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> indexing = load_indexing("random").fit(split.train)
        >>> processor = PODProcessor(train_tokenizer(["user_ item_"] * 9), indexing, [load_task("sequential")])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "test.arrow"
        >>> write_evaluation_examples(path, processor, split, "test"), len(Dataset.from_file(str(path)))
        (50, 50)
    """
    users = split.evaluated_users(part)
    return _write(path, SequentialEncoder(processor), users, split.histories(part), split.targets(part), batch_size)


def _write(
    path: str | os.PathLike[str],
    encoder: SequentialEncoder,
    users: IntArray,
    histories: Ragged,
    targets: IntArray,
    batch_size: int,
) -> int:
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    with replacing(path) as temporary, pa.ipc.new_stream(str(temporary), SCHEMA) as writer:
        for start in range(0, len(users), batch_size):
            some = users[start : start + batch_size]
            writer.write_batch(encoder.encode(some, histories.take(some), targets[some]))
    return len(users)


def _rows(rows: Iterable[Iterable[int]]) -> Ragged:
    """Rows of numbers, without an array for each."""
    lengths: list[int] = []

    def flat() -> Iterator[int]:
        for row in rows:
            before = tuple(row)
            lengths.append(len(before))
            yield from before

    values = np.fromiter(flat(), dtype=np.int64)
    return Ragged.from_lengths(values, lengths)


def _last(rows: Ragged, counts: IntArray) -> Ragged:
    """The last `counts[row]` values of each row."""
    return rows.split(rows.lengths - counts)[1]


def _steps(count: int, width: int) -> IntArray:
    """The offsets of `count` rows of one width."""
    return np.arange(count + 1) * width


def _offsets_of(sizes: IntArray, names: Ragged) -> IntArray:
    """Where the rows of `names` begin and end, each of their values as wide as its size."""
    return np.concatenate([[0], np.cumsum(sizes)])[names.offsets]


def _lists(values: np.ndarray, offsets: IntArray, kind: type) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values.astype(kind)))
