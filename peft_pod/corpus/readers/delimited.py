"""Files of rows whose values a character separates: CSV, and what looks like it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv

from ..lines import malformed
from ..schema import CorpusFormatError
from .blocks import Block, Rows, read_blocks

_ARROW_BLOCK = 4 * 2**20
_SHOWN = 200


@dataclass(frozen=True)
class Dialect:
    r"""How the values of a row are told from each other.

    Args:
        delimiter: what stands between them. Several characters are possible where values are not quoted.
        quoted: whether a value may stand between `"`, and then hold delimiters, newlines and `""` for `"`.
        header: the names of the columns; `None` where the file's first line has them.

    Raises:
        ValueError: the delimiter is empty, not ASCII, or several characters and values are quoted.
    """

    delimiter: str = ","
    quoted: bool = True
    header: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.delimiter, str) or not self.delimiter or not self.delimiter.isascii():
            raise ValueError(f"delimiter must be an ASCII character, got {self.delimiter!r}")
        if any(character in '\r\n"' for character in self.delimiter):
            raise ValueError(f"delimiter must be no newline and no quote, got {self.delimiter!r}")
        if self.quoted and len(self.delimiter) > 1:
            raise ValueError(f"delimiter must be one character where values are quoted, got {self.delimiter!r}")


def read_delimited(path: Path, types: Mapping[str, pa.DataType], dialect: Dialect | None = None) -> Iterator[Rows]:
    """The wanted columns of a file. An empty value is null where the type is a number, and `""` where it is a string.

    Args:
        path: the file, plain or with `.gz`.
        types: the wanted columns and their types.
        dialect: how the file is written.

    Raises:
        CorpusFormatError: a wanted column is missing, a row does not have as many values as there are columns, or a
            value is not of its column's type; the message has the file and the line.
    """
    dialect = dialect or Dialect()
    header = list(dialect.header) if dialect.header else read_header(path, dialect)
    missing = [name for name in types if name not in header]
    if missing:
        raise CorpusFormatError(f"{path} lacks the columns {missing}; it has {header}")
    by_line, row = True, 1
    for number, block in enumerate(read_blocks(path, quoted=dialect.quoted)):
        if number == 0 and dialect.header is None:
            block = block.after(block.data.index(b"\n") + 1)
            if not block.data:
                continue
        # Once a value had a newline in it, rows can be counted and lines can't.
        by_line = by_line and not (dialect.quoted and b'"' in block.data)
        table = _parse(block, header, types, dialect)
        yield Rows(path, block.first_line, table) if by_line else Rows(path, row, table, "row")
        row += table.num_rows


def read_header(path: Path, dialect: Dialect | None = None) -> list[str]:
    """The names in the first line of a file.

    Raises:
        CorpusFormatError: the file is empty or damaged, or the line names a column twice.
    """
    dialect = dialect or Dialect()
    first = next(read_blocks(path, quoted=dialect.quoted)).data
    line = first[: first.index(b"\n")].rstrip(b"\r")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        malformed(path, 1, f"the text is not utf-8: {error}")
    if dialect.quoted:
        try:
            header = next(csv.reader([text], delimiter=dialect.delimiter, strict=True), [])
        except csv.Error as error:
            malformed(path, 1, f"expected the names of the columns, got {_shortened(text)}: {error}")
    else:
        header = text.split(dialect.delimiter)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        malformed(path, 1, f"the column {twice[0]!r} is there more than once")
    return header


def _parse(block: Block, header: list[str], types: Mapping[str, pa.DataType], dialect: Dialect) -> pa.Table:
    one_line_a_row = not dialect.quoted or b'"' not in block.data

    def read(data: bytes) -> pa.Table:
        table = _by_arrow(data, header, types, dialect)
        lines = data.count(b"\n")
        if one_line_a_row and table.num_rows != lines:
            raise pa.ArrowInvalid(f"{table.num_rows} rows in {lines} line(s); a line has an empty row or a bare \\r")
        return table

    try:
        return read(block.data)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        _blame(block, read, dialect, error)


def _by_arrow(data: bytes, header: list[str], types: Mapping[str, pa.DataType], dialect: Dialect) -> pa.Table:
    delimiter = dialect.delimiter
    if len(delimiter) > 1:
        # Arrow knows delimiters of one character; this one is made for the purpose and in no text file.
        if b"\x1f" in data:
            raise pa.ArrowInvalid("a value has the control character 31")
        data, delimiter = data.replace(delimiter.encode(), b"\x1f"), "\x1f"
    parse = pa.csv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted and b'"' in data,
        ignore_empty_lines=False,
    )
    convert = pa.csv.ConvertOptions(
        include_columns=list(types), column_types=dict(types), null_values=[""], strings_can_be_null=False
    )
    error: Exception | None = None
    # Small pieces are parsed side by side, but a row that is longer than a piece needs the whole as one.
    for size in dict.fromkeys((min(_ARROW_BLOCK, len(data)), len(data))):
        read = pa.csv.ReadOptions(column_names=header, block_size=size)
        try:
            return pa.csv.read_csv(
                pa.BufferReader(data), read_options=read, parse_options=parse, convert_options=convert
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as found:
            error = found
    raise error or pa.ArrowInvalid("no data")


def _blame(block: Block, read: Callable[[bytes], pa.Table], dialect: Dialect, error: Exception) -> NoReturn:
    """Find the first row that can't be read.

    Raises:
        CorpusFormatError: always.
    """
    ends = _row_ends(block.data, dialect)
    good, bad = 0, len(ends)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            read(block.data[: ends[middle - 1]])
            good = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            bad = middle
    start = ends[bad - 2] if bad > 1 else 0
    row = replace(block.after(start), data=block.data[start : ends[bad - 1]])
    try:
        read(row.data)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as own:
        error = own
    malformed(row.path, row.first_line, f"{error}, in {_shortened(row.data.rstrip().decode('utf-8', 'replace'))}")


def _row_ends(data: bytes, dialect: Dialect) -> list[int]:
    """Where each row ends: after a newline, and outside of quotes."""
    ends, place, odd = [], 0, 0
    while (newline := data.find(b"\n", place)) >= 0:
        odd = (odd + data.count(b'"', place, newline)) % 2 if dialect.quoted else 0
        place = newline + 1
        if not odd:
            ends.append(place)
    return ends or [len(data)]


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
