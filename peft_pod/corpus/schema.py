"""The three tables of a corpus and what each column means.

Every reader ends in these tables, and everything after the readers starts from them:

- **interactions**, one row for each time a user took an item, in any order; equal times keep the table's order:
  `user_id` (string), `item_id` (string), `timestamp` (int64, seconds since 1970, or a running number where the source
  only has an order; from 0 to the year 2100), and optionally `rating` (float32) and `review` (string).
- **items**, one row for each item of the catalogue: `item_id` (string), `title` (string), optionally `text` (string).
- **explanations** (optional), one row for each sentence in which a user says why: `user_id`, `item_id`,
  `explanation` (string), `feature` (string, the word of the sentence that names a property of the item, or "").
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Value

REQUIRED_COLUMNS: dict[str, dict[str, str]] = {
    "interactions": {"user_id": "string", "item_id": "string", "timestamp": "int64"},
    "items": {"item_id": "string", "title": "string"},
    "explanations": {"user_id": "string", "item_id": "string", "explanation": "string", "feature": "string"},
}
OPTIONAL_COLUMNS: dict[str, dict[str, str]] = {
    "interactions": {"rating": "float32", "review": "string"},
    "items": {"text": "string"},
    "explanations": {},
}
MAX_TIMESTAMP = 4_102_444_800
"""The year 2100 in seconds since 1970; a larger number is in another unit, most likely milliseconds."""
NOT_BLANK = frozenset({"user_id", "item_id", "explanation"})
"""Columns in which a text without any letter is a missing value too."""
_BATCH = 10_000
OPTIONAL_TABLES = frozenset({"explanations"})


class CorpusFormatError(ValueError):
    """A file or table that does not have the form it should; the message names the place and what to do."""


def conform(tables: Mapping[str, Dataset]) -> DatasetDict:
    """Check the tables of a corpus against the schema and cast their columns to its types.

    Args:
        tables: `interactions` and `items`, optionally `explanations`.

    Returns:
        The same tables with exactly the schema's columns and types; tables and columns the schema does not know are
            dropped.

    Raises:
        CorpusFormatError: a table or a required column is missing, a column cannot be cast, a required column has a
            null, an ID or a sentence is blank, or a timestamp is negative or beyond the year 2100.

    Example:
        >>> from datasets import Dataset
        >>> tables = conform({
        ...     "interactions": Dataset.from_dict({"user_id": ["u"], "item_id": ["i"], "timestamp": [0]}),
        ...     "items": Dataset.from_dict({"item_id": ["i"], "title": ["An item"]}),
        ... })
        >>> sorted(tables)
        ['interactions', 'items']
    """
    conformed = {}
    for name, required in REQUIRED_COLUMNS.items():
        if name not in tables:
            if name in OPTIONAL_TABLES:
                continue
            raise CorpusFormatError(f"the corpus has no table {name!r}; it has {sorted(tables)}")
        conformed[name] = _conform_table(name, tables[name], required)
    return DatasetDict(conformed)


def arrow_column(table: Dataset, column: str) -> pa.ChunkedArray:
    """One column of a table, whole and in Arrow's memory.

    `table[column]` decodes each row on its own, which takes seconds for 10^5 rows; this takes milliseconds.

    Example:
        >>> from datasets import Dataset
        >>> arrow_column(Dataset.from_dict({"title": ["A", "B"]}), "title").to_pylist()
        ['A', 'B']
    """
    return table.select_columns([column]).with_format("arrow")[:].column(column)


def _conform_table(name: str, table: Dataset, required: Mapping[str, str]) -> Dataset:
    missing = [column for column in required if column not in table.column_names]
    if missing:
        raise CorpusFormatError(f"table {name!r} lacks the columns {missing}; it has {table.column_names}")
    types = {**required, **OPTIONAL_COLUMNS[name]}
    kept = [column for column in types if column in table.column_names]
    table = table.select_columns(kept)
    wanted = table.features.copy()
    for column in kept:
        wanted[column] = Value(types[column])
    if wanted != table.features:
        try:
            table = table.cast(wanted, batch_size=_BATCH)
        except (TypeError, ValueError, NotImplementedError) as error:
            wanted_types = {column: types[column] for column in kept}
            raise CorpusFormatError(f"table {name!r} cannot be cast to {wanted_types}: {error}") from error
    for column in required:
        values = arrow_column(table, column)
        absent = values.is_null()
        if column in NOT_BLANK:
            absent = pa.chunked_array([_is_blank(chunk) for chunk in values.chunks], pa.bool_())
        count = pc.sum(absent).as_py()
        if count:
            raise CorpusFormatError(
                f"table {name!r} has no {column} in row {absent.index(True).as_py()} (counted from 0) and {count} "
                "row(s) in all; fill it in or drop the row"
            )
        if column == "timestamp":
            _check_timestamps(name, values)
    return table


def _is_blank(texts: pa.Array) -> pa.Array:
    return pc.or_kleene(texts.is_null(), pc.equal(pc.utf8_trim_whitespace(texts), ""))


def _check_timestamps(name: str, values: pa.ChunkedArray) -> None:
    wrong = pc.or_(pc.less(values, 0), pc.greater(values, MAX_TIMESTAMP))
    count = pc.sum(wrong).as_py()
    if count:
        row = wrong.index(True).as_py()
        raise CorpusFormatError(
            f"table {name!r} has the timestamp {values[row].as_py()} in row {row} (counted from 0) and {count} such "
            f"row(s) in all; a timestamp is a number of seconds since 1970, or a running number, from 0 to "
            f"{MAX_TIMESTAMP} (the year 2100). Convert other units (milliseconds: divide by 1000), drop the rows, or "
            'have them dropped and counted: Corpus.from_tables(..., bad_timestamps="drop")'
        )
