"""Reading users and histories from a file piece by piece, so that memory does not grow with the file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

USER, HISTORY = "user", "history"
ENDINGS = (".parquet", ".jsonl", ".csv")
_TYPES = {USER: pa.string(), HISTORY: pa.list_(pa.string())}
_BUFFER = 2**20
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


@dataclass(frozen=True)
class Chunk:
    """Rows of the input that are answered together.

    Attributes:
        number: of the chunk, from 0.
        first_row: number of its first row in the file, from 0.
        table: the columns `user` and, where the file has it, `history`.
    """

    number: int
    first_row: int
    table: pa.Table

    @property
    def users(self) -> list[str | None]:
        """The user of each row."""
        return list(self.table[USER].to_pylist())

    @property
    def histories(self) -> list[list[str] | None]:
        """The history of each row; `None` where the file gives none."""
        if HISTORY not in self.table.column_names:
            return [None] * len(self.table)
        return list(self.table[HISTORY].to_pylist())


def read_chunks(path: str | os.PathLike[str], rows: int) -> Iterator[Chunk]:
    """Read a file in chunks of so many rows; the last has what is left.

    Args:
        path: `.parquet`, `.jsonl` (one object a line) or `.csv` (users alone), with a column `user` of strings and
            optionally a column `history` of lists of strings. Other columns are not read.
        rows: of a chunk. Where chunks begin does not depend on how the file is cut into row groups or blocks.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its format is none of these, it is damaged, or a column is missing, there more than once, or of
            another type.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "users.parquet"
        >>> pq.write_table(pa.table({"user": ["ann", "bob", "eve"]}), path)
        >>> [(chunk.first_row, chunk.users) for chunk in read_chunks(path, 2)]
        [(0, ['ann', 'bob']), (2, ['eve'])]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--input {path} does not exist, or is no file")
    if path.suffix not in ENDINGS:
        raise ValueError(f"--input {path} must end in {', '.join(ENDINGS)}, which says what it is")
    first_row = 0
    try:
        for number, table in enumerate(_tables_of(_batches(path, rows), rows)):
            yield Chunk(number, first_row, table)
            first_row += len(table)
    except pa.ArrowException as error:
        raise ValueError(f"--input {path} cannot be read as {path.suffix[1:]}: {error}") from error


def _tables_of(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of exactly so many rows from batches of any size."""
    kept: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            kept.append(batch.slice(0, rows - count))
            batch = batch.slice(kept[-1].num_rows)
            count += kept[-1].num_rows
            if count == rows:
                yield pa.Table.from_batches(kept)
                kept, count = [], 0
    if kept:
        yield pa.Table.from_batches(kept)


def _batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        return _parquet_batches(path, rows)
    return _json_batches(path) if path.suffix == ".jsonl" else _csv_batches(path)


def _parquet_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    # Otherwise what was read stays in memory until the file is closed, and a row group comes in as a whole.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        columns = _columns(file.schema_arrow, path)
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            yield batch.select(columns).cast(pa.schema([(name, _TYPES[name]) for name in columns]))


def _json_batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.stat().st_size == 0:  # no line is no row, but an error to pyarrow
        return
    options = pa_json.ParseOptions(explicit_schema=pa.schema(_TYPES), unexpected_field_behavior="ignore")
    with pa_json.open_json(path, parse_options=options) as reader:
        yield from reader


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    # Otherwise "007" would become a number, and an empty ID nothing.
    options = pa_csv.ConvertOptions(column_types={USER: pa.string()}, strings_can_be_null=False)
    with pa_csv.open_csv(path, convert_options=options) as reader:
        if HISTORY in reader.schema.names:
            raise ValueError(f"--input {path} has a column {HISTORY!r}, but CSV has no lists: use .parquet or .jsonl")
        _columns(reader.schema, path)
    # Other columns may hold anything, also what does not go on as it began, which would be an error to who reads them.
    options.include_columns = [USER]
    with pa_csv.open_csv(path, convert_options=options) as reader:
        yield from reader


def _columns(schema: pa.Schema, path: Path) -> list[str]:
    """Those of the two columns that there are, once their types have proved right."""
    if USER not in schema.names:
        raise ValueError(f"--input {path} has no column {USER!r}; it has {', '.join(schema.names) or 'none'}")
    columns = [name for name in _TYPES if name in schema.names]
    for name in columns:
        if schema.names.count(name) > 1:
            raise ValueError(f"--input {path} has {schema.names.count(name)} columns {name!r}: keep one, or rename one")
        kind = schema.field(name).type
        if not (_is_text(kind) if name == USER else _is_list_of_text(kind)):
            wanted = "strings" if name == USER else "lists of strings"
            raise ValueError(f"--input {path}: the column {name!r} must hold {wanted}, the IDs, but holds {kind}")
    return columns


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_list_of_text(kind: Any) -> bool:
    # Columns and lists without a single value have no type of their own.
    if pa.types.is_null(kind):
        return True
    return any(test(kind) for test in _LISTS) and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type))
