from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import spool
from peft_pod.corpus.spool import as_dataset, collect, rows_in_order

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


def pieces(*sizes: int) -> Iterator[pa.Table]:
    start = 0
    for size in sizes:
        numbers = range(start, start + size)
        start += size
        yield pa.table({"s": [f"text {number}" for number in numbers], "n": list(numbers)})


@pytest.mark.parametrize("in_memory", [0, 200, 10**9])
@pytest.mark.parametrize("sizes", [(), (0,), (5,), (3, 0, 4, 50)])
def test_pieces_become_one_table(in_memory: int, sizes: tuple[int, ...]):
    table = collect(pieces(*sizes), SCHEMA, in_memory)
    assert table.schema == SCHEMA
    assert table["n"].to_pylist() == list(range(sum(sizes)))
    assert table["s"].to_pylist() == [f"text {number}" for number in range(sum(sizes))]


def test_a_large_table_is_not_in_arrow_s_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = pa.total_allocated_bytes()
    table = collect(pieces(*[20_000] * 10), SCHEMA, 2**16)
    assert table.num_rows == 200_000
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing() -> Iterator[pa.Table]:
        yield from pieces(1000)
        assert len(list(tmp_path.iterdir())) == 1
        raise ValueError("line 1001")

    with pytest.raises(ValueError, match="line 1001"):
        collect(failing(), SCHEMA, 0)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_rows_in_any_order(data: st.DataObject):
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=6))
    table = pa.concat_tables(
        [SCHEMA.empty_table(), *(piece.select(SCHEMA.names).cast(SCHEMA) for piece in pieces(*sizes))]
    )
    # A list cannot be drawn from nothing.
    rows = st.lists(st.integers(0, max(table.num_rows - 1, 0)), max_size=30 if table.num_rows else 0)
    order = np.array(data.draw(rows), dtype=np.int64)
    original, spool._SLICE = spool._SLICE, data.draw(st.integers(1, 8))
    try:
        found = rows_in_order(table, order, data.draw(st.sampled_from([0, 10**6])))
    finally:
        spool._SLICE = original
    assert found.to_pylist() == [table.to_pylist()[row] for row in order]


def test_large_tables_are_not_copied_for_their_name(monkeypatch: pytest.MonkeyPatch):
    table = pa.table({"n": list(range(1000))})
    assert as_dataset(table)._fingerprint == as_dataset(table)._fingerprint
    monkeypatch.setattr(spool, "IN_MEMORY", 1000)
    assert as_dataset(table)._fingerprint != as_dataset(table)._fingerprint
    assert as_dataset(table)[:] == {"n": list(range(1000))}
