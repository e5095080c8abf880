from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from peft_pod.corpus import rows
from peft_pod.corpus.rows import kept_rows


def table(size: int) -> Dataset:
    return Dataset.from_dict(
        {"n": list(range(size)), "text": [None if number % 7 == 0 else f"é{number}" for number in range(size)]}
    )


@pytest.mark.parametrize("in_memory", [0, 2**30])
@pytest.mark.parametrize("batch", [3, 100])
@pytest.mark.parametrize("place", ["memory", "disk", "shuffled"])
def test_equals_choosing_row_by_row(tmp_path, monkeypatch, in_memory: int, batch: int, place: str):
    """In memory and through a file, from a table in memory, one on disk, and one that is a view of another."""
    monkeypatch.setattr(rows, "IN_MEMORY", in_memory)
    monkeypatch.setattr(rows, "_BATCH", batch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = table(50)
    if place == "disk":
        source.save_to_disk(str(tmp_path / "saved"))
        source = Dataset.load_from_disk(str(tmp_path / "saved"))
    elif place == "shuffled":
        source = source.select(list(range(49, -1, -1)))
    keep = np.random.default_rng(0).random(50) < 0.4
    kept = kept_rows(source, keep)
    expected = [row for row, stays in zip(source, keep, strict=True) if stays]
    assert list(kept) == expected
    assert kept.features == source.features
    assert [path.name for path in Path(tmp_path).iterdir() if path.suffix == ".arrow"] == [], "no file is left behind"
    again = kept_rows(kept, np.arange(len(kept)) > 0)
    assert list(again) == expected[1:]


def test_all_rows_are_the_table_itself_and_none_are_none():
    source = table(5)
    assert kept_rows(source, np.ones(5, dtype=bool)) is source
    assert len(kept_rows(source, np.zeros(5, dtype=bool))) == 0


def test_a_value_for_each_row():
    with pytest.raises(ValueError, match="keep has 4 values for 5 rows"):
        kept_rows(table(5), np.ones(4, dtype=bool))


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing(source: Dataset, keep: np.ndarray):
        raise OSError("no space left on device")
        yield

    monkeypatch.setattr(rows, "_kept_batches", failing)
    with pytest.raises(OSError, match="no space"):
        kept_rows(table(5), np.arange(5) > 1)
    assert list(tmp_path.iterdir()) == []
