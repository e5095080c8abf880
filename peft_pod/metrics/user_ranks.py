"""Where each user's right item was ranked: kept beside a report, so that two runs can be compared user by user."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from peft_pod.corpus.split import IntArray
from peft_pod.files import replacing

SCHEMA = pa.schema(
    [
        ("task", pa.dictionary(pa.int32(), pa.string())),
        ("system", pa.dictionary(pa.int32(), pa.string())),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
    ]
)
"""Columns of the file: a row for each task, system (the model or a baseline) and user."""


@dataclass(frozen=True, eq=False)
class UserRanks:
    """The rank of each user's right item.

    Attributes:
        user_ids: the corpus' IDs of the users.
        ranks: from 1; 0 where the item is not among those that were recommended; shape `(num_users,)`.

    Raises:
        ValueError: there is not one rank for each user, or a user stands there twice.

    Example:
        >>> UserRanks(["ann", "bob"], np.array([3, 0])).ranks.tolist()
        [3, 0]
    """

    user_ids: Sequence[str]
    ranks: IntArray

    def __post_init__(self) -> None:
        if self.ranks.shape != (len(self.user_ids),):
            raise ValueError(
                f"ranks has the shape {self.ranks.shape} for {len(self.user_ids)} users; give one for each"
            )
        if len(set(self.user_ids)) != len(self.user_ids):
            raise ValueError("a user stands more than once in user_ids; each user has one rank")


def save_ranks(path: str | os.PathLike[str], ranks: Mapping[tuple[str, str], UserRanks]) -> None:
    """Write ranks to a Parquet file.

    Args:
        path: of the file; it is replaced only when the new one is complete.
        ranks: by task and system.

    Example:
        >>> import tempfile
        >>> path = f"{tempfile.mkdtemp()}/ranks.parquet"
        >>> save_ranks(path, {("sequential", "model"): UserRanks(["ann"], np.array([2]))})
        >>> load_ranks(path)["sequential", "model"].ranks.tolist()
        [2]
    """
    tables = [
        pa.table(
            {
                "task": _repeated(task, len(entry.ranks)),
                "system": _repeated(system, len(entry.ranks)),
                "user_id": pa.array(list(entry.user_ids), pa.string()),
                "rank": pa.array(entry.ranks, pa.int32()),
            },
            schema=SCHEMA,
        )
        for (task, system), entry in ranks.items()
    ]
    table = pa.concat_tables(tables).unify_dictionaries() if tables else SCHEMA.empty_table()
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def load_ranks(path: str | os.PathLike[str]) -> dict[tuple[str, str], UserRanks]:
    """Read what `save_ranks` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a file of ranks; the message has its name.
    """
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)} is not a file of ranks: {error}") from error
    if table.column_names != SCHEMA.names:
        raise ValueError(f"{os.fspath(path)} must have the columns {SCHEMA.names}; it has {table.column_names}")
    tasks, systems = table["task"].combine_chunks(), table["system"].combine_chunks()
    ids, ranks = table["user_id"], table["rank"].to_numpy().astype(np.int64)
    # The rows of one task and system stand together.
    starts = np.flatnonzero(_changes(tasks) | _changes(systems)).tolist()
    return {
        (tasks[start].as_py(), systems[start].as_py()): UserRanks(
            ids.slice(start, stop - start).to_pylist(), ranks[start:stop]
        )
        for start, stop in zip(starts, [*starts, len(ranks)][1:], strict=True)
    }


def _changes(words: pa.Array) -> npt.NDArray[np.bool_]:
    """Where a column has another word than in the row before; the first row counts as such."""
    codes = words.cast(pa.string()).dictionary_encode().indices.to_numpy()
    return np.diff(codes, prepend=-1) != 0


def _repeated(word: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, dtype=np.int32)), pa.array([word], pa.string()))
