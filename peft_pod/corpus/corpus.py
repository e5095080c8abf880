"""A corpus: its tables, its name, and a fingerprint by which results can be compared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datasets import Dataset, DatasetDict, load_from_disk

from peft_pod.files import write_text

from .schema import CorpusFormatError, conform
from .split import LeaveOneOut, leave_one_out
from .steps import Step

_NAME_FILE = "corpus.json"


@dataclass(frozen=True)
class Corpus:
    """Who took what, the catalogue, and what people said about it.

    Args:
        name: how results refer to the corpus, such as `"movielens-100k"`.
        tables: `interactions`, `items` and optionally `explanations`, in the schema of `peft_pod.corpus.schema`.
        steps: what was done to it since the files, oldest first.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=50)
        >>> corpus.interactions.column_names[:3]
        ['user_id', 'item_id', 'timestamp']
    """

    name: str
    tables: DatasetDict
    steps: tuple[Step, ...] = ()

    @classmethod
    def from_tables(cls, name: str, tables: Mapping[str, Dataset], steps: Iterable[Step] = ()) -> Corpus:
        """Make a corpus of tables that have the schema's columns; types are cast.

        Raises:
            CorpusFormatError: see `peft_pod.corpus.schema.conform`; also where there are no interactions.
        """
        conformed = conform(tables)
        if len(conformed["interactions"]) == 0:
            raise CorpusFormatError(f"corpus {name!r} has no interactions")
        return cls(name=name, tables=conformed, steps=tuple(steps))

    @property
    def interactions(self) -> Dataset:
        """Who took what, and when."""
        return self.tables["interactions"]

    @property
    def items(self) -> Dataset:
        """The catalogue."""
        return self.tables["items"]

    @property
    def explanations(self) -> Dataset | None:
        """Sentences from reviews, or `None` where the source has no text."""
        return self.tables.get("explanations")

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of a hash over all rows: equal exactly where the data are equal."""
        digest = hashlib.sha256()
        for name in sorted(self.tables):
            table = self.tables[name]
            digest.update(f"{name}:{table.column_names}".encode())
            for batch in table.with_format(None).iter(batch_size=10_000):
                digest.update(json.dumps(batch, sort_keys=True, ensure_ascii=False).encode())
        return digest.hexdigest()[:12]

    def split(self) -> LeaveOneOut:
        """Split by leave-one-out, see `peft_pod.corpus.split.leave_one_out`."""
        return leave_one_out(self.interactions, self.items, self.explanations)

    def save_to_disk(self, folder: str | os.PathLike[str]) -> None:
        """Write the corpus as a `datasets` folder that `load_from_disk` reads back.

        Raises:
            ValueError: the corpus was loaded from that folder, whose files are still being read.
        """
        folder = Path(folder)
        sources = (Path(file["filename"]) for table in self.tables.values() for file in table.cache_files)
        # `datasets` would refuse only after the older name is gone, and the folder with it.
        if any(folder.resolve() in source.resolve().parents for source in sources):
            raise ValueError(f"the corpus is read from {folder} and cannot replace its own files; save it elsewhere")
        # The name is written last and an older one is removed first: it stands only in folders that are complete.
        (folder / _NAME_FILE).unlink(missing_ok=True)
        self.tables.save_to_disk(str(folder))
        write_text(
            folder / _NAME_FILE, json.dumps({"name": self.name, "steps": [step.to_dict() for step in self.steps]})
        )

    @classmethod
    def load_from_disk(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Read what `save_to_disk` wrote.

        Raises:
            FileNotFoundError: the folder is not one that `save_to_disk` wrote to the end.
            CorpusFormatError: its tables or its name do not have the form they should.
        """
        folder = Path(folder)
        name_file = folder / _NAME_FILE
        if not name_file.is_file():
            raise FileNotFoundError(f"{folder} is not a saved corpus: it has no {_NAME_FILE}")
        try:
            saved = json.loads(name_file.read_text(encoding="utf-8"))
            name = saved["name"]
            if not isinstance(name, str):
                raise TypeError(f"the name is {name!r}")
            steps = [Step.from_dict(step) for step in saved.get("steps", [])]
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusFormatError(f'{name_file} must hold {{"name": "<name of the corpus>"}}: {error!r}') from error
        return cls.from_tables(name, load_from_disk(str(folder)), steps)
