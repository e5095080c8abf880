"""A CSV or Parquet file with the columns of a table, under their own names or others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schema import CorpusFormatError
from .blocks import Rows
from .delimited import Dialect, read_delimited, read_header
from .rules import TimestampUnit

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_BATCH = 500_000
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass
class TableFile:
    """A file and what its columns are called.

    Args:
        path: the file.
        names: for each column of the table its name in the file.
        optional: columns that may be missing.
        delimiter: of a CSV file; `None` for a comma, and a tab in `.tsv`.

    Attributes:
        present: the columns of the table that there are, with their names in the file.

    Raises:
        CorpusFormatError: the file is of neither kind or damaged, or a column is missing.
        ValueError: the delimiter is none.
    """

    path: Path
    names: dict[str, str]
    optional: set[str] = field(default_factory=set)
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if not self.path.name.endswith(SUFFIXES):
            raise CorpusFormatError(f"{self.path} is neither CSV nor Parquet; known endings are {', '.join(SUFFIXES)}")
        self.is_parquet = self.path.suffix == ".parquet"
        usual = "\t" if ".tsv" in self.path.suffixes else ","
        self.dialect = Dialect(usual if self.delimiter is None else self.delimiter)
        header = self._parquet_header() if self.is_parquet else read_header(self.path, self.dialect)
        self.present = {column: in_file for column, in_file in self.names.items() if in_file in header}
        missing = [column for column in self.names if column not in self.present and column not in self.optional]
        if missing:
            hint = "; a file without times can be read with timestamps='order'" if "timestamp" in missing else ""
            if not self.is_parquet and len(header) == 1:
                hint += f"; the delimiter was {self.dialect.delimiter!r}, another one is given by the option delimiter"
            raise CorpusFormatError(
                f"{self.path} has no column {self.names[missing[0]]!r}; it has {header}. Say what {missing[0]!r} is "
                f"called with the option columns or item_columns{hint}"
            )

    def rows(self, timestamp_unit: TimestampUnit = "s") -> Iterator[Rows]:
        """The rows with the table's names of columns: `timestamp` and `rating` are numbers, all else is text.

        Args:
            timestamp_unit: in which unit to give times that Parquet knows as times.

        Raises:
            CorpusFormatError: the file is damaged or a value is no number; the message has the line or the row.
        """
        yield from self._parquet_rows(timestamp_unit) if self.is_parquet else self._csv_rows()

    def _csv_rows(self) -> Iterator[Rows]:
        # Times are read as text first: a float does not hold all nanoseconds, and a whole number no part of a second.
        types = {name: pa.float64() if column == "rating" else pa.string() for column, name in self.present.items()}
        for rows in read_delimited(self.path, types, self.dialect):
            named = rows.renamed(self.present)
            yield _with_times(named) if "timestamp" in self.present else named

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise CorpusFormatError(f"{self.path} is not a Parquet file, or damaged or cut off: {error}") from error

    def _parquet_header(self) -> list[str]:
        try:
            return self._parquet().schema_arrow.names
        except UnicodeDecodeError as error:
            raise CorpusFormatError(f"{self.path} is damaged: the name of a column is not UTF-8: {error}") from error

    def _parquet_rows(self, unit: TimestampUnit) -> Iterator[Rows]:
        first, wanted = 1, list(self.present.values())
        try:
            for batch in self._parquet().iter_batches(batch_size=_BATCH, columns=wanted):
                table = pa.Table.from_batches([batch]).select(wanted).rename_columns(list(self.present))
                table.validate(full=True)
                columns = {column: _typed(self.path, column, table[column], unit) for column in self.present}
                yield Rows(self.path, first, pa.table(columns), "row")
                first += table.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise CorpusFormatError(f"{self.path} is damaged, at or after row {first}: {error}") from error


def _typed(path: Path, column: str, values: pa.ChunkedArray, unit: TimestampUnit) -> pa.ChunkedArray:
    kind = values.type
    try:
        if column == "timestamp" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            return values.cast(pa.timestamp(unit, getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        if column == "timestamp" and pa.types.is_integer(kind):
            return values.cast(pa.int64())
        if column in ("timestamp", "rating") and not pa.types.is_boolean(kind):
            return values.cast(pa.float64())
        if column not in ("timestamp", "rating") and not pa.types.is_floating(kind):
            return values.cast(pa.string())
    except pa.ArrowException as error:
        raise CorpusFormatError(f"{path}: {column} cannot be read from a column of {kind}: {error}") from error
    # A float is no ID: pandas makes 7.0 of the ID 7 where another row has none.
    raise CorpusFormatError(f"{path}: {column} cannot be read from a column of {kind}")


def _with_times(rows: Rows) -> Rows:
    """The column of times as numbers: whole ones if all are."""
    texts = pc.utf8_trim_whitespace(rows.table["timestamp"])
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    place = rows.table.schema.get_field_index("timestamp")
    for kind in (pa.int64(), pa.float64()):
        try:
            return replace(rows, table=rows.table.set_column(place, "timestamp", texts.cast(kind)))
        except pa.ArrowInvalid:
            continue
    wrong = max(pc.fill_null(pc.match_substring_regex(texts, _NUMBER), True).index(False).as_py(), 0)
    raise CorpusFormatError(
        f"{rows.place(wrong)}: expected a number as timestamp, got {texts[wrong].as_py()!r}; convert dates to seconds "
        "since 1970"
    )
