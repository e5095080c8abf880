from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.corpus import CorpusFormatError, load_corpus

from .formats import ROWS, amazon_2023, amazon_2023_ratings, write

HEADER = "user_id,parent_asin,rating,timestamp"


def test_by_hand(tmp_path: Path):
    amazon_2023_ratings(tmp_path)
    corpus = load_corpus("amazon-2023-ratings", tmp_path)
    by_user = sorted(ROWS, key=lambda row: row[0])
    assert corpus.name == "amazon-2023-ratings/Home"
    assert corpus.interactions[:] == {
        "user_id": [row[0] for row in by_user],
        "item_id": [row[1] for row in by_user],
        "timestamp": [row[2] for row in by_user],
        "rating": [row[3] for row in by_user],
    }
    assert corpus.items["title"][:] == ["B07", "B08", "B09"]
    assert load_corpus(tmp_path).fingerprint == corpus.fingerprint


def test_titles_come_from_metadata_beside_the_ratings(tmp_path: Path):
    amazon_2023(tmp_path)
    (tmp_path / "Home.jsonl").unlink()
    amazon_2023_ratings(tmp_path)
    assert load_corpus("amazon-2023-ratings", tmp_path).items["title"][:] == ["Soap, green", "Lamp", "Café mug"]


def test_the_three_parts_of_a_split_are_one_corpus(tmp_path: Path):
    amazon_2023_ratings(tmp_path)
    whole = load_corpus("amazon-2023-ratings", tmp_path)
    header, *lines = (tmp_path / "Home.csv").read_text().splitlines(keepends=True)
    (tmp_path / "Home.csv").unlink()
    for part, rows in {"train": lines[:3], "valid": lines[3:4], "test": lines[4:]}.items():
        write(tmp_path / f"Home.{part}.csv.gz", "".join([header, *rows]))
    assert load_corpus("amazon-2023-ratings", tmp_path).fingerprint == whole.fingerprint
    write(tmp_path / "Home.csv", "".join([header, *lines]))
    with pytest.raises(CorpusFormatError, match="has Home whole and in parts"):
        load_corpus("amazon-2023-ratings", tmp_path)
    (tmp_path / "Home.csv").unlink()
    (tmp_path / "Home.valid.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has Home in parts, but no file Home\.valid\.csv"):
        load_corpus("amazon-2023-ratings", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u,i,5,1500000000", "line 2: the timestamp 1500000000 in 'ms' is not between .* another unit"),
        ("u,i,5,", "line 2: there is no timestamp"),
        (",i,5,1500000000000", "line 2: there is no user_id"),
        ("u,i,good,1500000000000", "line 2: .*invalid value 'good'"),
        ("u,i,5", "line 2: .*Expected 4 columns, got 3"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str):
    write(tmp_path / "Home.csv", f"{HEADER}\n{line}\n")
    with pytest.raises(CorpusFormatError, match=rf"Home\.csv, {message}"):
        load_corpus("amazon-2023-ratings", tmp_path)


def test_other_csv_files_are_not_taken_for_ratings(tmp_path: Path):
    write(tmp_path / "prices.csv", "parent_asin,price\nB07,3\n")
    with pytest.raises(
        FileNotFoundError, match=r"has no file \*\.csv\[\.gz\] with the columns user_id, .* prices\.csv"
    ):
        load_corpus("amazon-2023-ratings", tmp_path)
