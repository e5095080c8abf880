"""Some rows of a table, without holding a large table in memory."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, DatasetInfo

IN_MEMORY = 64 * 2**20
"""Rows of tables with more bytes than this go through a file."""
_BATCH = 100_000


def kept_rows(table: Dataset, keep: npt.NDArray[np.bool_]) -> Dataset:
    """The rows of a table for which `keep` is true, in their order.

    Rows of a large table are written to a temporary file, batch by batch, and read from there when they are asked for.
    The file is in the folder for temporary files (set `TMPDIR` for another one) and is gone when the result is.

    Args:
        table: the table.
        keep: for each row whether it stays.

    Raises:
        ValueError: `keep` does not have one value for each row.

    Example:
        >>> kept_rows(Dataset.from_dict({"n": [1, 2, 3]}), np.array([True, False, True]))[:]
        {'n': [1, 3]}
    """
    if len(keep) != len(table):
        raise ValueError(f"keep has {len(keep)} values for {len(table)} rows; give one for each")
    if keep.all():
        return table
    schema = table.features.arrow_schema
    batches = _kept_batches(table, keep)
    rows = pa.Table.from_batches(batches, schema) if table.data.nbytes <= IN_MEMORY else _through_file(batches, schema)
    name = hashlib.sha256(table._fingerprint.encode() + np.packbits(keep).tobytes()).hexdigest()[:16]
    return Dataset(rows, info=DatasetInfo(features=table.features), fingerprint=name)


def _kept_batches(table: Dataset, keep: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in table.with_format("arrow").iter(batch_size=_BATCH):
        kept = batch.filter(pa.array(keep[start : start + len(batch)]))
        start += len(batch)
        # One batch of many rows instead of the many small ones that a table on disk is made of.
        yield from kept.combine_chunks().cast(table.features.arrow_schema).to_batches()


def _through_file(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    with tempfile.NamedTemporaryFile(prefix="peft_pod-", suffix=".arrow", delete=False) as file:
        path = Path(file.name)
        try:
            with pa.ipc.new_stream(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        except BaseException:
            path.unlink()
            raise
    rows = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    # What is mapped stays readable, only the name goes. Windows does not let go of a file in use: there it stays.
    with contextlib.suppress(PermissionError):
        path.unlink()
    return rows
