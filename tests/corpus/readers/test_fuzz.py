"""Damaged files: a reader gives a corpus that conforms, or says what is wrong. It does nothing else."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Corpus, load_corpus
from peft_pod.corpus.schema import arrow_column, conform
from tests.corpora import real_data

from .formats import WRITERS

Files = dict[str, bytes]
"""The content of a folder; of compressed files unpacked."""
ALLOWED = (ValueError, FileNotFoundError)
"""`CorpusFormatError` is a ValueError; a `UnicodeError`, which is one too, would come from where nobody looked."""


@cache
def written(kind: str) -> Files:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[kind][1](folder)
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): unpacked(path) for path in paths}


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lines(path: Path, number: int) -> bytes:
    return b"".join(unpacked(path).splitlines(keepends=True)[:number])


def musical_instruments() -> tuple[str, Files]:
    name = "reviews_Musical_Instruments_5.part.json.gz"
    return "amazon-2014", {name: lines(real_data("amazon-2014-raw") / name, 25)}


def all_beauty() -> tuple[str, Files]:
    name = "All_Beauty_5.json.gz"
    return "amazon-2018", {name: lines(real_data("amazon-2018-raw") / name, 25)}


def fashion() -> tuple[str, Files]:
    name = "AMAZON_FASHION_5.json.gz"
    return "amazon-2018", {name: lines(real_data("amazon-2018-raw") / name, 25)}


def movielens_100k() -> tuple[str, Files]:
    folder = real_data("movielens-100k")
    data, items = lines(folder / "u.data", 30), unpacked(folder / "u.item").splitlines(keepends=True)
    rated = {line.split(b"\t")[1] for line in data.splitlines()}
    kept = b"".join(line for line in items if line.split(b"|")[0] in rated)
    return "movielens-100k", {"u.data": data, "u.item": kept, "u.genre": unpacked(folder / "u.genre")}


def beauty() -> tuple[str, Files]:
    return pod_slice("amazon-2014/beauty")


def sports() -> tuple[str, Files]:
    return pod_slice("amazon-2014/sports")


def pod_slice(name: str) -> tuple[str, Files]:
    folder = real_data(name)
    sequential = lines(folder / "sequential.txt.gz", 20)
    maps = json.loads(unpacked(folder / "datamaps.json.gz"))
    users, items = {line.split()[0] for line in sequential.decode().splitlines()}, set(sequential.decode().split())
    small = {
        "id2user": {index: user for index, user in maps["id2user"].items() if index in users},
        "id2item": {index: item for index, item in maps["id2item"].items() if index in items},
    }
    return name, {"sequential.txt": sequential, "datamaps.json": json.dumps(small).encode()}


@st.composite
def damaged(draw: st.DrawFn, files: Files) -> Files:
    """The files with one to three faults in one of them; as they are on disk, that is packed where they are."""
    chosen = draw(st.sampled_from(sorted(files)))
    data = files[chosen]
    for _ in range(draw(st.integers(1, 3))):
        data = draw(faulty(data))
    result = {
        name: gzip.compress(content, mtime=0) if name.endswith(".gz") else content for name, content in files.items()
    }
    result[chosen] = data
    if chosen.endswith(".gz"):
        result[chosen] = gzip.compress(data, mtime=0)
        if draw(st.booleans()):
            result[chosen] = draw(faulty(result[chosen]))
    return result


@st.composite
def faulty(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    kind = draw(st.sampled_from(["cut", "byte", "insert", "drop line", "repeat line", "swap fields", "replace"]))
    if kind == "cut":
        return data[:place]
    if kind == "byte":
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if kind == "insert":
        return (
            data[:place]
            + draw(st.sampled_from([b"\n", b"\r", b'"', b"\x00", b"\xff", b"\t", b",", b"{", b"::", b" "]))
            + data[place:]
        )
    if kind == "replace":
        old = draw(st.sampled_from([b"1", b"5", b'"', b"B", b".", b"U", b"true", b"null"]))
        new = draw(
            st.sampled_from([b"", b"-1", b"9" * 20, b"null", b"1e400", b"NaN", b"[]", b"{}", b"&#xd800;", b"\\ud83d"])
        )
        return data.replace(old, new, draw(st.sampled_from([1, 1000])))
    rows = data.splitlines(keepends=True) or [b""]
    row = draw(st.integers(0, len(rows) - 1))
    if kind == "drop line":
        return b"".join(rows[:row] + rows[row + 1 :])
    if kind == "repeat line":
        return b"".join(rows[: row + 1] + rows[row:])
    separator = draw(st.sampled_from([b"\t", b",", b"|", b" ", b"::"]))
    fields = rows[row].split(separator)
    first, second = draw(st.integers(0, len(fields) - 1)), draw(st.integers(0, len(fields) - 1))
    fields[first], fields[second] = fields[second], fields[first]
    return b"".join([*rows[:row], separator.join(fields), *rows[row + 1 :]])


def check(name: str, files: Files) -> Corpus | None:
    """Load the files; what comes out conforms, and nothing is left in the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        before = sorted(folder.rglob("*"))
        corpus, error = None, None
        try:
            corpus = load_corpus(name, folder)
        except ALLOWED as raised:
            error = raised
        assert corpus is not None or str(error)
        assert not isinstance(error, UnicodeError)
        assert sorted(folder.rglob("*")) == before
        if corpus is not None:
            conform(corpus.tables)
            items = arrow_column(corpus.items, "item_id")
            assert pc.all(
                pc.is_in(arrow_column(corpus.interactions, "item_id"), value_set=items.combine_chunks())
            ).as_py()
            assert len(items.unique()) == len(items)
            for table in corpus.tables.values():
                table[:]  # every text is UTF-8
            assert corpus.fingerprint
        return corpus


REAL: list[Callable[[], tuple[str, Files]]] = [
    musical_instruments, all_beauty, fashion, movielens_100k, beauty, sports,
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_damaged_files_of_each_format(kind: str):
    name, files = WRITERS[kind][0], written(kind)
    packed = {file: gzip.compress(content) if file.endswith(".gz") else content for file, content in files.items()}
    assert check(name, packed) is not None

    # `datasets` reads its own folders, and takes a second for a handful.
    @settings(max_examples=12 if name == "datasets" else 60, deadline=None, database=None)
    @given(damaged(files))
    def run(mutated: Files) -> None:
        check(name, mutated)

    run()


@pytest.mark.parametrize("make", REAL, ids=lambda make: make.__name__)
def test_damaged_real_files(make: Callable[[], tuple[str, Files]]):
    name, files = make()
    packed = {file: gzip.compress(content) if file.endswith(".gz") else content for file, content in files.items()}
    assert check(name, packed) is not None

    @settings(max_examples=60, deadline=None, database=None)
    @given(damaged(files))
    def run(mutated: Files) -> None:
        check(name, mutated)

    run()
