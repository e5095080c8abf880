"""The folders of the P5, POD and RDRec papers: `sequential.txt`, `datamaps.json` and what may be beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ..corpus import Corpus
from ..lines import find_file, read_lines
from ..ragged import Ragged
from ..schema import arrow_column
from ..spool import as_dataset
from ..steps import Step
from ..timestamps import PLACES
from .interactions import survey
from .items import make_items
from .pod_explanations import FILES as EXPLANATION_FILES
from .pod_explanations import read_pod_explanations
from .pod_maps import PodMaps, read_lists, read_pod_maps

_SEQUENTIAL = ("sequential.txt", "sequential_data.txt")
_NEGATIVE = ("negative.txt", "negative_samples.txt")
"""POD's name goes before P5's."""


def read_pod_folder(data_dir: Path, *, name: str | None = None) -> Corpus:
    """Read a folder of the P5, POD or RDRec papers.

    Users and items have their original IDs (of reviewer and product), which `datamaps.json` gives for the indices of
    `sequential.txt`. The indices are dropped: they were handed out in the order in which items appear in users'
    histories, held-out items included, so that a model could read the answer off them. The catalogue is ordered by
    original ID, which knows nothing of the histories. Users keep the order of the lines: that order tells nothing
    about items once the items' own order does not follow it.

    Only the order of a user's items is known, not the time: `timestamp` is the position in the line, from 0. There
    are no titles in the folder: an item's title is its original ID. An item that stands in a line more than once was
    taken more than once. Where a file is there plain and compressed, the plain one is read.

    `explanation.json` gives the explanations, where it is there. `negative.txt` has no place in the tables: it is
    checked and counted, and `read_pod_negatives` gives what is in it.

    Args:
        data_dir: the folder. `sequential_data.txt` and `negative_samples.txt`, as P5 calls them, do too.
        name: what to call the corpus, the folder's name by default.

    Raises:
        FileNotFoundError: `sequential.txt` or `datamaps.json` is missing.
        CorpusFormatError: a file is damaged; the message has its name and the line's number.
        ValueError: `name` is empty.
    """
    if name is None:
        name = data_dir.resolve().name
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be what to call the corpus, got {name!r}")
    sequential = _find(data_dir, _SEQUENTIAL) or find_file(data_dir, _SEQUENTIAL[0], or_gzip=True)
    maps = read_pod_maps(data_dir)
    users, items, lengths = read_lists(sequential, read_lines(sequential), maps)
    interactions = as_dataset(
        pa.table(
            {
                "user_id": pa.array(users, pa.string()).take(pa.array(np.repeat(np.arange(len(users)), lengths))),
                "item_id": items,
                "timestamp": Ragged.from_lengths(np.zeros(len(items), np.int64), lengths).places,
            }
        )
    )
    ids = pa.array(sorted(maps.item_of.values()), pa.string())
    catalogue, item_counts = make_items(interactions, pa.table({"item_id": ids, "title": ids}))
    tables = {"interactions": interactions, "items": catalogue}
    # An order and no times: there can be no ties.
    counts = {rule: count for rule, count in survey(interactions).items() if "same time" not in rule}
    files = [sequential]
    explanations = _find(data_dir, EXPLANATION_FILES)
    if explanations is not None:
        sentences, sentence_counts = read_pod_explanations(explanations, maps)
        tables["explanations"] = as_dataset(sentences)
        counts.update(sentence_counts)
        counts["sentences of a user about an item that they did not take"] = _not_taken(sentences, interactions)
        files.append(explanations)
    negative = _find(data_dir, _NEGATIVE)
    if negative is not None:
        counts.update(_count_negatives(negative, maps, interactions))
        files.append(negative)
    settings = {"files": ", ".join(file.name for file in files), "timestamps": PLACES}
    return Corpus.from_tables(name, tables, [Step("read pod", settings, {**counts, **item_counts})])


def read_pod_negatives(data_dir: Path | str) -> dict[str, list[str]]:
    """The wrong candidates of each user in `negative.txt`, by original IDs.

    Args:
        data_dir: the folder.

    Raises:
        FileNotFoundError: `negative.txt` or `datamaps.json` is missing.
        CorpusFormatError: one of them is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> maps = {"id2user": {"1": "ANN"}, "id2item": {"1": "B7", "2": "B9"}}
        >>> _ = (folder / "datamaps.json").write_text(json.dumps(maps))
        >>> _ = (folder / "negative.txt").write_text("1 2 1\\n")
        >>> read_pod_negatives(folder)
        {'ANN': ['B9', 'B7']}
    """
    data_dir = Path(data_dir)
    path = _find(data_dir, _NEGATIVE) or find_file(data_dir, _NEGATIVE[0], or_gzip=True)
    users, items, lengths = read_lists(path, read_lines(path), read_pod_maps(data_dir))
    ends = np.cumsum(lengths)
    flat = items.to_pylist()
    return {
        user: flat[end - length : end] for user, end, length in zip(users, ends.tolist(), lengths.tolist(), strict=True)
    }


def find_pod_folder(path: Path) -> list[str]:
    """The files by which a folder is recognised."""
    if not path.is_dir():
        return []
    found = [_find(path, _SEQUENTIAL), _find(path, ("datamaps.json",))]
    return [file.name for file in found if file is not None] if all(found) else []


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    candidates = (folder / candidate for name in names for candidate in (name, f"{name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _count_negatives(path: Path, maps: PodMaps, interactions: Dataset) -> dict[str, int]:
    users, items, lengths = read_lists(path, read_lines(path), maps)
    named = pa.table({"user_id": np.repeat(np.array(users, dtype=object), lengths), "item_id": items})
    return {
        "users with negatives": len(users),
        "negatives": len(items),
        "negatives that their user took": len(items) - _not_taken(named, interactions),
    }


def _not_taken(named: pa.Table, interactions: Dataset) -> int:
    """How many rows name a user and an item that the user did not take."""
    taken = pa.table({name: arrow_column(interactions, name) for name in ("user_id", "item_id")})
    keys = ["user_id", "item_id"]
    return named.select(keys).join(taken.group_by(keys).aggregate([]), keys, join_type="left anti").num_rows
