"""The batch verb, killed right before each of its file operations in turn and started again."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.commands.batch_parts import JOINED, MANIFEST
from peft_pod.generation import Recommender

from ..training.killed_run import in_child, kill_at_file_operation
from .runs import Done, call

KILLED = -signal.SIGKILL
# Arrow opens and writes files without Python's knowing; killed before these, it leaves them open, or without an end.
WRITES = [(pq.ParquetWriter, "__init__"), (pq.ParquetWriter, "write_table"), (pq.ParquetWriter, "close")]
PART_ROWS = 4


@pytest.fixture(scope="module")
def users(run, tmp_path_factory):
    ids = list(Recommender.from_pretrained(run[0] / "model").catalogue.user_ids[:11])
    file = tmp_path_factory.mktemp("users") / "users.parquet"
    pq.write_table(pa.table({"user": ids}), file)
    return file


@pytest.fixture(scope="module")
def expected(run, users):
    """What a run ends with that nobody disturbs."""
    output = users.with_name("expected.parquet")
    assert start(run, users, output).status == 0
    return output


def start(run, users: Path, output: Path, *more: object) -> Done:
    arguments = ["--run", run[0], "--input", users, "--output", output, "--k", 5, "--rows_per_part", PART_ROWS]
    return call("recommend", *arguments, *more)


def start_and_kill(number: int, run, users: Path, output: Path, *more: object) -> int:
    """How a run of its own process ended that is killed before its n-th file operation."""

    def killed():
        kill_at_file_operation(number, output.parent, WRITES)
        os._exit(start(run, users, output, *more).status)

    status = in_child(killed)
    assert status in (0, KILLED)
    return status


def parts_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.parts")


def saved_parts(output: Path, expected: Path) -> set[str]:
    """The parts that are there, once each has proved to be whole."""
    whole = pq.read_table(expected).replace_schema_metadata(None)
    names = set()
    for path in parts_of(output).glob("[0-9]*.parquet"):
        rows = whole.slice(int(path.stem) * PART_ROWS, PART_ROWS)
        assert pq.read_table(path, partitioning=None).replace_schema_metadata(None).equals(rows)
        names.add(path.name)
    return names


# Every operation takes half a minute in all.
every = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])


@every
def test_killed_once(run, users, expected, tmp_path, step):
    """In a folder of its own each time: no finished part is lost, and the output is there whole or not at all."""
    number, before, kills = 1, set(), 0
    while True:
        output = tmp_path / str(number) / "recs.parquet"
        output.parent.mkdir()
        status = start_and_kill(number, run, users, output)
        if output.exists():
            assert output.read_bytes() == expected.read_bytes()
        else:
            saved = saved_parts(output, expected)
            assert saved >= before
            before = saved
        done = start(run, users, output)
        assert done.status == 0, done.err
        assert output.read_bytes() == expected.read_bytes()
        assert os.listdir(output.parent) == ["recs.parquet"]
        if status == 0:
            break
        kills += 1
        number += step
    assert len(before) == 3
    assert kills * step > 30


@every
def test_killed_again_and_again(run, users, expected, tmp_path, step):
    """In one folder, each time a little later, until it comes to its end."""
    output, number, before = tmp_path / "recs.parquet", 1, set()
    while start_and_kill(number, run, users, output) == KILLED:
        if not output.exists():
            saved = saved_parts(output, expected)
            assert saved >= before
            before = saved
        number += step
    assert output.read_bytes() == expected.read_bytes()
    assert os.listdir(tmp_path) == ["recs.parquet"]


@every
def test_killed_while_it_replaces(run, users, expected, tmp_path, step):
    """An output and parts made from something else: the output stays until the new one takes its place."""
    older = tmp_path / "older" / "recs.parquet"
    older.parent.mkdir()
    assert start(run, users, older, "--keep_seen").status == 0
    old = older.read_bytes()
    assert old != expected.read_bytes()
    # Parts of a third kind, the last of them half written.
    other = tmp_path / "other.parquet"
    assert start_and_kill(20, run, users, other, "--titles") == KILLED
    assert len(list(parts_of(other).iterdir())) == 3
    parts_of(other).rename(parts_of(older))
    number, status = 1, KILLED
    while status == KILLED:
        folder = tmp_path / str(number)
        shutil.copytree(older.parent, folder)
        output = folder / "recs.parquet"
        status = start_and_kill(number, run, users, output, "--overwrite")
        assert output.read_bytes() in (old, expected.read_bytes())
        done = start(run, users, output, "--overwrite")
        assert done.status == 0, done.err
        assert output.read_bytes() == expected.read_bytes()
        assert os.listdir(folder) == ["recs.parquet"]
        number += step


def test_half_a_file_is_never_taken_for_a_whole_one(run, users, expected, tmp_path):
    """Killed while a part or the output is being written, with half of its bytes on the disk."""
    for place, name in enumerate((".00000001.", JOINED)):
        output = tmp_path / str(place) / "recs.parquet"
        output.parent.mkdir()
        close = pq.ParquetWriter.close

        def killed(name=name, output=output, close=close):
            def half(self):
                close(self)
                for path in parts_of(output).glob(f"{name}*"):
                    os.truncate(path, path.stat().st_size // 2)
                    os.kill(os.getpid(), signal.SIGKILL)

            pq.ParquetWriter.close = half
            start(run, users, output)

        assert in_child(killed) == KILLED
        left = {path.name for path in parts_of(output).iterdir()}
        assert MANIFEST in left
        assert any(one.startswith(name) for one in left)
        assert saved_parts(output, expected) == {f"{part:08}.parquet" for part in range((1, 3)[place])}
        assert not output.exists()
        done = start(run, users, output)
        assert done.status == 0, done.err
        assert output.read_bytes() == expected.read_bytes()
        assert os.listdir(output.parent) == ["recs.parquet"]
