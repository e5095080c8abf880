from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from peft_pod.corpus import Corpus, CorpusFormatError, load_corpus
from tests.corpora import real_data

GENRES = ["unknown", *(f"Genre {number}" for number in range(1, 19))]
DATA = ["12\t2\t5\t300", "3\t1\t4\t200", "3\t3\t1\t100", "12\t1\t2\t300", "3\t2\t3\t200"]
FLAGS = "|".join(["0", "1", "1"] + ["0"] * 16)
NO_FLAGS = "|".join(["0"] * 19)
ITEMS = [
    f"1|Zoo (1990)|01-Jan-1990||http://example.org/1|{FLAGS}",
    f"2|Amélie (2001)|||http://example.org/2|{NO_FLAGS}",
    f"3|Zoo (1990)|||http://example.org/3|{NO_FLAGS}",
]


def write(folder: Path, **files: list[str]) -> Path:
    """Files by the ending of their names: `data` is `u.data`."""
    for ending, lines in {"data": DATA, "item": ITEMS, **files}.items():
        (folder / f"u.{ending}").write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")
    return folder


def load(folder: Path, **options: str) -> Corpus:
    return load_corpus("movielens-100k", folder, **options)


def test_by_hand(tmp_path: Path):
    """Users are ordered by number, not as text; ties in time keep the order of the file; items go by title."""
    genres = [f"{genre}|{number}" for number, genre in enumerate(GENRES)]
    corpus = load(write(tmp_path, genre=[*genres, ""], info=["2 users", "3 items", "5 ratings"]))
    assert corpus.name == "movielens-100k"
    assert corpus.interactions[:] == {
        "user_id": ["3", "3", "3", "12", "12"],
        "item_id": ["3", "1", "2", "2", "1"],
        "timestamp": [100, 200, 200, 300, 300],
        "rating": [1.0, 4.0, 3.0, 5.0, 2.0],
    }
    assert corpus.items[:] == {
        "item_id": ["2", "1", "3"],
        "title": ["Amélie (2001)", "Zoo (1990)", "Zoo (1990)"],
        "text": ["Genres: none", "Genres: Genre 1, Genre 2", "Genres: none"],
    }
    assert corpus.explanations is None


def test_without_the_names_of_genres_there_is_no_text(tmp_path: Path):
    assert load(write(tmp_path)).items.column_names == ["item_id", "title"]


