from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.corpus import CorpusFormatError, load_corpus

NAMES = {"user_id": "customer", "item_id": "sku", "timestamp": "when"}


def test_csv_with_names_of_its_own(tmp_path: Path):
    """Values with newlines and delimiters; titles stay as they are written."""
    (tmp_path / "log.csv").write_text('when;sku;customer;said\n1600000000;p1;7;"hi;\nthere &amp;"\n1600000009;p2;08;\n')
    (tmp_path / "products.csv").write_text('code;label\np2;"Tea  &amp; mug"\np1;\n')
    corpus = load_corpus(
        "columns",
        tmp_path / "log.csv",
        columns={**NAMES, "review": "said"},
        items="products.csv",
        item_columns={"item_id": "code", "title": "label"},
        delimiter=";",
    )
    assert corpus.name == "log"
    assert corpus.interactions[:] == {
        "user_id": ["7", "08"],
        "item_id": ["p1", "p2"],
        "timestamp": [1600000000, 1600000009],
        "review": ["hi;\nthere &amp;", ""],
    }
    assert corpus.items[:] == {"item_id": ["p2", "p1"], "title": ["Tea  &amp; mug", "p1"]}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_exported_corpus_comes_back(tmp_path: Path, suffix: str):
    corpus = load_corpus("embedded", num_users=20)
    for name, table in corpus.tables.items():
        getattr(table, f"to_{suffix}")(str(tmp_path / f"{name}.{suffix}"))
    loaded = load_corpus(tmp_path)
    assert loaded.name == tmp_path.name
    assert loaded.fingerprint == corpus.fingerprint


def table(**columns: Any) -> pa.Table:
    return pa.table({"customer": ["u", "v"], "sku": ["a", "b"], "when": [5, 6], **columns})


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"when": pa.array([5, 6], pa.int32())}, {}),
        ({"when": pa.array([5.0, 6.0])}, {}),
        ({"customer": pa.array(["u", "v"]).dictionary_encode()}, {}),
        ({"when": pa.array([datetime.fromtimestamp(t, timezone.utc) for t in (5, 6)], pa.timestamp("us", "UTC"))}, {}),
        ({"when": pa.array([1_600_000_000_000, 1_600_000_001_000])}, {"timestamp_unit": "ms"}),
    ],
)
def test_types_of_parquet(tmp_path: Path, columns: dict[str, pa.Array], options: dict[str, str]):
    pq.write_table(table(**columns), tmp_path / "log.parquet")
    corpus = load_corpus("columns", tmp_path, interactions="log.parquet", columns=NAMES, **options)
    times = [1_600_000_000, 1_600_000_001] if options else [5, 6]
    assert corpus.interactions[:] == {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": times}


def test_whole_numbers_as_ids(tmp_path: Path):
    pq.write_table(table(customer=[7, 8]), tmp_path / "log.parquet")
    assert load_corpus("columns", tmp_path / "log.parquet", columns=NAMES).interactions["user_id"][:] == ["7", "8"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"customer": [7.0, 8.0]}, "user_id cannot be read from a column of double"),
        ({"when": ["a", "b"]}, "timestamp cannot be read from a column of string"),
        ({"customer": [["u"], ["v"]]}, r"user_id cannot be read from a column of list"),
        ({"customer": ["u", None]}, "row 2: there is no user_id"),
        ({"when": [5, -6]}, "row 2: the timestamp -6"),
    ],
)
def test_wrong_values_of_parquet_are_named(tmp_path: Path, columns: dict[str, Any], message: str):
    pq.write_table(table(**columns), tmp_path / "log.parquet")
    with pytest.raises(CorpusFormatError, match=rf"log\.parquet[,:] {message}"):
        load_corpus("columns", tmp_path / "log.parquet", columns=NAMES)


def test_a_damaged_parquet_file_is_named(tmp_path: Path):
    pq.write_table(table(), tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(content[:-9])
    with pytest.raises(CorpusFormatError, match=r"log\.parquet is not a Parquet file, or damaged or cut off"):
        load_corpus("columns", tmp_path / "log.parquet", columns=NAMES)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "customer,sku,when\nu,a,2020-01-01\n",
            {},
            r"line 2: expected a number as timestamp, got '2020-01-01'; convert dates",
        ),
        ("customer,sku,when\nu,a,5\nv,a,5.5.5\n", {}, "line 3: expected a number as timestamp, got '5.5.5'"),
        ("customer,sku,when\nu,a,\n", {}, "line 2: there is no timestamp"),
        ("customer,sku\nu,a\n", {}, r"has no column 'when'; it has \['customer', 'sku'\]\. .*timestamps='order'"),
        ("customer,sku,when\nu,a,5", {}, "line 2: the line has no newline"),
    ],
)
def test_wrong_csv_is_named(tmp_path: Path, text: str, options: dict[str, str], message: str):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(CorpusFormatError, match=rf"log\.csv,? {message}"):
        load_corpus("columns", tmp_path / "log.csv", columns=NAMES, **options)


def test_bad_times_can_be_dropped_and_missing_ones_replaced_by_the_order(tmp_path: Path):
    (tmp_path / "log.csv").write_text("customer,sku,when\nu,a,\nu,b,7\nu,c,7.5\n")
    dropped = load_corpus("columns", tmp_path / "log.csv", columns=NAMES, bad_timestamps="drop")
    assert dropped.interactions["item_id"][:] == ["b", "c"]
    assert dropped.steps[0].counts["rows dropped for their timestamp"] == 1
    ordered = load_corpus("columns", tmp_path / "log.csv", columns=NAMES, timestamps="order")
    assert ordered.interactions["timestamp"][:] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"columns": {"user": "customer"}},
            ValueError,
            "columns maps .*; the table has no column 'user', only user_id",
        ),
        ({"columns": {"user_id": 5}}, ValueError, "columns must map 'user_id' to the name of a column, got 5"),
        ({"columns": NAMES, "timestamps": "none"}, ValueError, "timestamps must be 'column' or 'order', got 'none'"),
        ({"columns": NAMES, "items": "none.csv"}, FileNotFoundError, r"there is no file .*none\.csv; .* has log\.csv"),
        ({"columns": NAMES, "interactions": "x.csv"}, ValueError, "so interactions='x.csv' has nothing to name"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str):
    (tmp_path / "log.csv").write_text("customer,sku,when\nu,a,5\n")
    with pytest.raises(error, match=message):
        load_corpus("columns", tmp_path / "log.csv", **options)


def test_a_folder_needs_a_file_of_interactions(tmp_path: Path):
    (tmp_path / "log.csv").write_text("x\n")
    with pytest.raises(FileNotFoundError, match=r"no file interactions\.csv, .*; it has log\.csv"):
        load_corpus("columns", tmp_path)
    (tmp_path / "log.xlsx").write_text("x\n")
    with pytest.raises(CorpusFormatError, match=r"log\.xlsx is neither CSV nor Parquet; known endings are \.csv"):
        load_corpus("columns", tmp_path, interactions="log.xlsx")


def test_another_delimiter_is_asked_for(tmp_path: Path):
    (tmp_path / "interactions.csv").write_text("user_id;item_id;timestamp\nu;i;5\n")
    with pytest.raises(CorpusFormatError, match="the delimiter was ',', another one is given by the option delimiter"):
        load_corpus(tmp_path)
    assert load_corpus(tmp_path, delimiter=";").interactions["item_id"][:] == ["i"]
