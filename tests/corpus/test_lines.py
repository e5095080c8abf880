from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError, lines
from peft_pod.corpus.lines import find_file, is_whole_number, read_lines, read_text


def test_lines_are_counted_from_one_and_newlines_removed(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"first\r\n  second \nthird\n\n\n")
    assert list(read_lines(path)) == [(1, "first"), (2, "  second "), (3, "third")]


def test_compressed_and_other_encodings(tmp_path: Path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("Amélie\n".encode("latin-1")))
    assert list(read_lines(path, encoding="latin-1")) == [(1, "Amélie")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"one\ntwo", "line 2: the line has no newline"),
        (b"one\n\nthree\n", "line 2: the line is empty"),
        (b"one\n\xff\n", "line 2: the text is not utf-8"),
    ],
)
def test_damaged_text_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusFormatError, match=rf"a\.txt.*{message}"):
        list(read_lines(path))


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_character_is_found_in_its_own_line(tmp_path: Path, compress: bool):
    """Far into the file, where a text file would have been decoded by blocks of thousands of characters."""
    lines = [b"%d\n" % number for number in range(1, 30_001)]
    lines[23_456] = b"caf\xe9\n"
    path = tmp_path / ("a.txt.gz" if compress else "a.txt")
    path.write_bytes(gzip.compress(b"".join(lines)) if compress else b"".join(lines))
    with pytest.raises(CorpusFormatError, match=r"a\.txt.*, line 23457: the text is not utf-8"):
        list(read_lines(path))
    assert sum(1 for _ in read_lines(path, encoding="latin-1")) == 30_000


def test_only_a_newline_ends_a_line(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\rtwo\u2028three\r\nfour\n".encode())
    assert list(read_lines(path)) == [(1, "one\rtwo\u2028three"), (2, "four")]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_compressed_file_cut_off_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    whole = gzip.compress(b"".join(b"%d\n" % number for number in range(500)), mtime=0)
    path = tmp_path_factory.mktemp("cut") / "a.txt.gz"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
    with pytest.raises(CorpusFormatError, match=r"a\.txt\.gz, line \d+: .*damaged or cut off"):
        list(read_lines(path))
    with pytest.raises(CorpusFormatError, match="damaged or cut off"):
        read_text(path)


def test_something_else_that_calls_itself_compressed_is_refused(tmp_path: Path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(b"plain text\n")
    with pytest.raises(CorpusFormatError, match="line 1: the compressed file is damaged"):
        list(read_lines(path))


def test_find_file_prefers_the_plain_one(tmp_path: Path):
    (tmp_path / "a.txt.gz").touch()
    assert find_file(tmp_path, "a.txt", or_gzip=True).name == "a.txt.gz"
    (tmp_path / "a.txt").touch()
    assert find_file(tmp_path, "a.txt", or_gzip=True).name == "a.txt"


def test_find_file_says_what_is_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"has no file a\.txt; it has nothing"):
        find_file(tmp_path, "a.txt")
    (tmp_path / "b.csv").touch()
    with pytest.raises(
        FileNotFoundError, match=rf"{os.path.basename(tmp_path)} has no file a\.txt or a\.txt\.gz; it has b\.csv"
    ):
        find_file(tmp_path, "a.txt", or_gzip=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", True),
        ("0042", True),
        ("", False),
        ("-1", False),
        ("+1", False),
        ("1_0", False),
        (" 1", False),
        ("२", False),
    ],
)
def test_is_whole_number(text: str, expected: bool):
    assert is_whole_number(text) == expected


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(lines, "LONGEST_LINE", 2**20)
    longest = b"a" * (2**20 - 1) + b"\n"
    data = longest + b"b" * 2**20 + b"\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = read_lines(path)
    assert next(found) == (1, "a" * (2**20 - 1))
    with pytest.raises(CorpusFormatError, match="line 2: the line has no end within 1 MiB"):
        next(found)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_file_that_is_too_large_to_be_read_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(lines, "LARGEST_TEXT", 2**20)
    monkeypatch.setattr(lines, "_PIECE", 1000)
    path = tmp_path / name
    for size, fits in ((2**20, True), (2**20 + 1, False)):
        path.write_bytes(gzip.compress(b"a" * size) if name.endswith(".gz") else b"a" * size)
        if fits:
            assert read_text(path) == "a" * size
        else:
            with pytest.raises(CorpusFormatError, match=r"a\.json.* has more than 1 MiB of text"):
                read_text(path)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path):
    (tmp_path / "a.json").write_bytes(b'{"a":\n "\xff"}\n')
    with pytest.raises(CorpusFormatError, match=r"a\.json, line 2: the text is not utf-8"):
        read_text(tmp_path / "a.json")
