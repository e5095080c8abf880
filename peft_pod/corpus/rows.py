"""Some rows of a table, without holding a large table in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, DatasetInfo

from .spool import collect

IN_MEMORY = 64 * 2**20
"""Rows with more bytes than this go through a file."""
_BATCH = 100_000


def kept_rows(table: Dataset, keep: npt.NDArray[np.bool_]) -> Dataset:
    """The rows of a table for which `keep` is true, in their order.

    Many rows are written to a temporary file, batch by batch, and read from there when they are asked for; see
    `peft_pod.corpus.spool.collect`.

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
    rows = collect(_kept_batches(table, keep), table.features.arrow_schema, IN_MEMORY)
    name = hashlib.sha256(table._fingerprint.encode() + np.packbits(keep).tobytes()).hexdigest()[:16]
    return Dataset(rows, info=DatasetInfo(features=table.features), fingerprint=name)


def _kept_batches(table: Dataset, keep: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    start = 0
    for batch in table.with_format("arrow").iter(batch_size=_BATCH):
        kept = batch.filter(pa.array(keep[start : start + len(batch)]))
        start += len(batch)
        # One batch of many rows instead of the many small ones that a table on disk is made of.
        yield kept.combine_chunks()
