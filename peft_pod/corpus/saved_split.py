"""A split as Arrow files: sorted once, then read from disk as training asks for it, not loaded.

Arrow's memory-mapped files are what `datasets` stands on too: numpy sees a column of such a file as an array, and the
system reads the pages that are touched and drops them when memory is short. So a training part can be larger than
memory; what stays in it are some numbers for each user and each item.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa

from peft_pod.files import new_folder, write_text

from .parts import PARTS, Explanation, ExplanationColumns, TrainingPart
from .ragged import Ragged
from .split import LeaveOneOut, RefitLeaveOneOut, Split
from .steps import Step
from .temporal import TemporalSplit

SETTINGS_FILE = "split.json"
_FORMAT = 1
_KINDS: dict[str, type[Split]] = {kind.name: kind for kind in (LeaveOneOut, RefitLeaveOneOut, TemporalSplit)}
_NUMBERS = (
    "sequences", "sequence_ends", "timestamps", "later", "later_ends", "known_later", "validation_items", "test_items"
)  # fmt: skip
_TEXTS = ("user_ids", "item_ids", "item_titles", "item_texts")
_SENTENCES = tuple(f"{part}_explanations" for part in PARTS)
_FILES = {SETTINGS_FILE, *(f"{name}.arrow" for name in (*_NUMBERS, *_TEXTS, *_SENTENCES))}


class ArrowTexts(Sequence[str]):
    """Texts that stay in Arrow's memory, or in its file, until one is asked for.

    Example:
        >>> texts = ArrowTexts(pa.array(["u1", "u2", "u3"]))
        >>> texts[1], texts[:2] == ["u1", "u2"], list(texts)
        ('u2', True, ['u1', 'u2', 'u3'])
    """

    __hash__ = None  # type: ignore[assignment]  # equal by content, as a list is
    _BLOCK = 10_000

    def __init__(self, values: pa.Array | pa.ChunkedArray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> ArrowTexts: ...

    def __getitem__(self, index: int | slice) -> str | ArrowTexts:
        if isinstance(index, slice):
            return ArrowTexts(self.values.take(pa.array(np.arange(*index.indices(len(self))))))
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"there is no text {index}; the {len(self)} texts are counted from 0")
        text: str = self.values[row].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), self._BLOCK):
            yield from self.values.slice(start, self._BLOCK).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == theirs for own, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"ArrowTexts({len(self)} texts)"


def save_split(split: Split, folder: str | os.PathLike[str]) -> None:
    """Write a split into a folder of Arrow files, which is complete or not there.

    Args:
        split: of any kind that `Corpus.split` makes.
        folder: a new or an empty one, or one with a split, which is replaced.

    Raises:
        ValueError: the split is of a kind of its own.
        FileExistsError: the folder holds something else.

    Example:
        >>> import tempfile
        >>> from peft_pod.corpus import load_corpus
        >>> split, folder = load_corpus("embedded", num_users=50).split(), f"{tempfile.mkdtemp()}/split"
        >>> save_split(split, folder)
        >>> load_split(folder).train.sequences == split.train.sequences
        True
    """
    if _KINDS.get(split.name) is not type(split):
        raise ValueError(f"a split of kind {type(split).__name__} cannot be saved; only {', '.join(sorted(_KINDS))}")
    train = split.train
    numbers = {
        "sequences": train.sequences.values,
        "sequence_ends": train.sequences.offsets,
        "timestamps": train.timestamps.values,
        "later": split.later.values,
        "later_ends": split.later.offsets,
        "known_later": split.known_later,
        "validation_items": split.validation_items,
        "test_items": split.test_items,
    }
    settings = {
        "format": _FORMAT,
        "kind": split.name,
        "step": split.step.to_dict(),
        "data_fingerprint": split.data_fingerprint,
    }
    with new_folder(folder, replaceable=_FILES) as temporary:
        for name in _NUMBERS:
            _write(temporary, name, {"values": pa.array(numbers[name])})
        for name in _TEXTS:
            _write(temporary, name, {"values": _texts(getattr(train, name))})
        for name, part in zip(_SENTENCES, PARTS, strict=True):
            _write(temporary, name, _sentences(split.explanations(part)))
        write_text(temporary / SETTINGS_FILE, json.dumps(settings, ensure_ascii=False))


def load_split(folder: str | os.PathLike[str], *, keep_in_memory: bool = False) -> Split:
    """Open a split that `save_split` wrote; its interactions and sentences stay on disk.

    Args:
        folder: of the split. It must stay as it is while the split is in use.
        keep_in_memory: read all of it now, for a corpus that fits and a disk that is slow.

    Raises:
        FileNotFoundError: the folder holds no split, or not all of it.
        ValueError: it was written in another format than this one.
    """
    folder = Path(folder)
    if not (folder / SETTINGS_FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no split: there is no {SETTINGS_FILE}; write one by save_split")
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    if settings.get("format") != _FORMAT or settings.get("kind") not in _KINDS:
        raise ValueError(
            f"{folder} holds a split of format {settings.get('format')!r} and kind {settings.get('kind')!r}, and this "
            f"version reads format {_FORMAT} and {', '.join(sorted(_KINDS))}: save it again by save_split"
        )
    number = {name: _read(folder, name, keep_in_memory)["values"].chunk(0).to_numpy() for name in _NUMBERS}
    text = {name: ArrowTexts(_read(folder, name, keep_in_memory)["values"]) for name in _TEXTS}
    sentences: dict[str, Sequence[Explanation]] = {
        part: _explanations(_read(folder, name, keep_in_memory)) for name, part in zip(_SENTENCES, PARTS, strict=True)
    }
    train = TrainingPart(
        **text,
        sequences=Ragged(number["sequences"], number["sequence_ends"]),
        timestamps=Ragged(number["timestamps"], number["sequence_ends"]),
        explanations=sentences.pop("train"),
    )
    return _KINDS[settings["kind"]](
        train=train,
        validation_items=number["validation_items"],
        test_items=number["test_items"],
        held_out_explanations=sentences,
        later=Ragged(number["later"], number["later_ends"]),
        known_later=number["known_later"],
        step=Step.from_dict(settings["step"]),
        data_fingerprint=settings["data_fingerprint"],
    )


def _write(folder: Path, name: str, columns: dict[str, pa.Array]) -> None:
    # One batch, so that a column is one array when it is read.
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _read(folder: Path, name: str, keep_in_memory: bool) -> pa.Table:
    path = folder / f"{name}.arrow"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds a split without {path.name}: it was not copied to the end")
    with pa.OSFile(str(path), "rb") if keep_in_memory else pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _texts(values: Iterable[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


def _sentences(explanations: Sequence[Explanation]) -> dict[str, pa.Array]:
    if isinstance(explanations, ExplanationColumns):
        users, items = explanations.users, explanations.items
        texts, features = (_one_array(column) for column in (explanations.texts, explanations.features))
    else:
        users, items = (
            np.array([getattr(each, name) for each in explanations], dtype=np.int64) for name in ("user", "item")
        )
        texts, features = _texts(each.text for each in explanations), _texts(each.feature for each in explanations)
    return {"user": pa.array(users), "item": pa.array(items), "text": texts, "feature": features}


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    column = column.cast(pa.large_string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _explanations(table: pa.Table) -> ExplanationColumns:
    users, items = (table[name].chunk(0).to_numpy() for name in ("user", "item"))
    return ExplanationColumns(users, items, table["text"].chunk(0), table["feature"].chunk(0))
