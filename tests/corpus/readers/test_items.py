from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.readers.blocks import Rows
from peft_pod.corpus.readers.items import as_written, describe, make_items, one_line_of_html

TAKEN = Dataset.from_dict({"item_id": ["c", "x", "a", "c", "y"]})
DESCRIBED = pa.table(
    {
        "item_id": ["d", "c", "a", "c"],
        "title": ["Alpha", "Zeta", "", "Other"],
        "text": ["nobody's", "", "t", "u"],
    }
)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["a", "c", "d", "x", "y"]),
        ({"by": "title"}, ["d", "c", "a", "x", "y"]),
        ({"by": "file"}, ["d", "c", "a", "x", "y"]),
        ({"by": "file", "catalogue": "taken"}, ["c", "a", "x", "y"]),
        ({"catalogue": "taken"}, ["a", "c", "x", "y"]),
    ],
)
def test_by_hand(options: dict[str, Any], ids: list[str]):
    items, counts = make_items(TAKEN, DESCRIBED, **options)
    known = {"a": ("a", "t"), "c": ("Zeta", ""), "d": ("Alpha", "nobody's"), "x": ("x", ""), "y": ("y", "")}
    assert items["item_id"][:] == ids
    assert list(zip(items["title"], items["text"], strict=True)) == [known[item] for item in ids]
    left_out = 5 - len(ids)
    assert counts == {
        "descriptions of an item that is described already, dropped": 1,
        "items that nobody took": 1,
        "of these left out of the catalogue": left_out,
        "items without a title, whose title is their ID": 1,
        "items without a description, whose title is their ID": 2,
        "items without a text": 3,
        "items": len(ids),
    }


def test_without_descriptions_titles_are_ids():
    items, counts = make_items(TAKEN)
    assert items[:] == {"item_id": ["a", "c", "x", "y"], "title": ["a", "c", "x", "y"]}
    assert counts["items without a description, whose title is their ID"] == 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(CorpusFormatError, match="item 'x' and 1 more were taken and are not in the file of items"):
        make_items(TAKEN, DESCRIBED, undescribed="error")
    with pytest.raises(ValueError, match="catalogue must be 'taken' or 'all', got 'some'"):
        make_items(TAKEN, DESCRIBED, catalogue="some")  # type: ignore[arg-type]
    rows = Rows(Path("m.csv"), 4, pa.table({"item_id": ["a", ""], "title": ["A", "B"]}))
    with pytest.raises(CorpusFormatError, match=r"m\.csv, line 5: there is no item_id"):
        describe([rows], None)


def test_texts_are_cleaned_as_asked():
    rows = Rows(Path("m.csv"), 1, pa.table({"item_id": ["a", "b"], "title": [" Tom &amp;\n J ", None]}))
    make = {"clean": one_line_of_html, "text_of": lambda piece: ["x  y"] * piece.num_rows}
    assert describe([rows], **make).to_pylist() == [
        {"item_id": "a", "title": "Tom & J", "text": "x y"},
        {"item_id": "b", "title": "", "text": "x y"},
    ]
    kept = describe([rows], None, wanted=pa.array(["a"]), clean=as_written)
    assert kept.to_pylist() == [{"item_id": "a", "title": " Tom &amp;\n J "}]
