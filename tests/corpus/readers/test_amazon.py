from __future__ import annotations

import gzip
import html
import json
from collections import Counter
from pathlib import Path

import pytest

from peft_pod.corpus import CorpusFormatError, load_corpus
from tests.corpora import real_data

from .formats import ROWS, amazon_2014, amazon_2018, amazon_2023, write_json_lines


@pytest.mark.parametrize(
    ("year", "make", "text"),
    [
        (2014, amazon_2014, "Categories: Home, Bath."),
        (2018, amazon_2018, "Brand: Acme. Categories: Home. a b"),
        (2023, amazon_2023, "Categories: Home. d"),
    ],
)
def test_by_hand(tmp_path: Path, year: int, make, text: str):
    make(tmp_path)
    corpus = load_corpus(f"amazon-{year}", tmp_path)
    assert corpus.name == f"amazon-{year}/Home"
    by_user = sorted(ROWS, key=lambda row: row[0])
    assert corpus.interactions[:] == {
        "user_id": [row[0] for row in by_user],
        "item_id": [row[1] for row in by_user],
        "timestamp": [row[2] for row in by_user],
        "rating": [row[3] for row in by_user],
        "review": [html.unescape(row[4]) for row in by_user],
    }
    assert corpus.items[:] == {
        "item_id": ["B07", "B08", "B09"],
        "title": ["Soap, green", "Lamp", "Café mug"],
        "text": [text] * 3,
    }
    (step,) = corpus.steps
    assert step.name == f"read amazon-{year}"
    assert (step.settings["exact_duplicates"], step.settings["catalogue"]) == ("drop", "taken")
    assert step.counts["reviews without text"] == 1
    assert step.counts["reviews with HTML entities, which were turned into characters"] == 1
    assert load_corpus(tmp_path).fingerprint == corpus.fingerprint


def test_metadata_of_a_whole_category(tmp_path: Path):
    amazon_2018(tmp_path)
    more = [{"asin": "B99", "title": "Nobody's"}, {"asin": "B07", "title": "again"}]
    with (tmp_path / "meta_Home.json").open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in more)
    taken, everything = (load_corpus("amazon-2018", tmp_path, catalogue=which) for which in ("taken", "all"))
    assert (len(taken.items), len(everything.items)) == (3, 4)
    assert everything.steps[0].counts["items that nobody took"] == 1
    assert everything.steps[0].counts["descriptions of an item that is described already, dropped"] == 1
    assert "again" not in everything.items["title"][:]


def test_metadata_of_another_category_are_not_read(tmp_path: Path):
    amazon_2018(tmp_path)
    (tmp_path / "meta_Home.json").rename(tmp_path / "meta_Garden.json")
    assert load_corpus("amazon-2018", tmp_path).items["title"][:] == ["B07", "B08", "B09"]


def test_several_categories_need_a_choice(tmp_path: Path):
    amazon_2018(tmp_path)
    write_json_lines(tmp_path / "Toys_5.json", [{"reviewerID": "u", "asin": "i", "unixReviewTime": 5, "overall": 1}])
    with pytest.raises(CorpusFormatError, match=r"several of \*_5\.json\[\.gz\]: .* option category, .*'Home', 'Toys'"):
        load_corpus("amazon-2018", tmp_path)
    assert load_corpus("amazon-2018", tmp_path, category="Toys").interactions["item_id"][:] == ["i"]
    with pytest.raises(ValueError, match="category 'Books' is not in .*; it has"):
        load_corpus("amazon-2018", tmp_path, category="Books")


