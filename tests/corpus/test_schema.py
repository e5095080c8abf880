from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.schema import arrow_column, conform


def tables(**changed: dict[str, list] | None) -> dict[str, Dataset]:
    columns: dict[str, Any] = {
        "interactions": {"user_id": ["u", "v"], "item_id": ["i", "j"], "timestamp": [1, 2]},
        "items": {"item_id": ["i", "j"], "title": ["An item", "Another"]},
    }
    columns.update(changed)
    return {name: Dataset.from_dict(values) for name, values in columns.items() if values is not None}


def test_types_are_cast_and_unknown_columns_dropped():
    conformed = conform(
        tables(
            interactions={
                "colour": ["red", "blue"],
                "rating": [4, 5],
                "timestamp": ["10", "20"],
                "item_id": [1, 2],
                "user_id": [7, 8],
            }
        )
    )
    assert conformed["interactions"].column_names == ["user_id", "item_id", "timestamp", "rating"]
    assert conformed["interactions"][:] == {
        "user_id": ["7", "8"],
        "item_id": ["1", "2"],
        "timestamp": [10, 20],
        "rating": [4.0, 5.0],
    }
    assert conformed["interactions"].features["rating"].dtype == "float32"
    assert sorted(conformed) == ["interactions", "items"]


def test_tables_that_conform_are_left_as_they_are():
    given = tables(explanations={"user_id": ["u"], "item_id": ["i"], "explanation": ["good"], "feature": [""]})
    conformed = conform(given)
    assert {name: table[:] for name, table in conformed.items()} == {name: table[:] for name, table in given.items()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"items": None}, r"no table 'items'; it has \['interactions'\]"),
        ({"items": {"item_id": ["i"]}}, r"'items' lacks the columns \['title'\]; it has \['item_id'\]"),
        (
            {"explanations": {"user_id": ["u"]}},
            "'explanations' lacks the columns .*'item_id', 'explanation', 'feature'",
        ),
        (
            {"interactions": {"user_id": ["u"], "item_id": ["i"], "timestamp": ["soon"]}},
            "'interactions' cannot be cast to .*'timestamp': 'int64'.*soon",
        ),
        (
            {"interactions": {"user_id": ["u"], "item_id": ["i"], "timestamp": [1.5]}},
            "'interactions' cannot be cast .*1.5",
        ),
        ({"interactions": {"user_id": [["u"]], "item_id": ["i"], "timestamp": [1]}}, "'interactions' cannot be cast"),
        (
            {"interactions": {"user_id": ["u", None, None], "item_id": ["i"] * 3, "timestamp": [1, 2, 3]}},
            r"'interactions' has no user_id in row 1 \(counted from 0\) and 2 row\(s\) in all",
        ),
        (
            {"interactions": {"user_id": ["u"], "item_id": ["i"], "timestamp": [None]}},
            "'interactions' has no timestamp in row 0",
        ),
        ({"items": {"item_id": ["i", "j"], "title": ["An item", None]}}, "'items' has no title in row 1"),
        (
            {"interactions": {"user_id": ["u", "", " \t", None], "item_id": ["i"] * 4, "timestamp": [1, 2, 3, 4]}},
            r"'interactions' has no user_id in row 1 \(counted from 0\) and 3 row\(s\) in all",
        ),
        ({"items": {"item_id": ["i", ""], "title": ["An item", "x"]}}, "'items' has no item_id in row 1"),
        (
            {"explanations": {"user_id": ["u"], "item_id": ["i"], "explanation": [" "], "feature": [""]}},
            "'explanations' has no explanation in row 0",
        ),
    ],
)
def test_what_does_not_conform_is_refused(changed, message):
    with pytest.raises(CorpusFormatError, match=message):
        conform(tables(**changed))


def test_a_title_may_be_empty():
    assert conform(tables(items={"item_id": ["i"], "title": [""]}))["items"][0]["title"] == ""


def test_optional_columns_may_have_gaps():
    conformed = conform(
        tables(interactions={"user_id": ["u"], "item_id": ["i"], "timestamp": [1], "rating": [None], "review": [None]})
    )
    assert conformed["interactions"][0]["rating"] is None


def test_arrow_column_follows_the_order_of_the_rows():
    """A selection keeps the whole table in memory and only notes which rows it means."""
    table = Dataset.from_dict({"item_id": list("abcdef")}).select([4, 0, 4])
    assert arrow_column(table, "item_id").to_pylist() == ["e", "a", "e"]
    assert arrow_column(table.select([]), "item_id").to_pylist() == []
