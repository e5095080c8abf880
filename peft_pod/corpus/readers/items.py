"""The table `items` of a catalogue file, and of items that are only known from interactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..schema import CorpusFormatError, arrow_column
from ..spool import as_dataset
from .blocks import Rows
from .coded import whole
from .interactions import refuse_blank, unescape

Catalogue = Literal["taken", "all"]
_SPACES = r"\s+"


def make_items(
    interactions: Dataset,
    described: pa.Table | None = None,
    *,
    catalogue: Catalogue = "all",
    by: Literal["item_id", "title", "file"] = "item_id",
    undescribed: Literal["title", "error"] = "title",
) -> tuple[Dataset, dict[str, int]]:
    """The table `items`, in an order that does not follow who took what.

    Args:
        interactions: who took what.
        described: `item_id`, `title` and optionally `text` of items; of rows for one item the first counts. `None`
            where nothing is known but IDs.
        catalogue: whether items that nobody took are left out (`"taken"`).
        by: what the items are ordered by; `"file"` for the order of `described`, and then by ID.
        undescribed: what becomes of items that somebody took and that are not described: their title is their ID, or
            they are an error.

    Returns:
        The table, and what each rule found.

    Raises:
        CorpusFormatError: an item that somebody took is not described, and `undescribed` is `"error"`.
        ValueError: `catalogue` is neither of the two.

    Example:
        >>> taken = Dataset.from_dict({"item_id": ["b", "a", "b"]})
        >>> items, counts = make_items(taken, pa.table({"item_id": ["a", "c"], "title": ["An apple", "A cup"]}))
        >>> items["title"][:], counts["items without a description, whose title is their ID"]
        (['An apple', 'b', 'A cup'], 1)
    """
    if catalogue not in ("taken", "all"):
        raise ValueError(f"catalogue must be 'taken' or 'all', got {catalogue!r}")
    counts: dict[str, int] = {}
    taken = pc.unique(arrow_column(interactions, "item_id"))
    if described is None:
        described = pa.schema([("item_id", pa.string()), ("title", pa.string())]).empty_table()
    described, counts["descriptions of an item that is described already, dropped"] = _first_of_each(described)
    unknown = taken.filter(pc.invert(pc.is_in(taken, value_set=whole(described["item_id"]))))
    if len(unknown) and undescribed == "error":
        raise CorpusFormatError(
            f"item {unknown[0].as_py()!r} and {len(unknown) - 1} more were taken and are not in the file of items"
        )
    nobody = pc.invert(pc.is_in(described["item_id"], value_set=taken))
    counts["items that nobody took"] = pc.sum(nobody).as_py() or 0
    counts["of these left out of the catalogue"] = counts["items that nobody took"] if catalogue == "taken" else 0
    if catalogue == "taken":
        described = described.filter(pc.invert(nobody))
    no_title = pc.equal(described["title"], "")
    counts["items without a title, whose title is their ID"] = pc.sum(no_title).as_py() or 0
    titles = pc.if_else(no_title, described["item_id"], described["title"])
    described = described.set_column(described.schema.get_field_index("title"), "title", titles)
    counts["items without a description, whose title is their ID"] = len(unknown)
    bare = {"item_id": unknown, "title": unknown, "text": pa.array([""] * len(unknown), pa.string())}
    table = pa.concat_tables([described, pa.table({name: bare[name] for name in described.column_names})])
    if "text" in table.column_names:
        counts["items without a text"] = pc.sum(pc.equal(table["text"], "")).as_py() or 0
    if by == "file":
        by_id = pc.sort_indices(unknown)
        order = pa.concat_arrays(
            [pa.array(np.arange(described.num_rows)), pc.add(by_id.cast(pa.int64()), described.num_rows)]
        )
    else:
        # The ID makes the order of equal titles definite.
        keys = [by, "item_id"] if by == "title" else [by]
        order = pc.sort_indices(table.select(keys), sort_keys=[(name, "ascending") for name in keys])
    counts["items"] = table.num_rows
    return as_dataset(table.take(order).combine_chunks()), counts


def one_line(texts: pa.Array) -> pa.Array:
    """Texts with single spaces, and "" for null.

    Example:
        >>> one_line(pa.array(["  Tom &amp;\\n Jerry ", None])).to_pylist()
        ['Tom &amp; Jerry', '']
    """
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.fill_null(texts, ""), _SPACES, " "))


def one_line_of_html(texts: pa.Array) -> pa.Array:
    """The same with HTML entities turned into characters.

    Example:
        >>> one_line_of_html(pa.array(["  Tom &amp;\\n Jerry "])).to_pylist()
        ['Tom & Jerry']
    """
    return one_line(unescape(texts)[0])


def as_written(texts: pa.Array) -> pa.Array:
    """Texts as they are, and "" for null."""
    return pc.fill_null(texts, "")


def describe(
    pieces: Iterable[Rows],
    text_of: Callable[[pa.Table], list[str]] | None,
    *,
    wanted: pa.Array | None = None,
    clean: Callable[[pa.Array], pa.Array] = one_line,
) -> pa.Table:
    """`item_id`, `title` and `text` of rows of a catalogue.

    Args:
        pieces: rows with `item_id`, `title` and whatever `text_of` needs.
        text_of: the text of each row; `None` where there is none.
        wanted: only these items, where given.
        clean: what is done to titles and texts.

    Raises:
        CorpusFormatError: a row has no item; the message has the file and the line.
    """
    kept = []
    for rows in pieces:
        refuse_blank(rows, "item_id")
        piece = rows.table
        if wanted is not None:
            piece = piece.filter(pc.is_in(piece["item_id"], value_set=wanted))
        columns = {"item_id": whole(piece["item_id"]), "title": clean(whole(piece["title"]))}
        if text_of is not None:
            columns["text"] = clean(pa.array(text_of(piece), pa.string()))
        kept.append(pa.table(columns))
    names = ["item_id", "title", *(["text"] if text_of is not None else [])]
    return pa.concat_tables(kept) if kept else pa.schema([(name, pa.string()) for name in names]).empty_table()


def _first_of_each(described: pa.Table) -> tuple[pa.Table, int]:
    codes = whole(whole(described["item_id"]).dictionary_encode()).indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    first.sort()
    return described.take(pa.array(first)), described.num_rows - len(first)
