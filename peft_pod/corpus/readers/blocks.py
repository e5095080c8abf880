"""Large text files in pieces that end where a line ends."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa

from ..lines import LONGEST_LINE, malformed, open_binary
from ..schema import CorpusFormatError

BLOCK_SIZE = 16 * 2**20
"""How many bytes of a file are looked at at once."""
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Whole lines of a file.

    Attributes:
        path: the file.
        first_line: number of the first of the lines, counted from 1.
        data: the lines; the last one, too, ends with a newline.
    """

    path: Path
    first_line: int
    data: bytes

    @property
    def num_lines(self) -> int:
        """Number of lines."""
        return self.data.count(b"\n")

    def after(self, num_bytes: int) -> Block:
        """What follows the first `num_bytes` bytes, which must end where a line ends."""
        lines = self.data.count(b"\n", 0, num_bytes)
        return Block(self.path, self.first_line + lines, self.data[num_bytes:])


@dataclass(frozen=True)
class Rows:
    """Rows that were read from a block.

    Attributes:
        path: the file.
        first: number of the first row, or of its line, counted from 1.
        table: the rows.
        unit: `"line"` where each row has a line, else `"row"`.
    """

    path: Path
    first: int
    table: pa.Table
    unit: Literal["line", "row"] = "line"

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, {self.unit} {self.first + row}"

    def renamed(self, names: Iterable[str]) -> Rows:
        """The same rows with other names of columns."""
        return replace(self, table=self.table.rename_columns(list(names)))


def read_blocks(path: Path, *, quoted: bool = False, needs_newline: bool = True) -> Iterator[Block]:
    """A text file in blocks of whole lines, unpacked where the name ends in `.gz`.

    Memory is used for one block and the longest line. Empty lines at the end don't count.

    Args:
        path: the file.
        quoted: whether a newline between `"` belongs to a value; a block then ends outside of them.
        needs_newline: whether a last line without a newline is refused as cut off. A compressed file has other ways to
            tell, and there it is not.

    Raises:
        CorpusFormatError: the file is empty, cut off or damaged, has an empty line in the middle, or a line of more
            than 64 MiB.
    """
    line, carry, found = 1, b"", False
    with open_binary(path) as file:
        for chunk in _chunks(path, file):
            if line == 1 and not carry:
                chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
            data = carry + chunk
            end = _end_of_lines(data, quoted)
            carry = data[end:]
            if len(carry) > LONGEST_LINE:
                kind = "a quoted value that begins here does not end" if quoted else "the line has no end"
                malformed(path, line + data.count(b"\n", 0, end), f"{kind} within {LONGEST_LINE // 2**20} MiB")
            if end:
                block = _checked(Block(path, line, data[:end]), quoted)
                line, found = line + block.num_lines, True
                yield block
    if carry.strip(_BLANK):
        if not carry.endswith(b"\n"):
            if needs_newline and path.suffix != ".gz":
                malformed(
                    path,
                    line + carry.count(b"\n"),
                    "the line has no newline, so the file seems to be cut off here; add one if it is not",
                )
            carry += b"\n"
        if quoted and carry.count(b'"') % 2:
            malformed(path, line, 'a quoted value that begins here does not end: the number of " is odd')
        found = True
        yield _checked(Block(path, line, carry), quoted)
    if not found:
        raise CorpusFormatError(f"{path} is empty")


def _chunks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    lines = 0
    try:
        while chunk := file.read(BLOCK_SIZE):
            lines += chunk.count(b"\n")
            yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        malformed(path, lines + 1, f"the compressed file is damaged or cut off at or soon after this line: {error}")


def _end_of_lines(data: bytes, quoted: bool) -> int:
    """Where the last whole line that is not blank ends; with `quoted`, the last one outside of quotes."""
    end = data.rfind(b"\n") + 1
    if quoted:
        odd = data.count(b'"', 0, end) % 2
        while odd and end:
            before = data.rfind(b"\n", 0, end - 1) + 1
            odd = (odd - data.count(b'"', before, end)) % 2
            end = before
    # Blank lines are kept for the next block: only there it shows whether they are the end of the file.
    content = len(data[:end].rstrip(_BLANK))
    return data.find(b"\n", content) + 1 if content else 0


def _checked(block: Block, quoted: bool) -> Block:
    if quoted:
        return block
    data = block.data
    if data.startswith((b"\n", b"\r\n")):
        malformed(block.path, block.first_line, "the line is empty")
    for empty in (b"\n\n", b"\n\r\n"):
        place = data.find(empty)
        if place >= 0:
            malformed(block.path, block.first_line + data.count(b"\n", 0, place) + 1, "the line is empty")
    return block
