from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.readers import blocks
from peft_pod.corpus.readers.blocks import read_blocks


def write(folder: Path, data: bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return path


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.translate(None, b" \t\r\n") or b"x"), min_size=1),
    st.integers(1, 9),
)
def test_blocks_are_the_file_cut_at_ends_of_lines(tmp_path_factory, lines: list[bytes], size: int):
    folder = tmp_path_factory.mktemp("blocks")
    path = write(folder, b"".join(line + b"\n" for line in lines))
    original, blocks.BLOCK_SIZE = blocks.BLOCK_SIZE, size
    try:
        found = list(read_blocks(path))
    finally:
        blocks.BLOCK_SIZE = original
    expected = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if expected.strip():
        assert b"".join(block.data for block in found) == expected
    number = 1
    for block in found:
        assert block.data.endswith(b"\n")
        assert block.first_line == number
        number += len(block.data.splitlines()) if b"\r" not in block.data else block.num_lines


def test_a_quoted_newline_does_not_end_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 5)
    path = write(tmp_path, b'a,"b\nc\n""d"\ne,f\n')
    assert [block.data for block in read_blocks(path, quoted=True)] == [b'a,"b\nc\n""d"\n', b"e,f\n"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (b"a\n\nb\n", "line 2: the line is empty"),
        (b"a\r\n\r\nb\r\n", "line 2: the line is empty"),
        (b"\na\n", "line 1: the line is empty"),
        (b"a\nb", "line 2: the line has no newline"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_damage_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str, size: int):
    monkeypatch.setattr(blocks, "BLOCK_SIZE", size)
    with pytest.raises(CorpusFormatError, match=message):
        list(read_blocks(write(tmp_path, data)))


def test_empty_lines_at_the_end_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 3)
    found = list(read_blocks(write(tmp_path, b"a\t\t\nb\n\n \n\n")))
    assert b"".join(block.data for block in found) == b"a\t\t\nb\n"


def test_a_compressed_file_tells_its_end_otherwise(tmp_path: Path):
    found = read_blocks(write(tmp_path, b"a\nb", "a.txt.gz"))
    assert [(block.first_line, block.data) for block in found] == [(1, b"a\n"), (2, b"b\n")]
    path = write(tmp_path, b"".join(b"%d\n" % number for number in range(50_000)), "b.txt.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusFormatError, match=r"b\.txt\.gz, line \d+: the compressed file is damaged or cut off"):
        list(read_blocks(path))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 MiB of zeros in a few KiB: what is unpacked must not be held whole."""
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 2**16)
    monkeypatch.setattr(blocks, "LONGEST_LINE", 2**20)
    path = write(tmp_path, b"a\n" + b"0" * 2**26, "a.txt.gz")
    assert path.stat().st_size < 2**17
    with pytest.raises(CorpusFormatError, match="line 2: the line has no end within 1 MiB"):
        list(read_blocks(path))


def test_the_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    (block,) = read_blocks(write(tmp_path, b"\xef\xbb\xbfuser_id\n"))
    assert block.data == b"user_id\n"
