"""Amazon reviews as released in 2014, 2018 and 2023: one JSON object a line, plain or with `.gz`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..corpus import Corpus
from ..lines import open_binary
from ..steps import Step
from .amazon_items import read_descriptions
from .blocks import Rows
from .files import matching, one_of
from .interactions import make_interactions
from .items import Catalogue, make_items
from .json_lines import read_json_lines
from .rules import BadTimestamps, ExactDuplicates, Repeats, Rules, TimestampUnit


@dataclass(frozen=True)
class _Edition:
    """How one of the three releases is written.

    Args:
        reviews: names of the files of reviews, with the category as `key`.
        recognised: those of these names that are particular enough to recognise the format by.
        metadata: names of the files of items.
        fields: what the columns of the table are called in the file, and their types there.
        unit: of the timestamps.
        expected: what the folder should have, for messages.
    """

    reviews: str
    recognised: str
    metadata: str
    fields: dict[str, tuple[str, pa.DataType]]
    unit: TimestampUnit
    expected: str


_OLD_FIELDS = {
    "user_id": ("reviewerID", pa.string()),
    "item_id": ("asin", pa.string()),
    "timestamp": ("unixReviewTime", pa.int64()),
    "rating": ("overall", pa.float64()),
    "review": ("reviewText", pa.string()),
}
_NEW_FIELDS = {
    "user_id": ("user_id", pa.string()),
    "item_id": ("parent_asin", pa.string()),
    "timestamp": ("timestamp", pa.int64()),
    "rating": ("rating", pa.float64()),
    "review": ("text", pa.string()),
}
_EDITIONS = {
    2014: _Edition(
        reviews=r"reviews_(?P<key>.+?)(?:_5)?(?:\.part)?\.json(?:\.gz)?",
        recognised=r"reviews_(?P<key>.+?)(?:_5)?(?:\.part)?\.json(?:\.gz)?",
        metadata=r"meta_(?P<key>.+?)\.json(?:\.gz)?",
        fields=_OLD_FIELDS,
        unit="s",
        expected="reviews_*_5.json[.gz]",
    ),
    2018: _Edition(
        reviews=r"(?!reviews_|meta_)(?P<key>.+?)(?:_5)?\.json(?:\.gz)?",
        recognised=r"(?!reviews_|meta_)(?P<key>.+?)_5\.json(?:\.gz)?",
        metadata=r"meta_(?P<key>.+?)\.json(?:\.gz)?",
        fields=_OLD_FIELDS,
        unit="s",
        expected="*_5.json[.gz]",
    ),
    2023: _Edition(
        reviews=r"(?!meta_)(?P<key>.+?)\.jsonl(?:\.gz)?",
        recognised=r"(?!meta_)(?P<key>.+?)\.jsonl(?:\.gz)?",
        metadata=r"meta_(?P<key>.+?)\.jsonl(?:\.gz)?",
        fields=_NEW_FIELDS,
        unit="ms",
        expected="*.jsonl[.gz]",
    ),
}
_PEEK = 2**16


def read_amazon(
    data_dir: Path,
    *,
    year: int,
    category: str | None = None,
    name: str | None = None,
    catalogue: Catalogue = "taken",
    exact_duplicates: ExactDuplicates = "drop",
    repeats: Repeats = "keep",
    bad_timestamps: BadTimestamps = "error",
) -> Corpus:
    """Read Amazon reviews of one category (McAuley et al., 2015; Ni et al., 2019; Hou et al., 2024).

    Args:
        data_dir: the folder with the file of reviews and, where there is one, the file of metadata.
        year: of the release: 2014, 2018 or 2023. In 2023 an item is what `parent_asin` names, and times are in
            milliseconds.
        category: which one, as in the files' names; needed where the folder has several.
        name: what to call the corpus, `amazon-<year>/<category>` by default.
        catalogue: whether only items that somebody reviewed are in the catalogue, since the metadata are of a whole
            category (`"taken"`), or all.
        exact_duplicates: what becomes of reviews that equal an earlier one in all that is kept of them (user, item,
            time, rating, text); the releases have many, mostly for variants of one product.
        repeats: what becomes of other reviews of one user for one item.
        bad_timestamps: what becomes of reviews without a time, or with one that cannot be.

    Raises:
        FileNotFoundError: there is no such file.
        CorpusFormatError: a file is damaged, or there are several categories and none is named.
        ValueError: an option does not have a value that it can have.
    """
    if year not in _EDITIONS:
        raise ValueError(f"year must be one of {', '.join(map(str, _EDITIONS))}, got {year!r}")
    edition = _EDITIONS[year]
    rules = Rules(exact_duplicates, repeats, bad_timestamps, edition.unit)
    # The names of 2018 are so general that other JSON files look like reviews too: the particular names go first.
    found = matching(data_dir, edition.recognised)
    if not found or (category is not None and category not in found):
        found = matching(data_dir, edition.reviews)
    category, reviews = one_of(data_dir, found, category, "category", edition.expected)
    interactions, counts = make_interactions(_reviews(reviews, year), edition.fields, rules, html=True)
    metadata = matching(data_dir, edition.metadata).get(category)
    described = None if metadata is None else read_descriptions(metadata, year, interactions, catalogue)
    items, item_counts = make_items(interactions, described, catalogue=catalogue)
    name = f"amazon-{year}/{category}" if name is None else name
    files = ", ".join(path.name for path in (reviews, metadata) if path)
    settings = {"files": files, "catalogue": catalogue, **rules.settings()}
    step = Step(f"read amazon-{year}", settings, {**counts, **item_counts})
    return Corpus.from_tables(name, {"interactions": interactions, "items": items}, [step])


def find_amazon(path: Path, *, year: int) -> list[str]:
    """The files by which a folder is recognised as reviews of a year."""
    if not path.is_dir():
        return []
    found = matching(path, _EDITIONS[year].recognised).values()
    return [file.name for file in found if year != 2023 or _has(file, b'"parent_asin"')]


def _has(path: Path, word: bytes) -> bool:
    try:
        with open_binary(path) as file:
            return word in file.read(_PEEK)
    except (OSError, EOFError, zlib.error):
        return False


def _reviews(path: Path, year: int) -> Iterator[Rows]:
    fields = _EDITIONS[year].fields
    for rows in read_json_lines(path, pa.schema(list(fields.values())), literals=year == 2014):
        yield rows.renamed(fields)
