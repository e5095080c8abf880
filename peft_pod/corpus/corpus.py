"""A corpus: its tables, its name, and a fingerprint by which results can be compared."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from datasets import Dataset, DatasetDict, load_from_disk

from peft_pod.files import new_folder, write_text

from .candidates import Negatives
from .explain import choose_explanations
from .export import (
    NAME_FILE,
    described,
    is_parquet_folder,
    push_corpus,
    read_description,
    read_parquet_tables,
    write_parquet,
)
from .filters import Repeats
from .fingerprint import tables_fingerprint
from .pod_export import write_pod_folder
from .prepare import PrepareOptions, prepare
from .schema import REQUIRED_COLUMNS, CorpusFormatError, conform
from .split import LeaveOneOut, RefitLeaveOneOut, Split, leave_one_out, leave_one_out_refit
from .steps import Step
from .temporal import TemporalSplit, refuse_places, temporal_split
from .timestamps import BadTimestamps, drop_bad_timestamps, only_places

if TYPE_CHECKING:
    from peft_pod.audit import Audit
    from peft_pod.indexing import Indexing

_SAVED_FILES = frozenset({NAME_FILE, "dataset_dict.json", *REQUIRED_COLUMNS})
"""What `save_to_disk` writes, and may replace."""
_SPLITS: dict[str, Callable[..., Split]] = {
    LeaveOneOut.name: leave_one_out,
    RefitLeaveOneOut.name: leave_one_out_refit,
    TemporalSplit.name: temporal_split,
}


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
    def from_tables(
        cls,
        name: str,
        tables: Mapping[str, Dataset],
        steps: Iterable[Step] = (),
        *,
        bad_timestamps: BadTimestamps = "error",
    ) -> Corpus:
        """Make a corpus of tables that have the schema's columns; types are cast.

        Args:
            name: how results refer to the corpus.
            tables: `interactions`, `items` and optionally `explanations`.
            steps: what was done to them since the files.
            bad_timestamps: what becomes of interactions whose timestamp is missing, negative or beyond the year 2100:
                `"error"`, or `"drop"`, which counts them in a step of its own.

        Raises:
            ValueError: `bad_timestamps` is neither.
            CorpusFormatError: see `peft_pod.corpus.schema.conform`; also where there are no interactions.
        """
        steps = tuple(steps)
        if bad_timestamps not in get_args(BadTimestamps):
            raise ValueError(f"bad_timestamps must be one of {list(get_args(BadTimestamps))}, got {bad_timestamps!r}")
        if bad_timestamps == "drop" and "interactions" in tables:
            dated, step = drop_bad_timestamps(tables["interactions"])
            tables, steps = {**tables, "interactions": dated}, (*steps, step)
        conformed = conform(tables)
        if len(conformed["interactions"]) == 0:
            raise CorpusFormatError(f"corpus {name!r} has no interactions")
        return cls(name=name, tables=conformed, steps=steps)

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
        return tables_fingerprint(self.tables)

    def prepare(self, **options: Any) -> Corpus:
        """Apply rules in a fixed order: duplicates, repeats, ratings, k-core, unused items.

        Args:
            options: see `peft_pod.corpus.prepare.PrepareOptions`.

        Returns:
            What is left, with a step for each rule that says what it dropped. This corpus is not changed; the same goes
                for the methods below, which apply one rule each.

        Raises:
            ValueError: there is no such option, nothing is left, or ratings are asked for that there are not.
        """
        known = [field.name for field in fields(PrepareOptions)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"prepare has no option {unknown[0]!r}; its options are {', '.join(known)}")
        return prepare(self, PrepareOptions(**options))

    def k_core(self, users: int = 5, items: int = 5) -> Corpus:
        """Drop users and items with fewer interactions, again and again, until all that are left have enough.

        Args:
            users: the fewest interactions of a user that stays; 0 for no threshold.
            items: likewise of an item; the others are dropped from the catalogue too.

        Example:
            >>> from collections import Counter
            >>> from peft_pod.corpus import load_corpus
            >>> core = load_corpus("embedded", num_users=50).k_core(users=15, items=3)
            >>> min(Counter(core.interactions["user_id"]).values()) >= 15
            True
        """
        return self.prepare(k_core_users=users, k_core_items=items)

    def min_rating(self, threshold: float) -> Corpus:
        """Drop interactions with a rating below `threshold`, and those without one."""
        return self.prepare(min_rating=threshold)

    def deduplicate(self, repeats: Repeats = "keep") -> Corpus:
        """Drop interactions that equal an earlier one in every column.

        Args:
            repeats: what becomes of several interactions of one user with one item that are not equal: `"keep"` all, or
                only the `"first"` or the `"last"` in time.
        """
        return self.prepare(drop_duplicates=True, repeats=repeats)

    def drop_unused_items(self) -> Corpus:
        """Drop items without an interaction from the catalogue."""
        return self.prepare(drop_unused_items=True)

    @overload
    def split(self, name: Literal["leave-one-out"] = "leave-one-out") -> LeaveOneOut: ...

    @overload
    def split(self, name: str, **settings: Any) -> Split: ...

    def split(self, name: str = LeaveOneOut.name, **settings: Any) -> Split:
        """Divide the corpus into a training, a validation and a test part.

        Args:
            name: `"leave-one-out"` (`peft_pod.corpus.split.leave_one_out`, no settings), `"leave-one-out-refit"`
                (`leave_one_out_refit`, for the last training, no settings) or `"temporal"`
                (`peft_pod.corpus.temporal.temporal_split`: two cuts, or two fractions).
            settings: of the kind of split.

        Raises:
            ValueError: there is no such kind of split, it has no such setting, or the corpus cannot be split so.

        Example:
            >>> from peft_pod.corpus import load_corpus
            >>> corpus = load_corpus("embedded", num_users=50)
            >>> split = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.1)
            >>> split.name, sorted(split.settings)[:2]
            ('temporal', ['test_cut', 'test_fraction'])
        """
        if name not in _SPLITS:
            raise ValueError(f"there is no split {name!r}; known are {', '.join(map(repr, sorted(_SPLITS)))}")
        make = _SPLITS[name]
        keywords = [key for key, of in inspect.signature(make).parameters.items() if of.kind is of.KEYWORD_ONLY]
        known = [key for key in keywords if key != "data_fingerprint"]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            has = f"its settings are {', '.join(known)}" if known else "it has no settings"
            raise ValueError(f"split {name!r} has no setting {unknown[0]!r}; {has}")
        if name == TemporalSplit.name and only_places(self.steps):
            # Once rows were dropped, the numbers alone would not tell.
            refuse_places()
        return make(self.interactions, self.items, self.explanations, data_fingerprint=self.fingerprint, **settings)

    def with_explanations(
        self, *, split: str = LeaveOneOut.name, split_settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Corpus:
        """Choose explanation sentences from the reviews, see `peft_pod.corpus.explain.choose_explanations`.

        Args:
            split: name of the split for which they are meant: nothing is learnt from what it holds out.
            split_settings: settings of that split.
            options: see `peft_pod.corpus.sentence_choice.ExplanationOptions`.
        """
        return choose_explanations(self, split=split, split_settings=split_settings, **options)

    def to_parquet(
        self, folder: str | os.PathLike[str], *, split: Split | None = None, license: str | None = None
    ) -> None:
        """Write the tables as Parquet, with name, steps and a dataset card; `load_from_disk` reads them back.

        Args:
            folder: a new or an empty folder.
            split: the split that the card describes; leave-one-out where it is not given.
            license: the Hub's name for the licence of the data, for the card.
        """
        write_parquet(self, folder, split=split, license=license)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Push what `to_parquet` writes to the Hub; see `peft_pod.corpus.export.push_corpus` for the options.

        Args:
            repo_id: `"owner/name"`.
            options: `split`, `license`, `private`, `token`, `revision` and `commit_message`.

        Returns:
            The address of the commit.
        """
        return push_corpus(self, repo_id, **options)

    def to_pod_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        short_users: Literal["error", "drop"] = "error",
        num_negatives: int = 99,
        negatives: Negatives = "uniform",
        seed: int = 0,
    ) -> Step:
        """Write a folder for the code of the P5 and POD papers, see `peft_pod.corpus.pod_export.write_pod_folder`.

        Args:
            folder: a new or an empty folder.
            short_users: what becomes of users with fewer than 4 items: `"error"` or `"drop"`.
            num_negatives: how many for each user.
            negatives: how they are drawn.
            seed: of indices and negatives.
        """
        return write_pod_folder(
            self, folder, short_users=short_users, num_negatives=num_negatives, negatives=negatives, seed=seed
        )

    def save_to_disk(self, folder: str | os.PathLike[str]) -> None:
        """Write the corpus as a `datasets` folder that `load_from_disk` reads back, whole or not at all.

        Args:
            folder: a new or an empty folder, or one that this method wrote, which is replaced.

        Raises:
            FileExistsError: the folder has other files.
            ValueError: the corpus was loaded from that folder, whose files are still being read.
        """
        folder = Path(folder)
        sources = (Path(file["filename"]) for table in self.tables.values() for file in table.cache_files)
        if any(folder.resolve() in source.resolve().parents for source in sources):
            raise ValueError(f"the corpus is read from {folder} and cannot replace its own files; save it elsewhere")
        with new_folder(folder, replaceable=_SAVED_FILES) as temporary:
            self.tables.save_to_disk(str(temporary))
            write_text(temporary / NAME_FILE, described(self))

    @classmethod
    def load_from_disk(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Read what `save_to_disk` or `to_parquet` wrote.

        Raises:
            FileNotFoundError: the folder is not one that they wrote to the end.
            CorpusFormatError: its tables or its name do not have the form they should.
        """
        folder = Path(folder)
        name_file = folder / NAME_FILE
        if not name_file.is_file():
            raise FileNotFoundError(f"{folder} is not a saved corpus: it has no {NAME_FILE}")
        name, steps = read_description(name_file)
        tables = read_parquet_tables(folder) if is_parquet_folder(folder) else load_from_disk(str(folder))
        return cls.from_tables(name, tables, steps)

    def audit(self, indexing: Indexing | str, split: Split | None = None, **options: Any) -> Audit:
        """Look for whatever gives held-out items away, see `peft_pod.audit.audit`.

        Args:
            indexing: fitted on the split; or the name of a scheme, which is fitted here.
            split: of this corpus; leave-one-out where it is not given.
            **options: further arguments of `peft_pod.audit.audit`.

        Example:
            >>> from peft_pod.corpus import load_corpus
            >>> load_corpus("embedded", num_users=100).audit("random").findings
            []
        """
        from peft_pod.audit import audit  # the audit stands on the corpus, so it is not known when this is read

        return audit(self, indexing, split, **options)
