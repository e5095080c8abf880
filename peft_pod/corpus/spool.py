"""Tables that grow piece by piece: in memory while they are small, in a file from a size on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from datasets import Dataset

from .ragged import IntArray

IN_MEMORY = 256 * 2**20
"""A table with more bytes than this goes to a file."""
_SLICE = 200_000


def collect(pieces: Iterable[pa.Table], schema: pa.Schema, in_memory: int | None = None) -> pa.Table:
    """One table of many.

    A large table is written to a file in the folder for temporary files (`TMPDIR` names another one) and read from
    there when its values are asked for. The file is gone when the table is, and when a piece can't be made.

    Args:
        pieces: tables with the columns of `schema`.
        schema: names and types.
        in_memory: how many bytes stay in memory, `IN_MEMORY` by default.

    Example:
        >>> schema = pa.schema([("n", pa.int64())])
        >>> collect((pa.table({"n": [n]}) for n in range(3)), schema)["n"].to_pylist()
        [0, 1, 2]
    """
    limit = IN_MEMORY if in_memory is None else in_memory
    pieces = iter(pieces)
    held, size = [], 0
    for piece in pieces:
        held.append(piece.select(schema.names).cast(schema))
        size += held[-1].nbytes
        if size > limit:
            break
    else:
        return pa.concat_tables(held).combine_chunks() if held else schema.empty_table()
    return _through_file(_all(held, pieces, schema), schema)


def as_dataset(table: pa.Table) -> Dataset:
    """A data set of a table.

    `datasets` names a data set by a hash of its bytes, for which it copies them all. A large one gets a name by chance.
    """
    return Dataset(table, fingerprint=uuid4().hex[:16]) if table.nbytes > IN_MEMORY // 4 else Dataset(table)


def rows_in_order(table: pa.Table, order: IntArray, in_memory: int | None = None) -> pa.Table:
    """Rows of a table by their places, without holding a large table in memory.

    Args:
        table: the table.
        order: places of rows; those that are not named are left out.
        in_memory: as in `collect`.
    """
    return collect(_slices(table.to_batches(), order, table.schema), table.schema, in_memory)


def _all(held: list[pa.Table], pieces: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    while held:
        yield held.pop(0)
    for piece in pieces:
        yield piece.select(schema.names).cast(schema)


def _slices(batches: list[pa.RecordBatch], order: IntArray, schema: pa.Schema) -> Iterator[pa.Table]:
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    for begin in range(0, len(order), _SLICE):
        places = order[begin : begin + _SLICE]
        # Rows are taken batch by batch, each batch's rows in one go, and then brought into the wanted order.
        by_place = np.argsort(places, kind="stable")
        ascending = places[by_place]
        numbers = np.searchsorted(starts, ascending, side="right") - 1
        borders = np.flatnonzero(np.diff(numbers)) + 1
        groups = np.split(ascending, borders)
        taken = [
            batches[number].take(pa.array(group - starts[number]))
            for number, group in zip(numbers[np.concatenate([[0], borders])], groups, strict=True)
        ]
        back = np.empty(len(places), dtype=np.int64)
        back[by_place] = np.arange(len(places))
        yield pa.Table.from_batches(taken, schema).combine_chunks().take(pa.array(back))


def _through_file(pieces: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    with tempfile.NamedTemporaryFile(prefix="peft_pod-", suffix=".arrow", delete=False) as file:
        path = Path(file.name)
        try:
            with pa.ipc.new_stream(file, schema) as writer:
                for piece in pieces:
                    writer.write_table(piece)
        except BaseException:
            path.unlink()
            raise
    table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    # What is mapped stays readable, only the name goes. Windows does not let go of a file in use: there it stays.
    with contextlib.suppress(PermissionError):
        path.unlink()
    return table
