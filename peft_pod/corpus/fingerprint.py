"""A short name for data: equal data have equal ones, however they are cut into pieces in memory or on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

DIGITS = 12
_BATCH = 100_000


def tables_fingerprint(tables: Mapping[str, Dataset]) -> str:
    """Twelve hexadecimal digits of a hash over all rows of the tables, their names and columns.

    Args:
        tables: tables whose columns are texts or numbers.

    Example:
        >>> from datasets import Dataset
        >>> first, second = Dataset.from_dict({"n": [1, 2]}), Dataset.from_dict({"n": [2, 1]})
        >>> tables_fingerprint({"t": first}) == tables_fingerprint({"t": second})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(tables):
        table = tables[name]
        columns = {column: _ColumnDigest() for column in table.column_names}
        for batch in table.with_format("arrow").iter(batch_size=_BATCH):
            for column, column_digest in columns.items():
                for chunk in batch.column(column).chunks:
                    column_digest.update(chunk)
        parts = {column: column_digest.hexdigest() for column, column_digest in columns.items()}
        digest.update(json.dumps([name, len(table), parts]).encode())
    return digest.hexdigest()[:DIGITS]


def settings_fingerprint(*parts: Any) -> str:
    """Twelve hexadecimal digits of a hash over values that JSON can hold.

    Example:
        >>> settings_fingerprint("k-core", {"users": 5}) == settings_fingerprint("k-core", {"users": 6})
        False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


class _ColumnDigest:
    """Three hashes of a column, each over a flat array: which values are there, how long they are, what they are.

    Chunks can then be fed one after the other, and where one ends leaves no trace.
    """

    def __init__(self) -> None:
        self.present, self.lengths, self.values = (hashlib.sha256() for _ in range(3))

    def update(self, chunk: pa.Array) -> None:
        self.present.update(chunk.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            texts = pc.fill_null(chunk, "").cast(pa.large_string())
            offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
            self.lengths.update(np.diff(offsets).astype("<i8").tobytes())
            content = texts.buffers()[2]
            if content is not None and len(offsets):
                self.values.update(memoryview(content)[int(offsets[0]) : int(offsets[-1])])
            return
        numbers = pc.fill_null(chunk, 0).to_numpy(zero_copy_only=False)
        if numbers.dtype.kind == "f":
            # There are many bit patterns for "not a number" and two zeros.
            numbers = np.where(np.isnan(numbers), np.array(np.nan, numbers.dtype), numbers + 0.0)
        self.values.update(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())

    def hexdigest(self) -> str:
        return ".".join(part.hexdigest() for part in (self.present, self.lengths, self.values))
