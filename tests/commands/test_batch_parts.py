from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.commands.batch_parts import MADE_FROM, MANIFEST, Parts

SCHEMA = pa.schema({"n": pa.int64()})


def table(*numbers):
    return pa.table({"n": pa.array(numbers, pa.int64())})


def begun(output, made_from):
    parts = Parts(output, made_from, SCHEMA)
    parts.begin(overwrite=False)
    return parts


def test_parts_made_from_something_else_are_never_joined(tmp_path):
    """A part of another run, put there after this one has begun."""
    parts = begun(tmp_path / "squares.parquet", {"power": 2})
    parts.write(0, table(4))
    other = begun(tmp_path / "cubes.parquet", {"power": 3})
    other.write(1, table(27))
    shutil.copy(other.folder / "00000001.parquet", parts.folder)
    with pytest.raises(ValueError, match=r"00000001\.parquet was made from something else and is removed: start again"):
        parts.join([1, 1])
    assert not parts.output.exists()
    assert parts.missing(2) == [1]
    parts.write(1, table(9))
    parts.join([1, 1])
    assert pq.read_table(parts.output)["n"].to_pylist() == [4, 9]
    assert pq.read_schema(parts.output).metadata == {MADE_FROM: b'{"power": 2}'}


@pytest.mark.parametrize("taken", ["removed", "replaced"])
def test_nothing_is_written_among_the_parts_of_others(tmp_path, taken):
    parts = begun(tmp_path / "squares.parquet", {"power": 2})
    parts.check()
    parts.remove()
    if taken == "replaced":
        begun(parts.output, {"power": 3})
    for action in (parts.check, lambda: parts.write(0, table(4))):
        with pytest.raises(ValueError, match=r"another run has removed or replaced the parts of --output .*squares"):
            action()
    assert not parts.has(0)
    assert (parts.folder / MANIFEST).exists() == (taken == "replaced")


@pytest.mark.parametrize(
    ("manifest", "left"),
    [('{"power": 2}', False), (None, False), ('{"power": 3}', True)],
    ids=["ours", "none", "other"],
)
def test_what_is_left_is_removed_where_it_is_of_the_same_or_of_nothing(tmp_path, manifest, left):
    parts = begun(tmp_path / "squares.parquet", {"power": 2})
    parts.write(0, table(4))
    if manifest is None:
        (parts.folder / MANIFEST).unlink()
    else:
        (parts.folder / MANIFEST).write_text(manifest, encoding="utf-8")
    parts.remove_what_is_left()
    assert parts.folder.exists() == parts.has(0) == left
    parts.remove()
    parts.remove_what_is_left()  # of what is not there