def test_a_whole_file_beside_its_core_needs_a_choice(tmp_path: Path):
    amazon_2014(tmp_path)
    content = (tmp_path / "reviews_Home_5.json.gz").read_bytes()
    (tmp_path / "reviews_Home_5.json").write_bytes(gzip.decompress(content))
    assert len(load_corpus(tmp_path).interactions) == 5
    (tmp_path / "reviews_Home.json.gz").write_bytes(content)
    with pytest.raises(CorpusFormatError, match=r"has reviews_Home\.json\.gz and reviews_Home_5\.json; keep one"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reviewerID": None}, "line 2: there is no user_id"),
        ({"unixReviewTime": None}, "line 2: there is no timestamp"),
        ({"unixReviewTime": "1"}, "line 2: expected a whole number, got '1' as 'unixReviewTime'"),
        ({"overall": "5"}, "line 2: expected a number, got '5' as 'overall'"),
        ({"unixReviewTime": 1_500_000_000_000}, "line 2: the timestamp 1500000000000 in 's'"),
    ],
)
def test_a_wrong_review_is_named(tmp_path: Path, change: dict, message: str):
    row = {"reviewerID": "u", "asin": "i", "unixReviewTime": 5, "overall": 1.0, "reviewText": "x"}
    write_json_lines(tmp_path / "Home_5.json.gz", [row, {**row, **change}])
    with pytest.raises(CorpusFormatError, match=rf"Home_5\.json\.gz, {message}"):
        load_corpus("amazon-2018", tmp_path)


def test_a_half_line_is_found(tmp_path: Path):
    amazon_2018(tmp_path)
    content = (tmp_path / "Home_5.json").read_bytes()
    (tmp_path / "Home_5.json").write_bytes(content[:-30])
    with pytest.raises(CorpusFormatError, match=r"Home_5\.json, line 5: not JSON"):
        load_corpus("amazon-2018", tmp_path)


def independent_count(path: Path) -> tuple[list[tuple], dict[str, int]]:
    """The file by `json` and a `Counter`, without anything of the package."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        reviews = [json.loads(line) for line in file]
    texts = [review.get("reviewText") or "" for review in reviews]
    rows = [
        (review["reviewerID"], review["asin"], review["unixReviewTime"], review["overall"], html.unescape(text))
        for review, text in zip(reviews, texts, strict=True)
    ]
    distinct = list(dict.fromkeys(rows))
    per_time = Counter((row[0], row[2]) for row in distinct)
    return distinct, {
        "rows read": len(rows),
        "reviews without text": sum(not text.strip() for text in texts),
        "exact duplicates of an earlier row": len(rows) - len(distinct),
        "exact duplicates dropped": len(rows) - len(distinct),
        "other rows of a user with an item that they have already": len(distinct) - len({row[:2] for row in distinct}),
        "interactions at the same time as an earlier one of their user": sum(n - 1 for n in per_time.values()),
        "interactions": len(distinct),
        "users": len({row[0] for row in distinct}),
        "items": len({row[1] for row in distinct}),
        "rows dropped for their timestamp": 0,
    }


@pytest.mark.parametrize(
    ("year", "folder", "category", "duplicates", "without_text"),
    [
        (2018, "amazon-2018-raw", "All_Beauty", 1053, 5),
        (2018, "amazon-2018-raw", "AMAZON_FASHION", 89, 16),
        (2014, "amazon-2014-raw", "Musical_Instruments", 0, 2),
    ],
)
def test_the_released_files(year: int, folder: str, category: str, duplicates: int, without_text: int):
    data = real_data(folder)
    path = next(data.glob(f"*{category}_5*.json.gz"))
    rows, expected = independent_count(path)
    assert (expected["exact duplicates of an earlier row"], expected["reviews without text"]) == (
        duplicates,
        without_text,
    )
    corpus = load_corpus(f"amazon-{year}", data, category=category)
    counts = corpus.steps[0].counts
    assert {name: counts[name] for name in expected} == expected
    found = list(zip(*corpus.interactions[:].values(), strict=True))
    # A blank review is an empty one.
    assert found == sorted([(*row[:4], row[4] if row[4].strip() else "") for row in rows], key=lambda row: row[0])


def test_a_damaged_file_does_not_stop_the_recognition(tmp_path: Path):
    """`zlib` has an error of its own, which once came through when a folder was looked at."""
    whole = gzip.compress(b'{"parent_asin": "B07"}\n' * 9)
    (tmp_path / "Home.jsonl.gz").write_bytes(whole[:10] + b"\x06" + whole[11:])
    with pytest.raises(CorpusFormatError, match=r"is not recognised: the folder has Home\.jsonl\.gz"):
        load_corpus(tmp_path)
