"""Lines of a text file that may be damaged, and where they stand."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from .schema import CorpusFormatError

LONGEST_LINE = 64 * 2**20
"""A line with more bytes than this is refused: something that is not a text file has no lines."""
LARGEST_TEXT = 2**30
"""A file that must be read as a whole is refused where it has more bytes than this, unpacked."""
_PIECE = 16 * 2**20


def find_file(folder: Path, name: str, *, or_gzip: bool = False) -> Path:
    """The file `name` in `folder`; with `or_gzip` else `name.gz`.

    Raises:
        FileNotFoundError: there is none.
    """
    names = [name, f"{name}.gz"] if or_gzip else [name]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    present = sorted(path.name for path in folder.iterdir())
    has = ", ".join(present[:10]) + (", …" if len(present) > 10 else "") if present else "nothing"
    raise FileNotFoundError(f"{folder} has no file {' or '.join(names)}; it has {has}")


def malformed(path: Path, number: int, problem: str) -> NoReturn:
    """Refuse line `number` (counted from 1) of a file.

    Raises:
        CorpusFormatError: always.
    """
    raise CorpusFormatError(f"{path}, line {number}: {problem}")


def is_whole_number(text: str) -> bool:
    """Whether `text` is digits and nothing else; `int` alone would also take `" 1"`, `"1_0"` and `"+1"`."""
    return text.isascii() and text.isdigit()


def read_lines(path: Path, *, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Number (from 1) and content of each line, unpacked where the name ends in `.gz`.

    A file that was cut off is found by its last line, which then has no newline. Empty lines at the end don't count.

    Args:
        path: the file.
        encoding: of its text; one in which the byte 10 is nothing but the end of a line, such as UTF-8 or Latin-1.

    Raises:
        CorpusFormatError: the file is empty, cut off or damaged, has an empty line in the middle, or a line of more
            than 64 MiB.
    """
    last, first_empty = 0, 0
    for number, line in _raw_lines(path, encoding):
        last = number
        if not line.endswith("\n"):
            malformed(
                path, number, "the line has no newline, so the file seems to be cut off here; add one if it is not"
            )
        if not line.strip():
            first_empty = first_empty or number
            continue
        if first_empty:
            malformed(path, first_empty, "the line is empty")
        yield number, line.rstrip("\r\n")
    if last == 0 or first_empty == 1:
        raise CorpusFormatError(f"{path} is empty")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, unpacked where the name ends in `.gz`.

    Raises:
        CorpusFormatError: the file is damaged, compressed and cut off, or has more than 1 GiB.
    """
    data = bytearray()
    try:
        with open_binary(path) as file:
            while len(data) <= LARGEST_TEXT and (piece := file.read(_PIECE)):
                data += piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        _damaged(path, data.count(b"\n") + 1, error)
    if len(data) > LARGEST_TEXT:
        raise CorpusFormatError(
            f"{path} has more than {LARGEST_TEXT // 2**20} MiB of text, and a file of its kind is read as a whole; "
            "give the data in another format, see docs/corpus.md"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        malformed(path, data.count(b"\n", 0, error.start) + 1, f"the text is not utf-8: {error}")


def _raw_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with open_binary(path) as file:
            # Decoded line by line: a file opened as text is decoded in blocks, so that an error has no line.
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    malformed(path, number, f"the line has no end within {LONGEST_LINE // 2**20} MiB")
                yield number, line.decode(encoding)
    except UnicodeDecodeError as error:
        malformed(path, number, f"the text is not {encoding}: {error}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        _damaged(path, number + 1, error)


def _damaged(path: Path, number: int, error: Exception) -> NoReturn:
    malformed(path, number, f"the compressed file is damaged or cut off at or soon after this line: {error}")


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked where the name ends in `.gz`."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
