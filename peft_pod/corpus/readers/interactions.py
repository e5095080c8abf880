"""From rows of a file to the table `interactions`, with a count for each rule."""

from __future__ import annotations

import html as entities
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..schema import MAX_TIMESTAMP, CorpusFormatError, arrow_column
from ..spool import as_dataset, collect, rows_in_order
from .blocks import Rows
from .coded import Coded, whole
from .rules import PER_SECOND, Rules

_TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "timestamp": pa.int64(),
    "rating": pa.float32(),
    "review": pa.string(),
}
_PART = "part of a second"
_WITHOUT_TIME, _TOO_EARLY, _TOO_LATE = (
    "rows without a timestamp",
    "rows with a timestamp before 1970, or in another unit",
    "rows with a timestamp after 2099",
)


@dataclass
class _Counter:
    """Counts by rule, which grow while rows come in."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, number: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + number


def make_interactions(
    pieces: Iterable[Rows], columns: Iterable[str], rules: Rules, *, html: bool = False
) -> tuple[Dataset, dict[str, int]]:
    """The table `interactions` of rows that have its columns, but not yet its types.

    Where the rows of each user stand together in the file, they keep its order. Otherwise they are brought together,
    users in the order of their IDs (as numbers, where all are numbers), a user's rows in the order of the file: files
    are often ordered by item, and then the order of users' first appearance tells of items, held-out ones included.
    The table has whole seconds; where the file has parts of a second, they order a user's rows before they go.

    Args:
        pieces: rows with the columns; times may be whole or not, ratings of any number type.
        columns: which of `user_id`, `item_id`, `timestamp`, `rating` and `review` there are.
        rules: what becomes of rows that are not as they should be.
        html: whether reviews are written with HTML entities, which are then turned into characters.

    Returns:
        The table, and what each rule found.

    Raises:
        CorpusFormatError: a row has no user or item, or a rating that is no number, or a rule refuses it; the message
            has the file and the line where it can be told.
    """
    schema = pa.schema([(name, kind) for name, kind in _TYPES.items() if name in set(columns)])
    found = _Counter()
    with_parts = schema.append(pa.field(_PART, pa.int32()))
    table = collect(_cleaned(pieces, schema, rules, found, html), with_parts)
    parts, table = table[_PART].to_numpy(), table.drop_columns([_PART])
    if table.num_rows == 0:
        return as_dataset(table), found.counts
    coded = Coded.of(table)
    order = coded.order(parts)
    dropped = coded.apply(rules, table, order, found.counts)
    if order is not None or len(dropped):
        kept = np.ones(table.num_rows, dtype=bool)
        kept[dropped] = False
        table = rows_in_order(table, np.flatnonzero(kept) if order is None else order[kept[order]])
    return as_dataset(table), found.counts


def survey(interactions: Dataset) -> dict[str, int]:
    """What the rules find in a table `interactions` that has the schema and stays as it is.

    Example:
        >>> table = Dataset.from_dict({"user_id": ["u", "u"], "item_id": ["i", "j"], "timestamp": [5, 5]})
        >>> survey(table)["interactions at the same time as an earlier one of their user"]
        1
    """
    found = _Counter()
    columns = [name for name in _TYPES if name in interactions.column_names]
    table = pa.table({name: arrow_column(interactions, name) for name in columns})
    if "review" in columns:
        blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(table["review"], "")), "")
        found.add("reviews without text", pc.sum(blank).as_py() or 0)
    Coded.of(table).apply(Rules(), table, None, found.counts)
    return found.counts


def unescape(texts: pa.Array) -> tuple[pa.Array, int]:
    """Texts with HTML entities such as `&amp;` turned into characters, and how many had any.

    Example:
        >>> unescape(pa.array(["salt &amp; pepper", "A&B", None]))[0].to_pylist()
        ['salt & pepper', 'A&B', None]
    """
    suspects = pc.fill_null(pc.match_substring_regex(texts, r"&(?:#|[A-Za-z])"), False)
    written = texts.filter(suspects).to_pylist()
    read = [entities.unescape(text) for text in written]
    changed = sum(one != other for one, other in zip(written, read, strict=True))
    return (pc.replace_with_mask(texts, suspects, pa.array(read, texts.type)), changed) if changed else (texts, 0)


def refuse_blank(rows: Rows, name: str) -> None:
    """Refuse rows in which a column is null or blank.

    Raises:
        CorpusFormatError: there is one; the message has the file and the line.
    """
    ids = rows.table[name]
    place = pc.or_kleene(ids.is_null(), pc.equal(pc.utf8_trim_whitespace(ids), "")).index(True).as_py()
    if place >= 0:
        raise CorpusFormatError(f"{rows.place(place)}: there is no {name}")


def _cleaned(
    pieces: Iterable[Rows], schema: pa.Schema, rules: Rules, found: _Counter, html: bool
) -> Iterator[pa.Table]:
    found.add("rows read", 0)
    for rows in pieces:
        table = rows.table.select(schema.names).combine_chunks()
        if table.num_rows == 0:
            continue
        found.add("rows read", table.num_rows)
        columns = {name: table[name].combine_chunks() for name in schema.names}
        columns = {name: whole(column) for name, column in columns.items()}
        for name in ("user_id", "item_id"):
            refuse_blank(rows, name)
        if "rating" in columns:
            columns["rating"] = _ratings(rows, columns["rating"], found)
        if "review" in columns:
            columns["review"] = _reviews(columns["review"], found, html)
        columns["timestamp"], parts, usable = _seconds(rows, columns["timestamp"], rules, found)
        cleaned = pa.table({name: columns[name].cast(schema.field(name).type) for name in schema.names})
        cleaned = cleaned.append_column(_PART, parts)
        yield cleaned if usable.all() else cleaned.filter(pa.array(usable))


def _ratings(rows: Rows, ratings: pa.Array, found: _Counter) -> pa.Array:
    ratings = ratings.cast(pa.float64(), safe=False)
    wrong = pc.fill_null(pc.or_(pc.invert(pc.is_finite(ratings)), pc.greater(pc.abs(ratings), 3e38)), False)
    place = wrong.index(True).as_py()
    if place >= 0:
        raise CorpusFormatError(f"{rows.place(place)}: expected a number as rating, got {ratings[place].as_py()}")
    found.add("interactions without a rating", ratings.null_count)
    return ratings


def _reviews(reviews: pa.Array, found: _Counter, html: bool) -> pa.Array:
    reviews = pc.fill_null(reviews, "")
    blank = pc.equal(pc.utf8_trim_whitespace(reviews), "")
    found.add("reviews without text", pc.sum(blank).as_py())
    reviews = pc.if_else(blank, "", reviews)
    if html:
        reviews, changed = unescape(reviews)
        found.add("reviews with HTML entities, which were turned into characters", changed)
    return reviews


def _seconds(rows: Rows, times: pa.Array, rules: Rules, found: _Counter) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """Times in whole seconds, the rest in billionths of a second, and which can be used; the others are 0."""
    per_second = PER_SECOND[rules.timestamp_unit]
    missing = times.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)
    if numbers.dtype.kind == "f":
        missing |= np.isnan(numbers)
        numbers = np.where(missing, 0, numbers)
    early = ~missing & (numbers < (0 if per_second == 1 else MAX_TIMESTAMP))
    late = ~missing & (numbers > MAX_TIMESTAMP * per_second)
    bad = missing | early | late
    for what, wrong in ((_WITHOUT_TIME, missing), (_TOO_EARLY, early), (_TOO_LATE, late)):
        found.add(what, int(wrong.sum()))
    if bad.any() and rules.bad_timestamps == "error":
        place = int(np.flatnonzero(bad)[0])
        _refuse_time(rows, place, what=None if missing[place] else numbers[place], unit=rules.timestamp_unit)
    found.add("rows dropped for their timestamp", int(bad.sum()))
    whole_seconds, rest = np.divmod(np.where(bad, 0, numbers), per_second)
    found.add("timestamps with a part of a second, rounded down", int((rest > 0).sum()))
    parts = (rest * (PER_SECOND["ns"] // per_second)).astype(np.int32)
    return pa.array(whole_seconds.astype(np.int64)), pa.array(parts), ~bad


def _refuse_time(rows: Rows, place: int, what: float | None, unit: str) -> None:
    if what is None:
        problem = "there is no timestamp."
    else:
        problem = f"the timestamp {what} in {unit!r} is not between the years 1970 and 2099; is it in another unit?"
    raise CorpusFormatError(
        f"{rows.place(place)}: {problem} Mend the file, or drop and count such rows: bad_timestamps='drop'"
    )
