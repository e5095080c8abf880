from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.commands.batch_input import read_chunks


@pytest.mark.parametrize("late", ["12.5", "unknown", "", '"a ""b"", c"'])
def test_a_csv_column_that_is_not_read_may_hold_anything(tmp_path, late):
    """The first block of it holds numbers, a later one does not."""
    count, file = 200_000, tmp_path / "users.csv"
    lines = ["user,age", *(f"user{number},{number}" for number in range(count)), f"007,{late}"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    chunks = list(read_chunks(file, 150_000))
    assert [len(chunk.table) for chunk in chunks] == [150_000, count + 1 - 150_000]
    assert chunks[0].users[:2] == ["user0", "user1"]
    assert chunks[1].users[-2:] == [f"user{count - 1}", "007"]


def test_a_name_that_stands_twice(tmp_path):
    csv, parquet = tmp_path / "users.csv", tmp_path / "users.parquet"
    csv.write_text("user,age,user\na,7,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"users\.csv has 2 columns 'user': keep one, or rename one"):
        next(read_chunks(csv, 4))
    lists = pa.array([["a"]])
    pq.write_table(pa.table([lists, pa.array(["a"]), lists, lists], ["history", "user", "history", "other"]), parquet)
    with pytest.raises(ValueError, match=r"users\.parquet has 2 columns 'history': keep one, or rename one"):
        next(read_chunks(parquet, 4))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_other_names_may_stand_twice(tmp_path, ending):
    file = tmp_path / f"users.{ending}"
    if ending == "csv":
        file.write_text("x,user,x\n1,ann,2\n", encoding="utf-8")
    else:
        pq.write_table(pa.table([pa.array([1]), pa.array(["ann"]), pa.array([2])], ["x", "user", "x"]), file)
    assert [chunk.users for chunk in read_chunks(file, 4)] == [["ann"]]


def test_csv_has_no_histories(tmp_path):
    (tmp_path / "users.csv").write_text("user,history\nann,book\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has a column 'history', but CSV has no lists: use .parquet or .jsonl"):
        next(read_chunks(tmp_path / "users.csv", 4))
