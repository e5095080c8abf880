from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from peft_pod.corpus import Corpus, CorpusFormatError, load_corpus

RATINGS = [("1", "2", 5.0, 97), ("1", "3", 3.5, 98), ("10", "2", 4.0, 50), ("2", "2", 0.5, 51)]
MOVIES = [
    ("2", "Zoo (1990)", "Comedy|Drama"),
    ("3", 'Amélie, "x" (2001)', "(no genres listed)"),
    ("4", "Nil (1999)", "War"),
]


def csv_folder(folder: Path, ratings: list[tuple] = RATINGS, movies: list[tuple] = MOVIES) -> Path:
    folder = folder / "ml-small"
    folder.mkdir(exist_ok=True)
    lines = [",".join(map(str, row)) + "\r\n" for row in ratings]
    (folder / "ratings.csv").write_bytes("".join(["userId,movieId,rating,timestamp\r\n", *lines]).encode())
    quoted = ['{},"{}",{}\r\n'.format(row[0], row[1].replace('"', '""'), row[2]) for row in movies]
    (folder / "movies.csv").write_bytes("".join(["movieId,title,genres\r\n", *quoted]).encode())
    return folder


def dat_folder(folder: Path, encoding: str = "latin-1", movies: list[tuple] = MOVIES) -> Path:
    (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in RATINGS))
    (folder / "movies.dat").write_text("".join("::".join(row) + "\n" for row in movies), encoding=encoding)
    return folder


def check(corpus: Corpus) -> None:
    assert corpus.interactions[:] == {
        "user_id": ["1", "1", "10", "2"],
        "item_id": ["2", "3", "2", "2"],
        "timestamp": [97, 98, 50, 51],
        "rating": [5.0, 3.5, 4.0, 0.5],
    }
    assert corpus.items[:] == {
        "item_id": ["3", "4", "2"],
        "title": ['Amélie, "x" (2001)', "Nil (1999)", "Zoo (1990)"],
        "text": ["Genres: none", "Genres: War", "Genres: Comedy, Drama"],
    }
    assert corpus.steps[0].counts["items that nobody took"] == 1


def test_csv_by_hand(tmp_path: Path):
    folder = csv_folder(tmp_path)
    corpus = load_corpus("movielens", folder)
    assert corpus.name == "ml-small"
    check(corpus)
    assert load_corpus(folder).fingerprint == corpus.fingerprint
    assert load_corpus("movielens", folder, name="mine").name == "mine"
    (folder / "ratings.csv.gz").write_bytes(gzip.compress((folder / "ratings.csv").read_bytes()))
    (folder / "ratings.csv").unlink()
    check(load_corpus(folder))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_dat_by_hand(tmp_path: Path, encoding: str):
    """1M is written in Latin-1, 10M in UTF-8."""
    corpus = load_corpus("movielens-1m", dat_folder(tmp_path, encoding))
    assert corpus.name == "movielens-1m"
    check(corpus)
    assert load_corpus("auto", tmp_path).fingerprint == corpus.fingerprint


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("1", "9", 5.0, 97), "item '9' and 0 more were taken and are not in the file of items"),
        (("1", "2", 4.0, 200), "user '1' with item '2' is there more than once"),
        (("1", "2", 5.0, 97), "user '1' with item '2' is there again, one of 1 exact duplicates"),
        (("1", "4", "x", 97), r"ratings\.csv, line 6: .*invalid value 'x'"),
        (("1", "4", 5.0, 1_500_000_000_000), r"ratings\.csv, line 6: the timestamp 1500000000000 in 's'"),
        (("", "4", 5.0, 97), r"ratings\.csv, line 6: there is no user_id"),
    ],
)
def test_a_wrong_rating_is_named(tmp_path: Path, row: tuple, message: str):
    with pytest.raises(CorpusFormatError, match=message):
        load_corpus("movielens", csv_folder(tmp_path, [*RATINGS, row]))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"repeats": "last"}, [("3", 98), ("2", 200)]),
        ({"repeats": "first"}, [("2", 97), ("3", 98)]),
        ({"repeats": "keep"}, [("2", 97), ("3", 98), ("2", 200)]),
    ],
)
def test_repeats_by_choice(tmp_path: Path, options: dict[str, Any], kept: list[tuple[str, int]]):
    folder = csv_folder(tmp_path, [*RATINGS[:2], ("1", "2", 4.0, 200)])
    found = load_corpus("movielens", folder, **options).interactions[:]
    assert list(zip(found["item_id"], found["timestamp"], strict=True)) == kept


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5::A", r"movies\.dat, line 4: expected movie, title and genres separated by '::', got 2"),
        ("::A::War", r"movies\.dat, line 4: there is no item_id"),
        ("5::A::War::x", r"movies\.dat, line 4: .* got 4"),
    ],
)
def test_a_wrong_movie_is_named(tmp_path: Path, line: str, message: str):
    folder = dat_folder(tmp_path)
    with (folder / "movies.dat").open("a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    with pytest.raises(CorpusFormatError, match=message):
        load_corpus("movielens-1m", folder)
