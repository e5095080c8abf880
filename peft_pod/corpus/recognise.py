"""Which format a folder has, told from its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .readers.files import listed
from .schema import CorpusFormatError


def recognise(path: Path, finders: Mapping[str, Callable[[Path], list[str]]]) -> str:
    """The name of the one format that a folder or file has.

    Args:
        path: the folder or file.
        finders: for each format a function that gives the names of the files by which it is recognised, or none.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CorpusFormatError: no format is recognised, or several are; the message says what was found and what is known.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "u.data").write_text("")
        >>> recognise(folder, {"a": lambda path: ["u.data"], "b": lambda path: []})
        'a'
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or file {path}")
    found = {name: files for name, find in finders.items() if (files := find(path))}
    known = ", ".join(sorted(finders))
    if not found:
        has = f"the folder has {listed(path)}" if path.is_dir() else "it is a single file"
        raise CorpusFormatError(
            f"the format of {path} is not recognised: {has}. Known are {known}: name one, as in "
            "load_corpus('<format>', folder); docs/corpus.md says which files each has"
        )
    if len(found) > 1:
        what = "; ".join(f"{name!r} by {', '.join(files)}" for name, files in sorted(found.items()))
        raise CorpusFormatError(
            f"{path} looks like several formats: {what}. Name one, as in load_corpus({sorted(found)[0]!r}, folder)"
        )
    return next(iter(found))