@pytest.mark.parametrize(
    ("ending", "lines", "message"),
    [
        ("data", ["1\t1\t5"], r"u\.data, line 1: expected user, item, rating, timestamp separated by tabs, got 3"),
        ("data", ["1 1 5 100"], r"u\.data, line 1: expected user, .* got 1 field\(s\)"),
        ("data", ["1\t1\t5\t100", "1\t2\t5\t100\t9"], "line 2: expected user, .* got 5"),
        ("data", ["x\t1\t5\t100"], "line 1: expected a whole number as user, got 'x'"),
        ("data", ["1\t1\t5\t1e9"], "line 1: expected a whole number as timestamp, got '1e9'"),
        ("data", ["1\t1\t5\t-100"], "line 1: expected a whole number as timestamp, got '-100'"),
        ("data", [f"1\t1\t5\t{2**63}"], "line 1: expected at most 18 digits as timestamp, got '9223372036854775808'"),
        ("data", ["1\t1\t5\t100", f"{'9' * 25}\t1\t5\t100"], "line 2: expected at most 18 digits as user, got '99999"),
        ("data", ["1\t1\t6\t100"], "line 1: expected a rating from 1 to 5, got '6'"),
        ("data", ["1\t9\t5\t100"], r"line 1: item 9 is not in u\.item"),
        ("data", ["1\t1\t5\t100", "2\t1\t5\t100", "1\t1\t4\t90"], "line 3: user 1 rates item 1 again, after line 1"),
        ("data", [], r"u\.data is empty"),
        ("item", ["1|Zoo"], r"u\.item, line 1: expected 24 fields separated by '\|', got 2"),
        ("item", [f"one|Zoo||||{FLAGS}"], "line 1: expected the item's number in field 1, got 'one'"),
        ("item", [f"1| ||||{FLAGS}"], "line 1: expected the item's title in field 2"),
        ("item", [f"1|Zoo||||{FLAGS[:-1]}2"], "line 1: expected 0 or 1 in each of the last 19 fields"),
        ("item", [ITEMS[0], ITEMS[1], ITEMS[0]], "line 3: item 1 stands in line 1 already"),
        ("genre", ["unknown|0", "Action|2"], r"u\.genre, line 2: expected 'genre\|1', got 'Action\|2'"),
        ("genre", ["unknown"], r"u\.genre, line 1: expected 'genre\|0', got 'unknown'"),
        ("genre", ["unknown|0", "Action|1"], r"u\.item, line 1: expected 7 fields"),
        ("info", ["2 users", "3 items", "6 ratings"], r"u\.info, line 3: 6 ratings announced, but .*u\.data has 5"),
        ("info", ["2 users", "4 items"], r"u\.info, line 2: 4 items announced, but .*u\.item has 3"),
        ("info", ["two users"], r"u\.info, line 1: expected a number and"),
        ("info", ["2 users", "3 items"], r"u\.info does not say how many ratings there are; it is not complete"),
        ("info", ["3 items"], r"u\.info does not say how many ratings and users there are"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, ending: str, lines: list[str], message: str):
    with pytest.raises(CorpusFormatError, match=message):
        load(write(tmp_path, **{ending: lines}))


@pytest.mark.parametrize("name", ["u.data", "u.item"])
def test_a_file_cut_off_in_a_number_is_refused(tmp_path: Path, name: str):
    """What is left of the last line may still look right, such as a timestamp that lacks its last digits."""
    write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-2])
    with pytest.raises(CorpusFormatError, match=rf"{name}, line \d: the line has no newline"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["u.data", "u.item"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (write(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no file {name}"):
        load(tmp_path)


@pytest.mark.parametrize(("repeats", "rating"), [("first", 3.0), ("last", 5.0)])
def test_repeated_ratings(tmp_path: Path, repeats: str, rating: float):
    """First and last are by time, and by line where the time is the same."""
    rows = ["1\t1\t4\t100", "1\t2\t1\t60", "1\t1\t3\t50", "2\t1\t2\t10", "1\t1\t5\t100"]
    interactions = load(write(tmp_path, data=rows), repeats=repeats).interactions
    expected = {
        "first": [("1", "1", 50, 3.0), ("1", "2", 60, 1.0), ("2", "1", 10, 2.0)],
        "last": [("1", "2", 60, 1.0), ("1", "1", 100, 5.0), ("2", "1", 10, 2.0)],
    }
    assert rows_of(interactions) == expected[repeats]


def test_announced_ratings_are_counted_with_repeats(tmp_path: Path):
    """`u.info` announces lines, so dropping repeats must not look like a file that was cut off."""
    rows = ["1\t1\t4\t100", "1\t1\t3\t50", "2\t1\t2\t10"]
    folder = write(tmp_path, data=rows, info=["2 users", "3 items", "3 ratings"])
    corpus = load(folder, repeats="first")
    assert len(corpus.interactions) == 2
    assert (corpus.steps[0].counts["rows read"], corpus.steps[0].counts["repeats dropped"]) == (3, 1)
    write(tmp_path, data=rows, info=["2 users", "3 items", "2 ratings"])
    with pytest.raises(CorpusFormatError, match=r"2 ratings announced, but .*u\.data has 3"):
        load(folder, repeats="first")


def rows_of(table: Dataset) -> list[tuple]:
    return list(zip(*table[:].values(), strict=True))


def test_another_rule_for_repeats_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="repeats must be one of 'error', 'first', 'last', got 'mean'"):
        load(write(tmp_path), repeats="mean")


def test_the_released_files():
    corpus = load(real_data("movielens-100k"))
    split = corpus.split()
    assert (split.train.num_users, split.train.num_items, len(corpus.interactions)) == (943, 1682, 100_000)
    assert len(split.evaluated_users("test")) == 943
    titles = dict(zip(corpus.items["item_id"], corpus.items["title"], strict=True))
    assert titles["1"] == "Toy Story (1995)"
    assert "é" in "".join(titles.values())
    text = dict(zip(corpus.items["item_id"], corpus.items["text"], strict=True))
    assert text["1"] == "Genres: Animation, Children's, Comedy"
    counts = corpus.steps[0].counts
    # Half of all ratings share their second with an earlier one of the same user.
    assert counts["interactions at the same time as an earlier one of their user"] == 50_561
    assert (counts["rows read"], counts["repeats dropped"], counts["items that nobody took"]) == (100_000, 0, 0)
    # First and last line of u.data.
    rows = set(rows_of(corpus.interactions))
    assert {("196", "242", 881250949, 3.0), ("12", "203", 879959583, 3.0)} <= rows
