"""Corpora by name. A new reader is one file and one line of `_READERS`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .corpus import Corpus
from .embedded import EmbeddedCorpusOptions, generate_embedded
from .movielens_100k import read_movielens_100k
from .pod_folder import read_pod_folder


def load_corpus(name: str, /, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Corpus:
    """Load a corpus by its name.

    Args:
        name: one of `available_corpora()`. By position only, since readers may have an option of that name.
        data_dir: the folder that holds the corpus' files; `None` for a corpus that is made and not read.
        options: options of the reader, such as `num_users=50` for `"embedded"` or `name="toys"` for `"pod"`.

    Raises:
        ValueError: the name is unknown, an option is unknown or missing, or `data_dir` is missing or not wanted.
        FileNotFoundError: `data_dir` does not exist, or a file is missing in it.
        NotADirectoryError: `data_dir` is not a folder.
        CorpusFormatError: a file does not have the form it should.

    Example:
        >>> load_corpus("embedded", num_users=20).name
        'embedded'
    """
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(f"there is no corpus {name!r}; known are {', '.join(available_corpora())}")
    reader.check_options(name, options)
    if not reader.needs_folder:
        if data_dir is not None:
            raise ValueError(f"corpus {name!r} is made, not read: leave data_dir out, got {os.fspath(data_dir)!r}")
        return reader.read(**options)
    if data_dir is None:
        raise ValueError(f"corpus {name!r} is read from files: give data_dir, a folder with {reader.files}")
    folder = Path(data_dir)
    if not folder.exists():
        raise FileNotFoundError(f"data_dir {folder} does not exist; {name!r} needs a folder with {reader.files}")
    if not folder.is_dir():
        raise NotADirectoryError(f"data_dir {folder} is not a folder; {name!r} needs a folder with {reader.files}")
    return reader.read(folder, **options)


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
    """

    function: Callable[..., Corpus]
    files: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()
    signature: Callable[..., Any] | None = None

    @property
    def needs_folder(self) -> bool:
        return bool(self.files)

    def read(self, *folder: Path, **options: Any) -> Corpus:
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


def _read_embedded(**options: Any) -> Corpus:
    return generate_embedded(EmbeddedCorpusOptions(**options))


_POD_FILES = "sequential.txt[.gz] and datamaps.json[.gz]"

_READERS: dict[str, _Reader] = {
    "embedded": _Reader(_read_embedded, signature=EmbeddedCorpusOptions),
    "movielens-100k": _Reader(read_movielens_100k, "u.data and u.item"),
    "pod": _Reader(read_pod_folder, _POD_FILES),
    "amazon-2014/beauty": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/beauty"),)),
    "amazon-2014/sports": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/sports"),)),
    "amazon-2014/toys": _Reader(read_pod_folder, _POD_FILES, (("name", "amazon-2014/toys"),)),
    "saved": _Reader(Corpus.load_from_disk, "what Corpus.save_to_disk wrote"),
}
