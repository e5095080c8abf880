"""What the metadata of Amazon's releases say of an item."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..schema import arrow_column
from .blocks import Rows
from .items import Catalogue, describe, one_line_of_html
from .json_lines import read_json_lines

_TEXTS = pa.list_(pa.string())
_BRAND, _CATEGORIES, _FEATURES, _DESCRIPTION = "brand", "categories", "features", "description"
_OLD = {
    "item_id": ("asin", pa.string()),
    "title": ("title", pa.string()),
    _BRAND: ("brand", pa.string()),
    _CATEGORIES: ("categories", _TEXTS),
    _FEATURES: ("feature", _TEXTS),
    _DESCRIPTION: ("description", _TEXTS),
}
_FIELDS = {
    2014: _OLD,
    2018: {**_OLD, _CATEGORIES: ("category", _TEXTS)},
    2023: {
        **_OLD,
        "item_id": ("parent_asin", pa.string()),
        _BRAND: ("store", pa.string()),
        _FEATURES: ("features", _TEXTS),
    },
}


def read_descriptions(path: Path, year: int, interactions: Dataset, catalogue: Catalogue) -> pa.Table:
    """`item_id`, `title` and `text` of the items of a metadata file.

    The text is, as far as it is there: `Brand: …. Categories: …, …. ` and then the features and the description.

    Args:
        path: the file.
        year: of the release.
        interactions: who took what.
        catalogue: with `"taken"` only items of these interactions.

    Raises:
        CorpusFormatError: the file is damaged, or an item has no ID.
    """
    wanted = pc.unique(arrow_column(interactions, "item_id")) if catalogue == "taken" else None
    return describe(_items(path, year), _texts, wanted=wanted, clean=one_line_of_html)


def _items(path: Path, year: int) -> Iterator[Rows]:
    fields = _FIELDS[year]
    for rows in read_json_lines(path, pa.schema(list(fields.values())), literals=year == 2014):
        yield rows.renamed(fields)


def _texts(items: pa.Table) -> list[str]:
    columns = (items[name].to_pylist() for name in (_BRAND, _CATEGORIES, _FEATURES, _DESCRIPTION))
    return [_text(brand, *lists) for brand, *lists in zip(*columns, strict=True)]


def _text(brand: str | None, categories: list[str], features: list[str], description: list[str]) -> str:
    parts = [f"Brand: {brand.strip()}." if brand and brand.strip() else ""]
    # In 2014 an item may stand in several branches of categories that begin alike.
    named = list(dict.fromkeys(one.strip() for one in categories or [] if one and one.strip()))
    parts.append(f"Categories: {', '.join(named)}." if named else "")
    parts.extend(one.strip() for one in (*(features or []), *(description or [])) if one)
    return " ".join(part for part in parts if part)
