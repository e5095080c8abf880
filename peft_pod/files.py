"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

# The names that `replacing` (number of the process) and `new_folder` (eight letters of `tempfile`) give.
_TEMPORARY_FILE = re.compile(r"\..+\.\d+(\.\w+)?")
_TEMPORARY_FOLDER = re.compile(r"\..+\.[a-z0-9_]{8}")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there takes its place at the end.

    If the block fails, `path` is left as it was and the temporary file is removed.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays, because some writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str], *, replaceable: Collection[str] = ()) -> Iterator[Path]:
    """Give a temporary folder beside `path`; at the end it becomes `path`.

    If the block fails, the temporary folder is removed, and `path` is as it was.

    Args:
        path: where the folder goes.
        replaceable: a folder that is there already is replaced if it has nothing but files and folders of these names.

    Raises:
        FileExistsError: `path` is there already, and is neither an empty folder nor one that may be replaced.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "numbers"
        >>> with new_folder(target) as temporary:
        ...     write_text(temporary / "numbers.txt", "1 2 3")
        >>> [file.name for file in target.iterdir()]
        ['numbers.txt']
    """
    path = Path(path).absolute()
    others = sorted({file.name for file in path.iterdir()} - set(replaceable)) if path.is_dir() else []
    if others or (path.exists() and not path.is_dir()):
        has = f" with {', '.join(others[:5])}" if others else ""
        raise FileExistsError(f"{path} is there already{has}; name a new or an empty folder, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder within is made as any other; the one around it is readable by its owner alone.
    around = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = around / path.name
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rename(around / "older")
        temporary.rename(path)
    finally:
        shutil.rmtree(around, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what a killed process was writing into a folder by `replacing` or `new_folder`; nothing else.

    Args:
        folder: into which no process is writing.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in (".report.4711.json", ".gitignore", "report.json"):
        ...     write_text(folder / name, "")
        >>> remove_leftovers(folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['.gitignore', 'report.json']
    """
    for path in Path(folder).glob(".*"):
        if path.is_symlink():
            continue
        if path.is_dir() and _TEMPORARY_FOLDER.fullmatch(path.name):
            shutil.rmtree(path)
        elif path.is_file() and _TEMPORARY_FILE.fullmatch(path.name):
            path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: str | os.PathLike[str]) -> None:
    """Have the system write a file, or a folder and all that is in it, to the disk itself.

    What was written and renamed may otherwise be lost when the machine, not the process, goes down.
    """
    path = Path(path)
    for inner in path.rglob("*") if path.is_dir() else ():
        sync_entries(inner)
    sync_entries(path)


def sync_entries(path: str | os.PathLike[str]) -> None:
    """Have the system write a file, or a folder's list of what is in it, to the disk itself."""
    if os.name == "nt" and Path(path).is_dir():  # Windows does not open folders
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
