from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.metrics import UserRanks
from peft_pod.metrics.user_ranks import load_ranks, save_ranks

entries = st.dictionaries(st.text(max_size=4), st.integers(0, 2**31 - 1), min_size=1, max_size=5)
keys = st.tuples(st.sampled_from(["sequential", "topn"]), st.sampled_from(["model", "random", "popularity"]))


@given(st.dictionaries(keys, entries, max_size=4))
@settings(deadline=None, max_examples=50)
def test_a_file_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, by_key: dict) -> None:
    path = tmp_path_factory.mktemp("ranks") / "ranks.parquet"
    save_ranks(path, {key: UserRanks(list(rows), np.array(list(rows.values()))) for key, rows in by_key.items()})
    found = load_ranks(path)
    assert list(found) == list(by_key)
    for key, rows in by_key.items():
        assert dict(zip(found[key].user_ids, found[key].ranks.tolist(), strict=True)) == rows
    assert [file.name for file in path.parent.iterdir()] == ["ranks.parquet"]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ranks.parquet"
    path.write_text("user rank\nann 1\n")
    with pytest.raises(ValueError, match=r"ranks\.parquet is not a file of ranks"):
        load_ranks(path)
    pq.write_table(pa.table({"user_id": ["ann"], "rank": [1]}), path)
    with pytest.raises(ValueError, match=r"must have the columns \['task', .*; it has \['user_id', 'rank'\]"):
        load_ranks(path)
    with pytest.raises(FileNotFoundError):
        load_ranks(tmp_path / "nothing.parquet")


def test_bad_ranks() -> None:
    with pytest.raises(ValueError, match=r"ranks has the shape \(2,\) for 1 users"):
        UserRanks(["ann"], np.array([1, 2]))
    with pytest.raises(ValueError, match="more than once"):
        UserRanks(["ann", "ann"], np.array([1, 2]))
