from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.readers import blocks, json_lines
from peft_pod.corpus.readers.json_lines import read_json_lines

SCHEMA = pa.schema([("u", pa.string()), ("t", pa.int64()), ("r", pa.float64()), ("tags", pa.list_(pa.string()))])


def read(path: Path, text: str | bytes, **options: Any) -> list[dict]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [row for rows in read_json_lines(path, SCHEMA, **options) for row in rows.table.to_pylist()]


texts = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=6)
objects = st.fixed_dictionaries(
    {},
    optional={
        "u": st.none() | texts,
        "t": st.integers(-(2**63), 2**63 - 1),
        "r": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100),
        "tags": st.none() | st.lists(texts.filter(bool), max_size=3),
        "other": st.none() | st.dictionaries(texts, st.integers(0, 9), max_size=2) | st.lists(st.integers(0, 9)),
    },
)


@settings(max_examples=80, deadline=None)
@given(st.lists(objects, min_size=1, max_size=8), st.booleans())
def test_equals_what_json_reads(tmp_path_factory, rows: list[dict], by_arrow: bool):
    """By Arrow and line by line, with fields that are missing, null or not asked for."""
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    original = json_lines._by_arrow
    if not by_arrow:
        json_lines._by_arrow = lambda block, schema: None
    try:
        found = read(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    finally:
        json_lines._by_arrow = original
    assert found == [{name: row.get(name) for name in SCHEMA.names} for row in rows]


def test_what_arrow_dislikes_is_read_line_by_line(tmp_path: Path):
    lines = [
        '{"u": "a", "t": 3.0, "r": 5}',
        '{"u": "b", "tags": "one"}',
        '{"u": "\\ud83d", "tags": [["x", "y"], ["x"], 7, ""]}',
        '{"u": "d", "u": "e"}',
    ]
    assert read(tmp_path / "a.jsonl", "\n".join(lines)) == [
        {"u": "a", "t": 3, "r": 5.0, "tags": None},
        {"u": "b", "t": None, "r": None, "tags": ["one"]},
        {"u": "?", "t": None, "r": None, "tags": ["x", "y", "x", "7"]},
        {"u": "e", "t": None, "r": None, "tags": None},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"u": "a"', "not JSON: "),
        ('{"u": "a"} {"u": "b"}', "not JSON: Extra data"),
        ('["u"]', "not an object"),
        ('{"u": 5}', "expected a text, got 5 as 'u'"),
        ('{"t": "5"}', "expected a whole number, got '5' as 't'"),
        ('{"t": 5.5}', "expected a whole number, got 5.5 as 't'"),
        ('{"t": true}', "expected a whole number, got True as 't'"),
        ('{"t": 9223372036854775808}', "expected a whole number, got 9223372036854775808 as 't'"),
        ('{"t": NaN}', "expected a whole number, got nan as 't'"),
        ('{"r": "good"}', "expected a number, got 'good' as 'r'"),
        ('{"tags": [{"a": 1}]}', "expected texts, got {'a': 1} as 'tags'"),
        ("{'u': 'a'}", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
        ("   ", "the line is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str):
    good = '{"u": "a", "t": 1}\n'
    with pytest.raises(CorpusFormatError, match=rf"a\.jsonl, line 3: {message.replace('[', '.').replace('(', '.')}"):
        read(tmp_path / "a.jsonl", good * 2 + line + "\n" + good)


def test_wrong_utf8_is_found_in_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also far into the file, in a later block."""
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 1000)
    lines = [b'{"u": "%d"}\n' % number for number in range(500)]
    lines[320] = b'{"u": "caf\xe9"}\n'
    with pytest.raises(CorpusFormatError, match="line 321: the text is not utf-8"):
        read(tmp_path / "a.jsonl", b"".join(lines))


def test_python_dictionaries_are_read_only_where_they_are_expected(tmp_path: Path):
    line = "{'u': \"it's\", 't': 7, 'tags': [['a\\/b']]}\n"
    assert read(tmp_path / "a.json", line, literals=True) == [{"u": "it's", "t": 7, "r": None, "tags": ["a\\/b"]}]


@pytest.mark.parametrize("line", ["__import__('os').getpid()", "{'u': open('x')}", "{'u': 'a'", "(" * 5000, "{1: 2}["])
def test_a_literal_is_not_run(tmp_path: Path, line: str):
    with pytest.raises(CorpusFormatError, match="line 1: neither JSON .* nor a Python literal"):
        read(tmp_path / "a.json", f"{line}\n", literals=True)


def test_a_last_line_without_newline_counts_if_it_is_whole(tmp_path: Path):
    assert [row["u"] for row in read(tmp_path / "a.jsonl", '{"u": "a"}\n{"u": "b"}')] == ["a", "b"]
    with pytest.raises(CorpusFormatError, match="line 2: not JSON"):
        read(tmp_path / "a.jsonl", '{"u": "a"}\n{"u": "b"')


def test_a_line_longer_than_arrow_s_pieces(tmp_path: Path):
    long = "x" * (json_lines._ARROW_BLOCK + 10)
    found = read(tmp_path / "a.jsonl", f'{{"u": "a"}}\n{{"u": "{long}"}}\n{{"u": "b"}}\n')
    assert [len(row["u"]) for row in found] == [1, len(long), 1]
