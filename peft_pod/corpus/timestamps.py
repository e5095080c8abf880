"""What timestamps are: times that can be compared, or places; and what becomes of those that cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from .rows import kept_rows
from .schema import MAX_TIMESTAMP, CorpusFormatError, arrow_column
from .steps import Step

BadTimestamps = Literal["error", "drop"]
PLACES = "places"
"""What a reader writes as the setting `timestamps` of its step where these are places in each user's own history."""


def only_places(steps: Iterable[Step]) -> bool:
    """Whether timestamps are places in each user's own history, which can't be compared between users.

    Example:
        >>> only_places([Step("read pod", {"timestamps": PLACES}), Step("k-core")])
        True
    """
    return any(step.settings.get("timestamps") == PLACES for step in steps)


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
