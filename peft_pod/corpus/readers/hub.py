"""Data sets of the `datasets` library that have the tables: folders of `save_to_disk`, local folders, the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import (
    Dataset,
    DatasetDict,
    Features,
    Value,
    concatenate_datasets,
    config,
    get_dataset_config_names,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetsError
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ..corpus import Corpus
from ..export import NAME_FILE, read_description
from ..fingerprint import settings_fingerprint
from ..schema import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, CorpusFormatError, conform
from ..spool import as_dataset, collect
from ..steps import Setting, Step
from .columns import COLUMNS, check_columns
from .interactions import survey
from .items import make_items

_BATCH = 100_000
_INTERACTIONS, _ITEMS = "interactions", "items"
_FOLDER_OF_ALL, _FOLDER_OF_ONE = "dataset_dict.json", "state.json"


def read_datasets(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    revision: str | None = None,
) -> Corpus:
    """Read a data set that has the tables of the schema, or a single table of interactions.

    The tables stay as they are: rows keep their order, and duplicates and ties are counted and kept. No code of the
    data set is run. Where `Corpus.to_parquet`, `push_to_hub` or `save_to_disk` wrote it, name and steps are those of
    its `corpus.json`.

    Args:
        source: a folder that `save_to_disk` wrote, another folder with a data set, or the ID of one on the Hub, such as
            `"owner/name"`. The tables are the entries of a `DatasetDict` or, since on the Hub these must have the same
            columns, configurations named `interactions`, `items` and `explanations`. Otherwise it is taken for a table
            of interactions, whose splits are put together, and an item's title is its ID.
        columns: what the columns of a single table are called, where they are called something else.
        name: what to call the corpus; by default its name in `corpus.json`, else the last part of `source`.
        revision: of a data set on the Hub: a branch, tag or commit.

    Raises:
        FileNotFoundError: there is no such folder, and no such data set.
        CorpusFormatError: the data set is damaged or does not have the columns.
        ValueError: `columns` names a column that the table does not have.
        ConnectionError: the Hub can't be reached.
    """
    named = check_columns(columns or {}, COLUMNS)
    try:
        tables = _load(source, revision)
        for table in tables.values():
            table.data.validate(full=True)
    except (FileNotFoundError, ConnectionError, PermissionError):
        raise
    # A damaged file meets `datasets` in the middle of its work, where anything may follow from it.
    except (DatasetsError, OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        raise CorpusFormatError(f"{source} is not a data set that can be read: {error}") from error
    if named:
        tables[_INTERACTIONS] = _renamed(source, tables[_INTERACTIONS], named)
    tables = {table: _cast(source, table, rows) for table, rows in tables.items() if table in REQUIRED_COLUMNS}
    counts: dict[str, int] = {}
    if _ITEMS not in tables:
        _check_ids(source, tables[_INTERACTIONS])
        tables[_ITEMS], counts = make_items(tables[_INTERACTIONS])
    conformed = conform(tables)
    saved_name, steps = _described(source, revision) or (str(source).rstrip("/").rpartition("/")[2], ())
    settings: dict[str, Setting] = {"revision": revision, **{f"columns {key}": value for key, value in named.items()}}
    step = Step("read datasets", settings, {**survey(conformed[_INTERACTIONS]), **counts})
    return Corpus.from_tables(saved_name if name is None else name, conformed, [*steps, step])


def find_datasets(path: Path) -> list[str]:
    """The files by which a folder is recognised; not one that `Corpus.save_to_disk` wrote."""
    if not path.is_dir() or (path / NAME_FILE).is_file():
        return []
    return [name for name in (_FOLDER_OF_ALL, _FOLDER_OF_ONE) if (path / name).is_file()]


def _load(source: str | Path, revision: str | None) -> dict[str, Dataset]:
    folder = Path(source)
    if folder.is_dir() and any((folder / name).is_file() for name in (_FOLDER_OF_ALL, _FOLDER_OF_ONE)):
        loaded = load_from_disk(str(folder))
        return dict(loaded) if isinstance(loaded, DatasetDict) and _INTERACTIONS in loaded else _single(loaded)
    cache = _cache_of(folder) if folder.is_dir() else None
    load = partial(load_dataset, str(source), revision=revision, cache_dir=cache)
    configurations = set(get_dataset_config_names(str(source), revision=revision))
    if _INTERACTIONS in configurations:
        return {table: _joined(load(table)) for table in sorted(configurations & set(REQUIRED_COLUMNS))}
    loaded = load()
    return dict(loaded) if _INTERACTIONS in loaded else _single(loaded)


def _cache_of(folder: Path) -> str:
    """Where `datasets` keeps what it makes of a local folder.

    Left to itself it names the place by the last part of the path and the card, and gives out what it once made of
    another folder that has the same of both, or of this one before it was changed.
    """
    files = [
        (str(path.relative_to(folder)), about.st_size, about.st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (about := path.stat())
    ]
    digest = settings_fingerprint(str(folder.resolve()), files)
    return str(Path(config.HF_DATASETS_CACHE) / f"peft_pod-{digest}")


def _described(source: str | Path, revision: str | None) -> tuple[str, tuple[Step, ...]] | None:
    """Name and steps of a corpus, where they are beside its tables."""
    path = Path(source) / NAME_FILE
    if not Path(source).is_dir():
        try:
            path = Path(hf_hub_download(str(source), NAME_FILE, repo_type="dataset", revision=revision))
        except LocalEntryNotFoundError as error:
            raise ConnectionError(
                f"{NAME_FILE} of {source} is not in the cache, and the Hub can't be reached"
            ) from error
        except EntryNotFoundError:
            return None
    return read_description(path) if path.is_file() else None


def _single(loaded: Dataset | DatasetDict) -> dict[str, Dataset]:
    return {_INTERACTIONS: _joined(loaded)}


def _joined(loaded: Dataset | DatasetDict) -> Dataset:
    return concatenate_datasets(list(loaded.values())) if isinstance(loaded, DatasetDict) else loaded


def _renamed(source: str | Path, table: Dataset, named: Mapping[str, str]) -> Dataset:
    missing = [in_file for in_file in named.values() if in_file not in table.column_names]
    if missing:
        raise CorpusFormatError(f"{source} has no column {missing[0]!r}; it has {table.column_names}")
    # A column that has the name of another one's new name is in the way, and nothing asks for it.
    kept = [column for column in table.column_names if column in named.values() or column not in named]
    return table.select_columns(kept).rename_columns({in_file: column for column, in_file in named.items()})


def _cast(source: str | Path, name: str, table: Dataset) -> Dataset:
    """A table with the schema's types. `datasets` would write what it casts beside the files that it was read from."""
    types = {**REQUIRED_COLUMNS[name], **OPTIONAL_COLUMNS[name]}
    kept = [column for column in types if column in table.column_names]
    features = Features({column: Value(types[column]) for column in kept})
    table = table.select_columns(kept)
    if not kept or table.features == features:
        return table
    batches = table.with_format("arrow").iter(batch_size=_BATCH)
    try:
        return as_dataset(collect(batches, features.arrow_schema))
    except pa.ArrowException as error:
        raise CorpusFormatError(f"{source}: table {name!r} cannot be cast to {types}: {error}") from error


def _check_ids(source: str | Path, table: Dataset) -> None:
    if "item_id" not in table.column_names:
        raise CorpusFormatError(
            f"{source} has no column 'item_id'; it has {table.column_names}. Name the columns with columns="
        )
