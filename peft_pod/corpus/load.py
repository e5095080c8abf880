"""Corpora by name or by their files. A new reader is one file and one line of `_READERS`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from .corpus import Corpus
from .embedded import EmbeddedCorpusOptions, generate_embedded
from .readers.amazon import find_amazon, read_amazon
from .readers.amazon_ratings import find_amazon_ratings, read_amazon_ratings
from .readers.columns import find_columns, read_columns
from .readers.hub import find_datasets, read_datasets
from .readers.movielens import find_movielens, read_movielens
from .readers.movielens_100k import find_movielens_100k, read_movielens_100k
from .readers.pod_folder import find_pod_folder, read_pod_folder
from .readers.recbole import find_recbole, read_recbole
from .recognise import recognise

AUTO = "auto"
"""The name under which the format is told from the files."""


def load_corpus(
    name: str | os.PathLike[str], /, data_dir: str | os.PathLike[str] | None = None, **options: Any
) -> Corpus:
    """Load a corpus by the name of its format, or from a folder whose format is told from its files.

    Args:
        name: one of `available_corpora()`; or the folder itself; or `"auto"` with the folder as `data_dir`. A name goes
            before a folder that is called so. By position only, since readers may have an option of that name.
        data_dir: the folder that holds the corpus' files; `None` for a corpus that is made and not read. For
            `"columns"` it may be a file, for `"datasets"` the ID of a data set on the Hub.
        options: options of the reader, such as `num_users=50` for `"embedded"` or `repeats="last"` for `"amazon-2018"`.

    Raises:
        ValueError: the name is unknown, an option is unknown or missing, or `data_dir` is missing or not wanted.
        FileNotFoundError: `data_dir` does not exist, or a file is missing in it.
        NotADirectoryError: `data_dir` is not a folder.
        CorpusFormatError: a file does not have the form it should, or the format of a folder is not recognised.

    Example:
        >>> load_corpus("embedded", num_users=20).name
        'embedded'
    """
    if isinstance(name, str) and name in _READERS:
        return _load(name, data_dir, options)
    if name == AUTO:
        if data_dir is None:
            raise ValueError("'auto' tells the format from the files: give data_dir, the folder that holds them")
        path = Path(data_dir)
    elif data_dir is None and (not isinstance(name, str) or Path(name).exists() or os.sep in name):
        path = Path(name)
    else:
        known = ", ".join(available_corpora())
        also = "" if data_dir is not None else f", and no folder {os.fspath(name)!r} either"
        raise ValueError(f"there is no corpus {os.fspath(name)!r}; known are {known}{also}")
    finders = {name: reader.finds for name, reader in _READERS.items() if reader.finds is not None}
    return _load(recognise(path, finders), path, options)


def available_corpora() -> list[str]:
    """The names that `load_corpus` knows, in alphabetical order.

    Example:
        >>> "embedded" in available_corpora()
        True
    """
    return sorted(_READERS)


@dataclass(frozen=True)
class _Reader:
    """How a corpus is loaded.

    Args:
        function: makes the corpus; called with the folder, where it needs one, and the options.
        files: what the folder must hold, for messages; "" where the reader needs no folder.
        fixed: options that the name itself settles.
        signature: what lists the options, where `function` itself does not.
        finds: gives the names of the files in a folder by which the format is recognised; `None` where it is only
            loaded by name.
        source: what `data_dir` may be.
    """

    function: Callable[..., Corpus]
    files: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()
    signature: Callable[..., Any] | None = None
    finds: Callable[[Path], list[str]] | None = None
    source: Literal["folder", "folder or file", "folder or ID"] = "folder"

    @property
    def needs_folder(self) -> bool:
        return bool(self.files)

    def read(self, *folder: Path | str, **options: Any) -> Corpus:
        return self.function(*folder, **dict(self.fixed), **options)

    def check_options(self, name: str, options: dict[str, Any]) -> None:
        parameters = inspect.signature(self.signature or self.function).parameters
        settled = dict(self.fixed)
        allowed = [
            option
            for option, parameter in parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and option not in settled
        ]
        unknown = sorted(set(options) - set(allowed))
        if unknown:
            has = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise ValueError(f"corpus {name!r} has no option {unknown[0]!r}; {has}")
        missing = [
            option
            for option in allowed
            if parameters[option].default is inspect.Parameter.empty and option not in options
        ]
        if missing:
            raise ValueError(f"corpus {name!r} needs the option {missing[0]!r}")

    def check_source(self, name: str, data_dir: str | os.PathLike[str]) -> Path | str:
        folder = Path(data_dir)
        wants = f"{name!r} needs a {self.source} with {self.files}"
        if self.source == "folder or ID" and not folder.exists():
            return os.fspath(data_dir)
        if not folder.exists():
            raise FileNotFoundError(f"data_dir {folder} does not exist; {wants}")
        if self.source != "folder or file" and not folder.is_dir():
            raise NotADirectoryError(f"data_dir {folder} is not a folder; {wants}")
        return folder


def _load(name: str, data_dir: str | os.PathLike[str] | None, options: dict[str, Any]) -> Corpus:
    reader = _READERS[name]
    reader.check_options(name, options)
    if not reader.needs_folder:
        if data_dir is not None:
            raise ValueError(f"corpus {name!r} is made, not read: leave data_dir out, got {os.fspath(data_dir)!r}")
        return reader.read(**options)
    if data_dir is None:
        raise ValueError(f"corpus {name!r} is read from files: give data_dir, a {reader.source} with {reader.files}")
    return reader.read(reader.check_source(name, data_dir), **options)


def _read_embedded(**options: Any) -> Corpus:
    return generate_embedded(EmbeddedCorpusOptions(**options))


def _find_saved(path: Path) -> list[str]:
    return ["corpus.json"] if (path / "corpus.json").is_file() else []


def _amazon(year: int, files: str) -> _Reader:
    return _Reader(read_amazon, files, (("year", year),), finds=partial(find_amazon, year=year))


def _movielens(kind: str, files: str) -> _Reader:
    return _Reader(read_movielens, files, (("kind", kind),), finds=partial(find_movielens, kind=kind))


_POD_FILES = "sequential.txt[.gz] and datamaps.json[.gz]"

_READERS: dict[str, _Reader] = {
    "embedded": _Reader(_read_embedded, signature=EmbeddedCorpusOptions),
    "amazon-2014": _amazon(2014, "reviews_*_5.json[.gz]"),
    "amazon-2018": _amazon(2018, "*_5.json[.gz]"),
    "amazon-2023": _amazon(2023, "*.jsonl[.gz]"),
    "amazon-2023-ratings": _Reader(read_amazon_ratings, "*.csv[.gz]", finds=find_amazon_ratings),
    "movielens": _movielens("csv", "ratings.csv and movies.csv"),
    "movielens-1m": _movielens("dat", "ratings.dat and movies.dat"),
    "movielens-100k": _Reader(read_movielens_100k, "u.data and u.item", finds=find_movielens_100k),
    "recbole": _Reader(read_recbole, "*.inter", finds=find_recbole),
    "columns": _Reader(read_columns, "CSV or Parquet files", finds=find_columns, source="folder or file"),
    "datasets": _Reader(read_datasets, "a data set", finds=find_datasets, source="folder or ID"),
    "pod": _Reader(read_pod_folder, _POD_FILES, finds=find_pod_folder),
    "amazon-2014/beauty": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/beauty"),)),
    "amazon-2014/sports": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/sports"),)),
    "amazon-2014/toys": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/toys"),)),
    "saved": _Reader(Corpus.load_from_disk, "what Corpus.save_to_disk wrote", finds=_find_saved),
}
