"""The batch verb over a long file with answers that cost nothing: the most memory that it took; run as a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peft_pod.commands.batch_recommend import BatchSettings, recommend_batch
from peft_pod.generation import Recommendation, Recommender, UserRecommendations


def write_rows(path: Path, rows: int, history: int, known: str, rows_per_group: int) -> None:
    """Users and histories that do not compress: the items are random digits but for the first of each row."""
    schema = pa.schema({"user": pa.string(), "history": pa.list_(pa.string())})
    rng = np.random.default_rng(7)

    def digits(count: int) -> pa.Array:
        halves = [pc.cast(pa.array(rng.integers(10**17, 10**18, count)), pa.string()) for _ in range(2)]
        return pc.binary_join_element_wise(*halves, "")

    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, rows_per_group):
            count = min(rows_per_group, rows - start)
            items = pc.if_else(pa.array(np.arange(count * history) % history == 0), known, digits(count * history))
            lists = pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * history, pa.int32()), items)
            writer.write_table(pa.table([digits(count), lists], schema=schema), row_group_size=count)


def peak_mib() -> float:
    """The most memory that this process has held.

    Not `ru_maxrss`, which begins with what the process that started this one held.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(model: Path, *files: Path) -> None:
    """Recommend the same ten items to every row of one file after the other.

    Args:
        model: folder of the model.
        *files: each input, followed by its output.
    """
    items = [Recommendation(f"item {rank}", f"The title of item {rank}", -0.5 * rank) for rank in range(10)]

    def answer(self: Recommender, rows: Iterator[dict[str, Any]], *rest: Any, **named: Any) -> Any:
        return (UserRecommendations(row["user"], items, tuple(row["history"][1:])) for row in rows)

    Recommender.recommend_each = answer
    for input, output in zip(files[::2], files[1::2], strict=True):
        settings = BatchSettings(
            model, input, output, rows_per_part=1024, unknown_users="history", unknown_items="skip"
        )
        recommend_batch(settings)
        print(peak_mib())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
