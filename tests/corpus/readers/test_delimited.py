from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.readers import blocks
from peft_pod.corpus.readers.delimited import Dialect, read_delimited, read_header

TYPES = {"name": pa.string(), "number": pa.int64()}


def read(path: Path, text: str | bytes, dialect: Dialect | None = None) -> list[tuple]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [tuple(row.values()) for rows in read_delimited(path, TYPES, dialect) for row in rows.table.to_pylist()]


fields = st.text(alphabet='ab ,"\n\té', max_size=5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(fields, st.integers(-9, 9)), min_size=1, max_size=10), st.sampled_from([1, 7, 1000]))
def test_equals_what_csv_reads(tmp_path_factory, rows: list[tuple[str, int]], size: int):
    """Quotes, delimiters and newlines in values, cut into blocks at any place."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["number", "other", "name"])
    writer.writerows((number, "x", name) for name, number in rows)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    original, blocks.BLOCK_SIZE = blocks.BLOCK_SIZE, size
    try:
        assert read(path, text.getvalue()) == rows
    finally:
        blocks.BLOCK_SIZE = original


def test_several_characters_between_values(tmp_path: Path):
    dialect = Dialect("::", quoted=False, header=("name", "number"))
    assert read(tmp_path / "a.dat", 'a: "b"::1\nc::2\n', dialect) == [('a: "b"', 1), ("c", 2)]


def test_quotes_are_characters_where_values_are_not_quoted(tmp_path: Path):
    assert read(tmp_path / "a.tsv", 'name\tnumber\n"a\t1\n', Dialect("\t", quoted=False)) == [('"a', 1)]


def test_empty_values(tmp_path: Path):
    assert read(tmp_path / "a.csv", "name,number\n,\nNA,3\n") == [("", None), ("NA", 3)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,two", "line 103: .*invalid value 'two', in 'b,two'"),
        ("b,2,3", "line 103: .*Expected 2 columns, got 3"),
        ("b", "line 103: .*Expected 2 columns, got 1"),
        ("b,9223372036854775808", "line 103: .*invalid value '9223372036854775808'"),
        ("b\rc,1", "line 103: .*Expected 2 columns, got 1"),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_wrong_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str, quoted: bool):
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 64)
    text = "name,number\n" + "a,1\n" * 101 + f"{line}\n" + "c,3\n" * 50
    with pytest.raises(CorpusFormatError, match=rf"a\.csv, {message}"):
        read(tmp_path / "a.csv", text, Dialect(quoted=quoted))


def test_a_wrong_line_after_a_value_of_several_lines(tmp_path: Path):
    with pytest.raises(CorpusFormatError, match=r"a\.csv, line 4: .*invalid value 'x'"):
        read(tmp_path / "a.csv", 'name,number\n"a\nb",1\nc,x\nd,4\n')


def test_wrong_utf8_and_open_quotes_are_found(tmp_path: Path):
    with pytest.raises(CorpusFormatError, match="line 3: .*invalid UTF8"):
        read(tmp_path / "a.csv", b"name,number\na,1\ncaf\xe9,2\n")
    with pytest.raises(
        CorpusFormatError, match="line 3: a quoted value that begins here does not end|line 1: a quoted"
    ):
        read(tmp_path / "a.csv", 'name,number\na,1\n"b,2\n')


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("name,other", r"lacks the columns \['number'\]; it has \['name', 'other'\]"),
        ("name,number,name", "line 1: the column 'name' is there more than once"),
    ],
)
def test_wrong_headers_are_refused(tmp_path: Path, header: str, message: str):
    with pytest.raises(CorpusFormatError, match=message):
        read(tmp_path / "a.csv", f"{header}\na,1,2\n")


def test_rows_know_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 8)
    path = tmp_path / "a.csv"
    path.write_text('name,number\na,1\nb,2\n"c\nd",3\ne,4\n')
    found = [rows.place(row) for rows in read_delimited(path, TYPES) for row in range(rows.table.num_rows)]
    assert [place.partition(", ")[2] for place in found] == ["line 2", "line 3", "row 3", "row 4"]


def test_the_header_alone_has_no_rows(tmp_path: Path):
    assert read(tmp_path / "a.csv", "name,number\n") == []
    assert read_header(tmp_path / "a.csv") == ["name", "number"]


@pytest.mark.parametrize("delimiter", ["", "\n", '"', "é", "::"])
def test_impossible_delimiters_are_refused(delimiter: str):
    with pytest.raises(ValueError, match="delimiter must be"):
        Dialect(delimiter)
