"""Memory and work of the batch verb must not grow with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.commands.batch_input import read_chunks
from peft_pod.commands.batch_progress import Progress
from peft_pod.generation import Recommender

from ..training.launching import ROOT, environment
from .batch_memory import write_rows

MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which is Linux's")
@pytest.mark.parametrize(
    ("few", "many", "history", "rows_per_group", "least"),
    [
        pytest.param(3_000, 40_000, 60, 40_000, 65, marks=pytest.mark.slow),
        pytest.param(100_000, 1_000_000, 8, 50_000, 220, marks=pytest.mark.slow),
        pytest.param(100_000, 1_000_000, 8, 1_000_000, 220, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_file(run, tmp_path, few, many, history, rows_per_group, least):
    known = Recommender.from_pretrained(run[0] / "model").catalogue.item_ids[0]
    for rows in (few, many):
        write_rows(tmp_path / f"{rows}.parquet", rows, history, known, rows_per_group)
    assert (tmp_path / f"{many}.parquet").stat().st_size > least * MIB
    files = [tmp_path / f"{rows}{ending}.parquet" for rows in (few, many) for ending in ("", "_out")]
    command = map(str, [sys.executable, "-m", "tests.commands.batch_memory", run[0] / "model", *files])
    done = subprocess.run([*command], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for rows, output in zip((few, many), files[1::2], strict=True):
        assert pq.ParquetFile(output).metadata.num_rows == rows
        assert f"{rows * (history - 1):,} unknown items in the histories of {rows:,} rows were skipped" in done.stderr
    peaks = [float(line) for line in done.stdout.split()]
    assert peaks[1] - peaks[0] < 40, peaks


@pytest.mark.parametrize("rows_per_group", [1_000, 40_000])
def test_what_was_read_is_given_back(tmp_path, rows_per_group):
    """Whether the file is one row group or many."""
    write_rows(tmp_path / "users.parquet", 40_000, 60, "known", rows_per_group)
    assert (tmp_path / "users.parquet").stat().st_size > 65 * MIB
    before, rows = pa.total_allocated_bytes(), 0
    for chunk in read_chunks(tmp_path / "users.parquet", 500):
        rows += len(chunk.table)
        assert pa.total_allocated_bytes() - before < 10 * MIB
    assert rows == 40_000


def test_a_look_at_the_progress_takes_no_longer_where_there_are_more_parts():
    made, looks = set(), []

    def is_made(number):
        looks.append(number)
        return number in made

    numbers = list(range(3, 9_003))
    progress = Progress(is_made, [numbers[::2], numbers[1::2]], [10] * 9_002 + [4], shown=False)
    for count, number in enumerate(numbers, 1):
        made.add(number)
        looks.clear()
        assert progress.rows_left() == max(10 * (9_000 - count) - 6, 0)
        assert len(looks) <= 3
