"""The rules, against a count by hand and an oracle in plain Python."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError, spool
from peft_pod.corpus.readers.blocks import Rows
from peft_pod.corpus.readers.interactions import make_interactions, survey, unescape
from peft_pod.corpus.readers.rules import Rules

COLUMNS = ("user_id", "item_id", "timestamp", "rating", "review")
TIES = "interactions at the same time as an earlier one of their user"
DUPLICATES = "exact duplicates of an earlier row"
REPEATS = "other rows of a user with an item that they have already"


def piece(rows: list[tuple], first: int = 1, time: pa.DataType | None = None) -> Rows:
    types = (pa.string(), pa.string(), time or pa.int64(), pa.float64(), pa.string())
    values = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    columns = {name: pa.array(list(column), kind) for name, column, kind in zip(COLUMNS, values, types, strict=True)}
    return Rows(Path("file.csv"), first, pa.table(columns))


def make(rows: list[tuple], **rules: Any) -> tuple[list[tuple], dict[str, int]]:
    table, counts = make_interactions([piece(rows)], COLUMNS, Rules(**rules))
    return list(zip(*table[:].values(), strict=True)), counts


def test_by_hand():
    """Rows of a user are brought together, in the order of the file; users by number, not by text."""
    rows = [
        ("10", "a", 100, 5.0, "good"),
        ("9", "a", 50, None, None),
        ("10", "b", 100, 4.0, " \n"),
        ("9", "b", 40, 3.0, "&amp;"),
        ("10", "a", 100, 5.0, "good"),
        ("10", "a", 100, 5.0, "good!"),
    ]
    found, counts = make(rows, exact_duplicates="drop")
    assert found == [
        ("9", "a", 50, None, ""),
        ("9", "b", 40, 3.0, "&amp;"),
        ("10", "a", 100, 5.0, "good"),
        ("10", "b", 100, 4.0, ""),
        ("10", "a", 100, 5.0, "good!"),
    ]
    assert counts == {
        "rows read": 6,
        "interactions without a rating": 1,
        "reviews without text": 2,
        "rows without a timestamp": 0,
        "rows with a timestamp before 1970, or in another unit": 0,
        "rows with a timestamp after 2099": 0,
        "rows dropped for their timestamp": 0,
        "timestamps with a part of a second, rounded down": 0,
        DUPLICATES: 1,
        "exact duplicates dropped": 1,
        REPEATS: 1,
        "repeats dropped": 0,
        TIES: 2,
        "interactions": 5,
        "users": 2,
    }


def test_a_file_that_is_ordered_by_user_keeps_its_order():
    rows = [("u9", "b", 7, 1.0, ""), ("u9", "a", 3, 1.0, ""), ("u10", "b", 1, 1.0, ""), ("u1", "c", 1, 1.0, "")]
    assert make(rows)[0] == rows


def test_html_only_where_it_is_said():
    texts = piece([("u", "i", 1, 1.0, "Tom &amp; Jerry&#39;s"), ("u", "j", 1, 1.0, "R&D &c")])
    table, counts = make_interactions([texts], COLUMNS, Rules(), html=True)
    assert table["review"][:] == ["Tom & Jerry's", "R&D &c"]
    assert counts["reviews with HTML entities, which were turned into characters"] == 1
    assert make_interactions([texts], COLUMNS, Rules())[0]["review"][0] == "Tom &amp; Jerry&#39;s"
    assert unescape(pa.array(["&amp;quot; &#xd800; &nope;"]))[0].to_pylist() == ["&quot; \ufffd &nope;"]


rows_of_all_kinds = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u10"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
        st.sampled_from([None, 1.0, 2.0]),
        st.sampled_from(["", "x"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    rows_of_all_kinds,
    st.sampled_from(["keep", "drop"]),
    st.sampled_from(["keep", "first", "last"]),
    st.integers(1, 25),
    st.sampled_from([0, 10**6]),
)
def test_equals_rules_applied_row_by_row(rows, exact_duplicates, repeats, cut, in_memory):
    """In one piece or two, in memory or through a file."""
    pieces = [piece(rows[:cut]), piece(rows[cut:], cut + 1)]
    original, spool.IN_MEMORY = spool.IN_MEMORY, in_memory
    try:
        table, counts = make_interactions(pieces, COLUMNS, Rules(exact_duplicates, repeats))
    finally:
        spool.IN_MEMORY = original

    users = [row[0] for row in rows]
    blocks = sum(first != second for first, second in pairwise(users)) + 1
    together = blocks == len(set(users))
    kept = list(rows) if together else sorted(rows, key=lambda row: row[0])  # stable
    duplicates = sum(number - 1 for number in Counter(rows).values())
    if exact_duplicates == "drop":
        kept = list(dict.fromkeys(kept))
    again = len(kept) - len({row[:2] for row in kept})
    if repeats != "keep":
        chosen = {}
        for row in sorted(kept, key=lambda row: row[2], reverse=repeats == "last"):
            chosen.setdefault(row[:2], row)
        if repeats == "last":
            # Among equal times the last row of the file counts.
            chosen = {pair: [r for r in kept if r[:2] == pair and r[2] == row[2]][-1] for pair, row in chosen.items()}
        expected = Counter(chosen.values())
    else:
        expected = Counter(kept)
    found = list(zip(*table[:].values(), strict=True))
    assert Counter(found) == expected
    if repeats == "keep":
        assert found == kept
    assert counts[DUPLICATES] == duplicates
    assert counts[REPEATS] == again
    assert counts["interactions"] == len(found)
    assert counts[TIES] == len(found) - len({(row[0], row[2]) for row in found})
    assert {name: survey(table)[name] for name in (TIES, "interactions", "users")} == {
        name: counts[name] for name in (TIES, "interactions", "users")
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"exact_duplicates": "error"}, "user 'u' with item 'a' is there again, one of 1 exact duplicates in all"),
        ({"exact_duplicates": "drop", "repeats": "error"}, "user 'u' with item 'a' is there more than once, as 1 rows"),
        ({"repeats": "error"}, "user 'u' with item 'a' is there more than once, as 2 rows are in all"),
    ],
)
def test_what_repeats_can_be_refused(rules: dict[str, str], message: str):
    rows = [("u", "a", 1, 1.0, "x"), ("u", "b", 1, 1.0, "x"), ("u", "a", 1, 1.0, "x"), ("u", "a", 2, 1.0, "x")]
    with pytest.raises(CorpusFormatError, match=message):
        make(rows, **rules)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((None, "a", 1, 1.0, ""), "file.csv, line 12: there is no user_id"),
        (("u", " ", 1, 1.0, ""), "line 12: there is no item_id"),
        (("u", "a", 1, float("nan"), ""), "line 12: expected a number as rating, got nan"),
        (("u", "a", 1, 1e300, ""), "line 12: expected a number as rating, got 1e"),
        (("u", "a", None, 1.0, ""), "line 12: there is no timestamp"),
        (("u", "a", -1, 1.0, ""), "line 12: the timestamp -1 in 's' is not between the years 1970 and 2099"),
        (("u", "a", 1_588_687_728_923, 1.0, ""), "line 12: the timestamp 1588687728923 in 's' is not between"),
    ],
)
def test_a_wrong_row_is_named(row: tuple, message: str):
    good = ("u", "a", 1, 1.0, "")
    with pytest.raises(CorpusFormatError, match=message):
        make_interactions([piece([good]), piece([good, good, row, good], first=10)], COLUMNS, Rules())


@pytest.mark.parametrize(
    ("unit", "good", "early", "late"),
    [
        ("s", 4_102_444_800, -1, 4_102_444_801),
        ("ms", 1_588_687_728_923, 1_588_687_728, 4_102_444_800_001),
        ("us", 1_588_687_728_923_000, 1_588_687_728, 4_102_444_800_000_001),
        ("ns", 1_588_687_728_923_000_000, 1_588_687_728, 4_102_444_800_000_000_001),
    ],
)
def test_times_that_cannot_be_are_dropped_and_counted(unit: str, good: int, early: int, late: int):
    """Seconds where finer units are expected are as wrong as the other way round."""
    rows = [("u", item, time, 1.0, "") for item, time in zip("abcd", (early, good, late, None), strict=True)]
    found, counts = make(rows, timestamp_unit=unit, bad_timestamps="drop")
    assert [row[1] for row in found] == ["b"]
    assert found[0][2] == (4_102_444_800 if unit == "s" else 1_588_687_728)
    assert [counts[name] for name in counts if "timestamp " in name or name.endswith("timestamp")] == [1, 1, 1, 3]


def test_parts_of_a_second_order_a_user_s_rows():
    """Whole seconds would lose the order; it is kept by the order of the rows."""
    rows = [("u", "late", 1_588_687_728_923, 1.0, ""), ("u", "early", 1_588_687_728_009, 1.0, "")]
    found, counts = make(rows, timestamp_unit="ms")
    assert [row[1:3] for row in found] == [("early", 1_588_687_728), ("late", 1_588_687_728)]
    assert counts["timestamps with a part of a second, rounded down"] == 2
    parts = piece([("u", "b", 5.75, 1.0, ""), ("u", "a", 5.25, 1.0, "")], time=pa.float64())
    assert make_interactions([parts], COLUMNS, Rules())[0]["item_id"][:] == ["a", "b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("exact_duplicates", "yes"), ("repeats", "mean"), ("bad_timestamps", "keep"), ("timestamp_unit", "h")],
)
def test_unknown_rules_are_refused(field: str, value: str):
    with pytest.raises(ValueError, match=f"{field} must be one of .*, got '{value}'"):
        Rules(**{field: value})


def test_no_rows_make_an_empty_table():
    table, counts = make_interactions([], COLUMNS, Rules())
    assert (len(table), table.column_names, counts["rows read"]) == (0, list(COLUMNS), 0)
