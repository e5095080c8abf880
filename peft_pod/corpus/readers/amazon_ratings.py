"""The rating files of Amazon's release of 2023: `user_id,parent_asin,rating,timestamp[,history]`, as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ..corpus import Corpus
from ..schema import CorpusFormatError
from ..steps import Step
from .amazon_items import read_descriptions
from .blocks import Rows
from .delimited import Dialect, read_delimited, read_header
from .files import matching, one_of, whole_or_parts
from .interactions import make_interactions
from .items import Catalogue, make_items
from .rules import BadTimestamps, ExactDuplicates, Repeats, Rules

_FILES = r"(?P<key>.+)\.csv(?:\.gz)?"
_HEADER = ["user_id", "parent_asin", "rating", "timestamp"]
_TYPES = {"user_id": pa.string(), "parent_asin": pa.string(), "timestamp": pa.int64(), "rating": pa.float64()}
_EXPECTED = "*.csv[.gz] with the columns user_id, parent_asin, rating, timestamp"


def read_amazon_ratings(
    data_dir: Path,
    *,
    category: str | None = None,
    name: str | None = None,
    catalogue: Catalogue = "taken",
    exact_duplicates: ExactDuplicates = "drop",
    repeats: Repeats = "keep",
    bad_timestamps: BadTimestamps = "error",
) -> Corpus:
    """Read the ratings of one category of Amazon's release of 2023 (Hou et al., 2024), such as the 5-core.

    The release also comes as three files `<category>.train.csv`, `.valid.csv` and `.test.csv`. These are read as one:
    how to split is decided later. The column `history` is not read, since it follows from the other rows.

    Args:
        data_dir: the folder, with `meta_<category>.jsonl[.gz]` beside the ratings where titles are wanted.
        category: which one, as in the files' names; needed where the folder has several.
        name: what to call the corpus, `amazon-2023-ratings/<category>` by default.
        catalogue: as in `read_amazon`.
        exact_duplicates: likewise.
        repeats: likewise.
        bad_timestamps: likewise.

    Raises:
        FileNotFoundError: there is no such file, or one of the three parts is missing.
        CorpusFormatError: a file is damaged, or there are several categories and none is named.
        ValueError: an option does not have a value that it can have.
    """
    rules = Rules(exact_duplicates, repeats, bad_timestamps, "ms")
    files = {key: path for key, path in matching(data_dir, _FILES).items() if _is_of_the_release(path)}
    found = whole_or_parts(data_dir, files, ".csv[.gz]")
    firsts = {key: paths[0] for key, paths in found.items()}
    category, _ = one_of(data_dir, firsts, category, "category", _EXPECTED)
    paths = found[category]
    interactions, counts = make_interactions(_rows(paths), ("user_id", "item_id", "timestamp", "rating"), rules)
    metadata = matching(data_dir, r"meta_(?P<key>.+?)\.jsonl(?:\.gz)?").get(category)
    described = None if metadata is None else read_descriptions(metadata, 2023, interactions, catalogue)
    items, item_counts = make_items(interactions, described, catalogue=catalogue)
    names = ", ".join(path.name for path in [*paths, metadata] if path)
    settings = {"files": names, "catalogue": catalogue, **rules.settings()}
    step = Step("read amazon-2023-ratings", settings, {**counts, **item_counts})
    name = f"amazon-2023-ratings/{category}" if name is None else name
    return Corpus.from_tables(name, {"interactions": interactions, "items": items}, [step])


def find_amazon_ratings(path: Path) -> list[str]:
    """The files by which a folder is recognised."""
    if not path.is_dir():
        return []
    return [file.name for file in matching(path, _FILES).values() if _is_of_the_release(file)]


def _is_of_the_release(path: Path) -> bool:
    try:
        return read_header(path)[: len(_HEADER)] == _HEADER
    except (CorpusFormatError, OSError):
        return False


def _rows(paths: list[Path]) -> Iterator[Rows]:
    for path in paths:
        # The columns of the release need no quotes, and without them each row has a line of its own.
        for rows in read_delimited(path, _TYPES, Dialect(quoted=False)):
            yield rows.renamed("item_id" if column == "parent_asin" else column for column in rows.table.column_names)
