"""Which files of a folder belong to a format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..schema import CorpusFormatError

PARTS = ("train", "valid", "test")


def listed(folder: Path, most: int = 10) -> str:
    """What is in a folder, for messages."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return (", ".join(names[:most]) + (", …" if len(names) > most else "")) if names else "nothing"


def matching(folder: Path, pattern: str) -> dict[str, Path]:
    """Files whose whole name matches a pattern, by what its group `key` matched; the plain one before the `.gz`.

    Args:
        folder: where to look.
        pattern: a regular expression with a group `key`.

    Raises:
        CorpusFormatError: several files have one key, such as a whole file and its 5-core.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(pattern, path.name)
        if match and path.is_file():
            first = found.setdefault(match["key"], path)
            if first.name not in (path.name, path.name.removesuffix(".gz")):
                raise CorpusFormatError(f"{folder} has {first.name} and {path.name}; keep one of the two in the folder")
    return found


def whole_or_parts(folder: Path, found: Mapping[str, Path], ending: str) -> dict[str, list[Path]]:
    """The files of each key: one, or three whose keys end in `.train`, `.valid` and `.test`, in this order.

    Args:
        folder: where they are, for messages.
        found: what `matching` returned.
        ending: of the files, for messages.

    Raises:
        FileNotFoundError: one of the three parts is missing.
        CorpusFormatError: a key has a whole file and parts.

    Example:
        >>> whole_or_parts(Path("x"), {f"a.{part}": Path(f"a.{part}.csv") for part in PARTS}, ".csv").keys()
        dict_keys(['a'])
    """
    whole: dict[str, list[Path]] = {}
    parts: dict[str, dict[str, Path]] = {}
    for key, path in found.items():
        of, _, part = key.rpartition(".")
        if of and part in PARTS:
            parts.setdefault(of, {})[part] = path
        else:
            whole[key] = [path]
    for key, paths in parts.items():
        missing = [part for part in PARTS if part not in paths]
        if missing:
            raise FileNotFoundError(f"{folder} has {key} in parts, but no file {key}.{missing[0]}{ending}")
        if key in whole:
            raise CorpusFormatError(f"{folder} has {key} whole and in parts; keep one of the two")
        whole[key] = [paths[part] for part in PARTS]
    return whole


def one_of(folder: Path, found: dict[str, Path], wanted: str | None, option: str, expected: str) -> tuple[str, Path]:
    """The wanted one of several files, or the only one.

    Args:
        folder: where they are, for messages.
        found: what `matching` returned.
        wanted: the key of one of them, or `None`.
        option: name of the option that `wanted` is the value of.
        expected: what the folder should have, for messages.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the wanted one is not there.
        CorpusFormatError: there are several and none is wanted.
    """
    if not found:
        raise FileNotFoundError(f"{folder} has no file {expected}; it has {listed(folder)}")
    if wanted is not None:
        if wanted not in found:
            raise ValueError(f"{option} {wanted!r} is not in {folder}; it has {', '.join(map(repr, found))}")
        return wanted, found[wanted]
    if len(found) > 1:
        raise CorpusFormatError(
            f"{folder} has several of {expected}: say which with the option {option}, one of "
            f"{', '.join(map(repr, found))}"
        )
    return next(iter(found.items()))
