"""Interactions whose time is missing or cannot be: dropped and counted, where that is asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from .rows import kept_rows
from .schema import MAX_TIMESTAMP, CorpusFormatError, arrow_column
from .steps import Step

BadTimestamps = Literal["error", "drop"]


def drop_bad_timestamps(interactions: Dataset) -> tuple[Dataset, Step]:
    """Drop interactions whose timestamp is missing, negative or beyond the year 2100.

    Args:
        interactions: the table of that name; other columns are not looked at.

    Returns:
        The other interactions, and a step that counts what was dropped.

    Raises:
        CorpusFormatError: there is no such column, or it does not hold whole numbers.

    Example:
        >>> table = Dataset.from_dict({"timestamp": [5, None, -1, 1_700_000_000_000]})
        >>> kept, step = drop_bad_timestamps(table)
        >>> kept["timestamp"][:], list(step.counts.values())
        ([5], [1, 1, 1])
    """
    if "timestamp" not in interactions.column_names:
        raise CorpusFormatError(
            f"table 'interactions' lacks the column 'timestamp'; it has {interactions.column_names}"
        )
    column = arrow_column(interactions, "timestamp")
    try:
        times = column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise CorpusFormatError(
            f"column 'timestamp' of table 'interactions' cannot be cast to int64: {error}"
        ) from error
    wrong = {
        "without a timestamp": pc.is_null(times),
        "with a negative timestamp": pc.fill_null(pc.less(times, 0), False),
        "with a timestamp beyond the year 2100": pc.fill_null(pc.greater(times, MAX_TIMESTAMP), False),
    }
    keep = np.ones(len(interactions), dtype=bool)
    for rows in wrong.values():
        keep &= ~rows.to_numpy()
    counts = {f"interactions {what} dropped": int(pc.sum(rows).as_py() or 0) for what, rows in wrong.items()}
    return kept_rows(interactions, keep), Step("check timestamps", {"bad_timestamps": "drop"}, counts)
