"""MovieLens as released since 1M: `ratings.dat` and `movies.dat`, or `ratings.csv` and `movies.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..corpus import Corpus
from ..lines import find_file, malformed, read_lines
from ..schema import CorpusFormatError
from ..steps import Step
from .blocks import Rows
from .delimited import Dialect, read_delimited
from .interactions import make_interactions
from .items import describe, make_items
from .rules import BadTimestamps, ExactDuplicates, Repeats, Rules

_DAT_HEADER = ("userId", "movieId", "rating", "timestamp")
_TYPES = {"userId": pa.string(), "movieId": pa.string(), "timestamp": pa.int64(), "rating": pa.float64()}
_COLUMNS = {"userId": "user_id", "movieId": "item_id"}
_NO_GENRES = "(no genres listed)"


@dataclass(frozen=True)
class _Release:
    """Which files a release has and how they are written."""

    name: str
    ratings: str
    movies: str
    dialect: Dialect


_RELEASES = {
    "dat": _Release("movielens-1m", "ratings.dat", "movies.dat", Dialect("::", quoted=False, header=_DAT_HEADER)),
    "csv": _Release("movielens", "ratings.csv", "movies.csv", Dialect()),
}


def read_movielens(
    data_dir: Path,
    *,
    kind: str,
    name: str | None = None,
    exact_duplicates: ExactDuplicates = "error",
    repeats: Repeats = "error",
    bad_timestamps: BadTimestamps = "error",
) -> Corpus:
    """Read MovieLens 1M and 10M (`kind="dat"`), or latest, 20M, 25M and 32M (`kind="csv"`).

    Titles keep their year, genres become the text. The catalogue is ordered by title, since the numbers of the movies
    were handed out in the order in which they came to the catalogue. All movies stay in it, rated or not.

    Args:
        data_dir: the folder with the two files.
        kind: how they are written.
        name: what to call the corpus; by default `movielens-1m`, and for `"csv"` the name of the folder, such as
            `ml-25m`.
        exact_duplicates: what becomes of ratings that equal an earlier one; the releases have none.
        repeats: what becomes of other ratings of one user for one movie; the releases have none.
        bad_timestamps: what becomes of ratings without a time, or with one that cannot be.

    Raises:
        FileNotFoundError: one of the files is missing.
        CorpusFormatError: a file is damaged, a rated movie is not in the file of movies, or there are repeats.
        ValueError: an option does not have a value that it can have.
    """
    if kind not in _RELEASES:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _RELEASES))}, got {kind!r}")
    release = _RELEASES[kind]
    rules = Rules(exact_duplicates, repeats, bad_timestamps)
    ratings = find_file(data_dir, release.ratings, or_gzip=True)
    movies = find_file(data_dir, release.movies, or_gzip=True)
    columns = ("user_id", "item_id", "timestamp", "rating")
    interactions, counts = make_interactions(_ratings(ratings, release.dialect), columns, rules)
    pieces = _movies_of_dat(movies) if kind == "dat" else _movies_of_csv(movies)
    described = describe(pieces, _texts)
    items, item_counts = make_items(interactions, described, by="title", undescribed="error")
    settings = {"files": f"{ratings.name}, {movies.name}", **rules.settings()}
    step = Step(f"read {release.name}", settings, {**counts, **item_counts})
    if name is None:
        name = release.name if kind == "dat" else data_dir.resolve().name or release.name
    return Corpus.from_tables(name, {"interactions": interactions, "items": items}, [step])


def find_movielens(path: Path, *, kind: str) -> list[str]:
    """The files by which a folder is recognised."""
    release = _RELEASES[kind]
    found = [
        next((name for name in (base, f"{base}.gz") if (path / name).is_file()), "")
        for base in (release.ratings, release.movies)
    ]
    return found if all(found) else []


def _ratings(path: Path, dialect: Dialect) -> Iterator[Rows]:
    for rows in read_delimited(path, _TYPES, dialect):
        yield rows.renamed(_COLUMNS.get(column, column) for column in rows.table.column_names)


def _movies_of_csv(path: Path) -> Iterator[Rows]:
    types = {"movieId": pa.string(), "title": pa.string(), "genres": pa.string()}
    for rows in read_delimited(path, types):
        yield rows.renamed(["item_id", "title", "genres"])


def _movies_of_dat(path: Path) -> Iterator[Rows]:
    columns: dict[str, list[str]] = {"item_id": [], "title": [], "genres": []}
    for number, line in read_lines(path, encoding=_encoding(path)):
        values = line.split("::")
        if len(values) != len(columns):
            malformed(path, number, f"expected movie, title and genres separated by '::', got {len(values)}: {line!r}")
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    yield Rows(path, 1, pa.table(columns))


def _encoding(path: Path) -> str:
    """1M is written in Latin-1, 10M in UTF-8; text with a character beyond ASCII is hardly ever right in both."""
    try:
        for _ in read_lines(path):
            pass
    except CorpusFormatError as error:
        if isinstance(error.__cause__, UnicodeDecodeError) or isinstance(error.__context__, UnicodeDecodeError):
            return "latin-1"
        raise
    return "utf-8"


def _texts(movies: pa.Table) -> list[str]:
    genres = movies["genres"].to_pylist()
    return [f"Genres: {', '.join(one.split('|')) if one and one != _NO_GENRES else 'none'}" for one in genres]
