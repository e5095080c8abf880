"""A corpus as files that others read: Parquet with a dataset card, in a folder or on the Hub."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetsError
from huggingface_hub import HfApi

from peft_pod.files import new_folder, write_text

from .card import TABLE_FILES, dataset_card
from .schema import OPTIONAL_TABLES, CorpusFormatError
from .split import Split
from .steps import Step

if TYPE_CHECKING:
    from .corpus import Corpus

NAME_FILE = "corpus.json"
CARD_FILE = "README.md"


def write_parquet(
    corpus: Corpus,
    folder: str | os.PathLike[str],
    *,
    split: Split | None = None,
    license: str | None = None,
    repo_id: str | None = None,
) -> None:
    """Write a corpus as a folder of Parquet files, one a table, with its name and steps and a dataset card.

    The folder is whole or not there at all.

    Args:
        corpus: the corpus.
        folder: a new or an empty folder.
        split: the split that the card describes; leave-one-out where it is not given.
        license: the Hub's name for the licence of the data, such as `"cc-by-4.0"`; left out where it is not given.
        repo_id: where the folder will be on the Hub, for the card.

    Raises:
        FileExistsError: the folder is there already and not empty.
        ValueError: the split is one of another corpus.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=20)
        >>> folder = Path(tempfile.mkdtemp()) / "embedded"
        >>> write_parquet(corpus, folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'corpus.json', 'explanations.parquet', 'interactions.parquet', 'items.parquet']
        >>> {name: len(table) for name, table in read_parquet_tables(folder).items()} == {
        ...     name: len(table) for name, table in corpus.tables.items()
        ... }
        True
    """
    card = dataset_card(corpus, split=split, license=license, repo_id=repo_id)
    with new_folder(folder) as temporary:
        for name, table in corpus.tables.items():
            table.to_parquet(temporary / TABLE_FILES[name])
        write_text(temporary / CARD_FILE, card)
        write_text(temporary / NAME_FILE, described(corpus))


def described(corpus: Corpus) -> str:
    """Name and steps of a corpus as JSON, as they stand beside its tables."""
    return json.dumps({"name": corpus.name, "steps": [step.to_dict() for step in corpus.steps]})


def read_description(path: Path) -> tuple[str, tuple[Step, ...]]:
    """Name and steps of a corpus, as `described` gives them.

    Raises:
        CorpusFormatError: the file does not have that form.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        name = saved["name"]
        if not isinstance(name, str):
            raise TypeError(f"the name is {name!r}")
        return name, tuple(Step.from_dict(step) for step in saved.get("steps", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusFormatError(f'{path} must hold {{"name": "<name of the corpus>"}}: {error!r}') from error


def is_parquet_folder(folder: Path) -> bool:
    """Whether a folder has the tables as `write_parquet` names them."""
    return all((folder / file).is_file() for name, file in TABLE_FILES.items() if name not in OPTIONAL_TABLES)


def read_parquet_tables(folder: Path) -> DatasetDict:
    """Read the tables that `write_parquet` wrote.

    Args:
        folder: the folder.

    Raises:
        CorpusFormatError: a table is missing or damaged.
    """
    tables = {}
    for name, file in TABLE_FILES.items():
        path = folder / file
        if not path.is_file():
            if name in OPTIONAL_TABLES:
                continue
            raise CorpusFormatError(f"{folder} has no {file}; it was not written by to_parquet, or not whole")
        try:
            # `datasets` turns the file into Arrow in its cache, from where rows are read as they are needed.
            tables[name] = Dataset.from_parquet(str(path))
        except (DatasetsError, pa.ArrowException, OSError, ValueError) as error:
            raise CorpusFormatError(f"{path} is not a Parquet file that can be read: {error}") from error
    return DatasetDict(tables)


def push_corpus(
    corpus: Corpus,
    repo_id: str,
    *,
    split: Split | None = None,
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Push a corpus to the Hub, with its card, in one commit.

    What is pushed is what `write_parquet` writes. `datasets.DatasetDict.push_to_hub` is not used: it wants the same
    columns in all tables. Each table is a configuration of the data set, as the card says, so
    `load_dataset(repo_id, "interactions")` reads it, and so does `load_corpus("datasets", repo_id)`.

    Args:
        corpus: the corpus.
        repo_id: `"owner/name"` on the Hub; made where it is not there.
        split: see `write_parquet`.
        license: likewise.
        private: whether a new repository is private.
        token: of the Hub; the one that is logged in where it is not given.
        revision: the branch to push to, the main one by default.
        commit_message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ValueError: see `write_parquet`.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
    """
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "corpus"
        write_parquet(corpus, folder, split=split, license=license, repo_id=repo_id)
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or f"Add the corpus {corpus.name} ({corpus.fingerprint})",
            delete_patterns=list(TABLE_FILES.values()),
        )
    return str(commit.commit_url)
