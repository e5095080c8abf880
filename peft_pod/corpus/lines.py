"""Lines of a text file that may be damaged, and where they stand."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from .schema import CorpusFormatError


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
        CorpusFormatError: the file is empty, cut off or damaged, or has an empty line in the middle.
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
        CorpusFormatError: the file is damaged, or compressed and cut off.
    """
    return "".join(line for _, line in _raw_lines(path, "utf-8"))


def _raw_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with open_binary(path) as file:
            # Decoded line by line: a file opened as text is decoded in blocks, so that an error has no line.
            for number, line in enumerate(file, start=1):
                yield number, line.decode(encoding)
    except UnicodeDecodeError as error:
        malformed(path, number, f"the text is not {encoding}: {error}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        malformed(path, number + 1, f"the compressed file is damaged or cut off at or soon after this line: {error}")


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked where the name ends in `.gz`."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
