"""CSV and Parquet files of one's own, whose columns are called as the table's are or are mapped to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..corpus import Corpus
from ..schema import REQUIRED_COLUMNS
from ..spool import as_dataset
from ..steps import Step
from .blocks import Rows
from .files import listed
from .interactions import make_interactions
from .items import Catalogue, as_written, describe, make_items
from .rules import BadTimestamps, ExactDuplicates, Repeats, Rules, TimestampUnit
from .table_file import SUFFIXES, TableFile

COLUMNS = ("user_id", "item_id", "timestamp", "rating", "review")
_ITEM_COLUMNS = ("item_id", "title", "text")


def read_columns(
    path: Path,
    *,
    interactions: str | None = None,
    items: str | None = None,
    explanations: str | None = None,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    name: str | None = None,
    catalogue: Catalogue = "all",
    timestamp_unit: TimestampUnit = "s",
    timestamps: str = "column",
    exact_duplicates: ExactDuplicates = "keep",
    repeats: Repeats = "keep",
    bad_timestamps: BadTimestamps = "error",
) -> Corpus:
    """Read CSV or Parquet files with a row for each interaction.

    Args:
        path: the file of interactions, or the folder with `interactions.csv`, `.tsv` or `.parquet`.
        interactions: name of the file in the folder, where it is called something else.
        items: name of a file with a row for each item; by default `items.*` beside `interactions.*`, if it is there.
            Without it, an item's title is its ID.
        explanations: likewise with `user_id`, `item_id`, `explanation` and `feature`.
        columns: what `user_id`, `item_id`, `timestamp`, and optionally `rating` and `review`, are called in the file,
            where they are called something else.
        item_columns: likewise `item_id`, `title` and optionally `text`.
        delimiter: what separates the values of a CSV file; by default a comma, and a tab in `.tsv`.
        name: what to call the corpus; by default the name of the file, or of the folder if the file is
            `interactions.*`.
        catalogue: whether items that nobody took stay.
        timestamp_unit: of a column of numbers; Parquet's own times are converted.
        timestamps: `"column"`, or `"order"` for a file without times: a row's time is then its place in the
            file, from 0.
        exact_duplicates: what becomes of rows that equal an earlier one.
        repeats: what becomes of other rows of one user with one item.
        bad_timestamps: what becomes of rows without a time, or with one that cannot be.

    Raises:
        FileNotFoundError: a file is missing.
        CorpusFormatError: a file is damaged, or a column is missing or not of its type.
        ValueError: an option does not have a value that it can have.
    """
    rules = Rules(exact_duplicates, repeats, bad_timestamps, timestamp_unit)
    if timestamps not in ("column", "order"):
        raise ValueError(f"timestamps must be 'column' or 'order', got {timestamps!r}")
    named = check_columns(columns or {}, COLUMNS)
    named_items = check_columns(item_columns or {}, _ITEM_COLUMNS, "item_columns")
    files = _files(path, interactions, items, explanations)
    optional = {column for column in ("rating", "review") if column not in named}
    wanted = [column for column in COLUMNS if not (column == "timestamp" and timestamps == "order")]
    source = TableFile(
        files["interactions"], {column: named.get(column, column) for column in wanted}, optional, delimiter
    )
    pieces = source.rows(timestamp_unit)
    if timestamps == "order":
        pieces = numbered(pieces)
    table, counts = make_interactions(pieces, [*source.present, "timestamp"], rules)
    described = None
    if "items" in files:
        item_source = TableFile(
            files["items"], {column: named_items.get(column, column) for column in _ITEM_COLUMNS}, {"text"}, delimiter
        )
        described = _described(item_source)
    item_table, item_counts = make_items(table, described, catalogue=catalogue, by="file")
    tables = {"interactions": table, "items": item_table}
    if "explanations" in files:
        texts = {column: column for column in REQUIRED_COLUMNS["explanations"]}
        rows = [rows.table for rows in TableFile(files["explanations"], texts, set(), delimiter).rows()]
        tables["explanations"] = as_dataset(pa.concat_tables(rows).combine_chunks())
        counts["explanations read"] = len(tables["explanations"])
    settings = {
        "files": ", ".join(file.name for file in files.values()),
        "timestamps": timestamps,
        "catalogue": catalogue,
        **rules.settings(),
    }
    if name is None:
        stem = files["interactions"].name.split(".")[0]
        name = files["interactions"].resolve().parent.name if stem == "interactions" else stem
    return Corpus.from_tables(name, tables, [Step("read columns", settings, {**counts, **item_counts})])


def find_columns(path: Path) -> list[str]:
    """The files by which a folder, or a file, is recognised; not a folder that `Corpus.to_parquet` wrote."""
    if path.is_file():
        return [path.name] if path.name.endswith(SUFFIXES) else []
    if (path / "corpus.json").is_file():
        return []
    found = (_beside(path, table) for table in ("interactions", "items", "explanations"))
    names = [file.name for file in found if file is not None]
    return names if names and names[0].startswith("interactions.") else []


def check_columns(columns: Mapping[str, str], known: tuple[str, ...], option: str = "columns") -> dict[str, str]:
    """A mapping from columns of a table to those of a file.

    Raises:
        ValueError: it names a column that the table does not have.
    """
    unknown = [column for column in columns if column not in known]
    if unknown:
        raise ValueError(
            f"{option} maps columns of the table to those of the file; the table has no column {unknown[0]!r}, only "
            f"{', '.join(known)}"
        )
    wrong = [column for column, in_file in columns.items() if not isinstance(in_file, str) or not in_file]
    if wrong:
        raise ValueError(f"{option} must map {wrong[0]!r} to the name of a column, got {columns[wrong[0]]!r}")
    return dict(columns)


def numbered(pieces: Iterator[Rows]) -> Iterator[Rows]:
    """Give each row a running number over all pieces as its timestamp."""
    start = 0
    for rows in pieces:
        numbers = pa.array(np.arange(start, start + rows.table.num_rows))
        start += rows.table.num_rows
        yield replace(rows, table=rows.table.append_column("timestamp", numbers))


def _files(path: Path, interactions: str | None, items: str | None, explanations: str | None) -> dict[str, Path]:
    folder = path if path.is_dir() else path.parent
    files: dict[str, Path | None] = {"interactions": path if path.is_file() else None}
    named = {"interactions": interactions, "items": items, "explanations": explanations}
    if path.is_file() and interactions is not None:
        raise ValueError(f"data_dir is the file {path}, so interactions={interactions!r} has nothing to name")
    by_default = path.is_dir() and interactions is None
    for table, given in named.items():
        if given is not None:
            files[table] = folder / given
        elif by_default:
            files[table] = _beside(folder, table)
    if files["interactions"] is None:
        raise FileNotFoundError(
            f"{folder} has no file interactions.csv, .tsv or .parquet; it has {listed(folder)}. Name the file with the "
            "option interactions"
        )
    for file in files.values():
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"there is no file {file}; {folder} has {listed(folder)}")
    return {table: file for table, file in files.items() if file is not None}


def _beside(folder: Path, table: str) -> Path | None:
    return next((folder / f"{table}{suffix}" for suffix in SUFFIXES if (folder / f"{table}{suffix}").is_file()), None)


def _described(source: TableFile) -> pa.Table:
    has_text = "text" in source.present
    return describe(source.rows(), (lambda piece: piece["text"].to_pylist()) if has_text else None, clean=as_written)
