"""RecBole's atomic files: `.inter`, `.item` and `.user`, whose first lines name and type the columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..corpus import Corpus
from ..schema import CorpusFormatError
from ..steps import Step
from .blocks import Rows
from .columns import COLUMNS, check_columns, numbered
from .delimited import Dialect, read_delimited, read_header
from .files import matching, one_of, whole_or_parts
from .interactions import make_interactions
from .items import Catalogue, describe, make_items
from .rules import BadTimestamps, ExactDuplicates, Repeats, Rules, TimestampUnit

_TYPES = {"token": pa.string(), "float": pa.float64(), "token_seq": pa.string(), "float_seq": pa.string()}
_PLAIN = Dialect("\t", quoted=False)
_TITLES = ("title", "item_title", "movie_title", "item_name", "product_name", "name")
"""Columns of `.item` that are the title where none is named."""


def read_recbole(
    data_dir: Path,
    *,
    dataset: str | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    catalogue: Catalogue = "all",
    timestamp_unit: TimestampUnit = "s",
    timestamps: str = "column",
    exact_duplicates: ExactDuplicates = "keep",
    repeats: Repeats = "keep",
    bad_timestamps: BadTimestamps = "error",
) -> Corpus:
    """Read RecBole's atomic files (Zhao et al., "RecBole", CIKM 2021).

    A column of the header is `name:type` with the types `token`, `float`, `token_seq` and `float_seq`; values are
    separated by tabs, those of a sequence by spaces. `<dataset>.train.inter`, `.valid.inter` and `.test.inter` are read
    as one: how to split is decided later. `.user` is not read, since the tables have no column for it.

    Args:
        data_dir: the folder.
        dataset: which one, as in the files' names; needed where the folder has several.
        columns: what `user_id`, `item_id`, `timestamp`, `rating` and `review` are called in `.inter`, and `title` in
            `.item`, where they are called something else. Without it, the title is the first of `title`, `item_title`,
            `movie_title`, `item_name`, `product_name` and `name` that is there. The other columns of `.item` become
            its text, as `categories: …. `
        name: what to call the corpus, the dataset's name by default.
        catalogue: whether items of `.item` that nobody took stay.
        timestamp_unit: of the file.
        timestamps: `"column"`, or `"order"` for a file without times: a row's time is then its place in the
            file, from 0.
        exact_duplicates: what becomes of rows that equal an earlier one.
        repeats: what becomes of other rows of one user with one item.
        bad_timestamps: what becomes of rows without a time, or with one that cannot be.

    Raises:
        FileNotFoundError: there is no such file, or one of the three parts is missing.
        CorpusFormatError: a file is damaged, or a column is missing.
        ValueError: an option does not have a value that it can have.
    """
    rules = Rules(exact_duplicates, repeats, bad_timestamps, timestamp_unit)
    named = check_columns(columns or {}, (*COLUMNS, "title"))
    found = whole_or_parts(data_dir, matching(data_dir, r"(?P<key>.+)\.inter(?:\.gz)?"), ".inter")
    dataset, _ = one_of(data_dir, {key: paths[0] for key, paths in found.items()}, dataset, "dataset", "*.inter")
    paths = found[dataset]
    present = _interaction_columns(paths[0], named, timestamps)
    pieces: Iterator[Rows] = chain.from_iterable(_rows(path, present) for path in paths)
    kept = list(present)
    if timestamps == "order":
        pieces, kept = numbered(pieces), [*kept, "timestamp"]
    interactions, counts = make_interactions(pieces, kept, rules)
    item_file = matching(data_dir, rf"(?P<key>{re.escape(dataset)})\.item(?:\.gz)?").get(dataset)
    described = None if item_file is None else _described(item_file, named)
    items, item_counts = make_items(interactions, described, catalogue=catalogue)
    files = ", ".join(path.name for path in [*paths, item_file] if path)
    settings = {"files": files, "timestamps": timestamps, "catalogue": catalogue, **rules.settings()}
    step = Step("read recbole", settings, {**counts, **item_counts})
    name = dataset if name is None else name
    return Corpus.from_tables(name, {"interactions": interactions, "items": items}, [step])


def find_recbole(path: Path) -> list[str]:
    """The files by which a folder is recognised."""
    return (
        [file.name for file in sorted(path.iterdir()) if re.search(r"\.inter(\.gz)?$", file.name)]
        if path.is_dir()
        else []
    )


def _header(path: Path) -> dict[str, tuple[str, str]]:
    """For each column's name what the header calls it, and its type."""
    columns: dict[str, tuple[str, str]] = {}
    for written in read_header(path, _PLAIN):
        column, _, kind = written.rpartition(":")
        if not column or kind not in _TYPES:
            raise CorpusFormatError(
                f"{path}, line 1: expected 'name:type' with a type of {', '.join(_TYPES)}, got {written!r}"
            )
        if column in columns:
            raise CorpusFormatError(f"{path}, line 1: the column {column!r} is there more than once")
        columns[column] = (written, kind)
    return columns


def _interaction_columns(path: Path, named: Mapping[str, str], timestamps: str) -> dict[str, str]:
    """For each column of the table that there is, its name in the file without the type."""
    if timestamps not in ("column", "order"):
        raise ValueError(f"timestamps must be 'column' or 'order', got {timestamps!r}")
    header = _header(path)
    present = {}
    for column in COLUMNS:
        in_file = named.get(column, column)
        if in_file in header and not (column == "timestamp" and timestamps == "order"):
            present[column] = in_file
        elif column in named or column in ("user_id", "item_id"):
            raise CorpusFormatError(
                f"{path} has no column {in_file!r}; it has {', '.join(header)}: name it with columns={{{column!r}: …}}"
            )
    if "timestamp" not in present and timestamps == "column":
        raise CorpusFormatError(
            f"{path} has no timestamps; its columns are {', '.join(header)}. Name them with columns={{'timestamp': …}},"
            " or take the order of the rows for the order in time: timestamps='order'"
        )
    return present


def _rows(path: Path, present: Mapping[str, str]) -> Iterator[Rows]:
    header = _header(path)
    missing = [column for column in present.values() if column not in header]
    if missing:
        raise CorpusFormatError(f"{path} lacks the columns {missing}; it has {', '.join(header)}")
    numbers = {"timestamp": pa.float64(), "rating": pa.float64()}
    written = {header[in_file][0]: numbers.get(column, pa.string()) for column, in_file in present.items()}
    for rows in read_delimited(path, written, _PLAIN):
        named = rows.renamed(present)
        yield replace(named, table=_whole_times(named.table))


def _whole_times(table: pa.Table) -> pa.Table:
    """Times as whole numbers where they are some: RecBole writes every number as a float."""
    if "timestamp" not in table.column_names or table["timestamp"].null_count:
        return table
    times = table["timestamp"].to_numpy()
    if not (np.isfinite(times).all() and (np.abs(times) < 2**53).all() and (times == np.floor(times)).all()):
        return table
    place = table.schema.get_field_index("timestamp")
    return table.set_column(place, "timestamp", pa.array(times.astype(np.int64)))


def _described(path: Path, named: Mapping[str, str]) -> pa.Table:
    header = _header(path)
    if "item_id" not in header and named.get("item_id") not in header:
        raise CorpusFormatError(f"{path} has no column 'item_id'; it has {', '.join(header)}")
    item_id = "item_id" if "item_id" in header else named["item_id"]
    title = named.get("title") or next((column for column in _TITLES if column in header), None)
    if title is not None and title not in header:
        raise CorpusFormatError(f"{path} has no column {title!r}; it has {', '.join(header)}")
    others = [column for column in header if column not in (item_id, title)]
    types = {written: pa.string() for written, _ in header.values()}

    def pieces() -> Iterator[Rows]:
        for rows in read_delimited(path, types, _PLAIN):
            table = rows.table.rename_columns(list(header))
            titles = pa.array([""] * table.num_rows, pa.string()) if title is None else table[title]
            texts = {f"text {column}": table[column] for column in others}
            yield replace(rows, table=pa.table({"item_id": table[item_id], "title": titles, **texts}))

    def text_of(piece: pa.Table) -> list[str]:
        columns = [piece[f"text {column}"].to_pylist() for column in others]
        return [
            " ".join(f"{column}: {value.strip()}." for column, value in zip(others, row, strict=True) if value.strip())
            for row in zip(*columns, strict=True)
        ]

    return describe(pieces(), text_of if others else None)
