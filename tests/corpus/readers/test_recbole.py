from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.corpus import CorpusFormatError, load_corpus

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
LINES = ["u1\ti1\t4\t964982703\n", "u2\ti1\t\t964982704.75\n", "u1\ti2\t2.5\t9.64982705E8\n"]
ITEM = "item_id:token\tmovie_title:token_seq\tclass:token_seq\tprice:float\n"
ITEMS = ["i2\tA Lamp\tHome Light\t3.5\n", "i9\tMug\t\t\n"]


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("".join(lines), encoding="utf-8")


def test_by_hand(tmp_path: Path):
    write(tmp_path, "home.inter", INTER, *LINES)
    write(tmp_path, "home.item", ITEM, *ITEMS)
    write(tmp_path, "home.user", "user_id:token\tage:float\nu1\t20\n")
    corpus = load_corpus("recbole", tmp_path)
    assert corpus.name == "home"
    assert corpus.interactions[:] == {
        "user_id": ["u1", "u1", "u2"],
        "item_id": ["i1", "i2", "i1"],
        "timestamp": [964982703, 964982705, 964982704],
        "rating": [4.0, 2.5, None],
    }
    assert corpus.items[:] == {
        "item_id": ["i1", "i2", "i9"],
        "title": ["i1", "A Lamp", "Mug"],
        "text": ["", "class: Home Light. price: 3.5.", ""],
    }
    counts = corpus.steps[0].counts
    assert counts["timestamps with a part of a second, rounded down"] == 1
    assert counts["interactions without a rating"] == 1
    assert load_corpus(tmp_path).fingerprint == corpus.fingerprint


def test_own_names_of_columns(tmp_path: Path):
    write(tmp_path, "home.inter", "uid:token\tiid:token\twhen:float\n", "u\ti\t5\n")
    write(tmp_path, "home.item", "iid:token\tlabel:token_seq\n", "i\tLamp\n")
    named = {"user_id": "uid", "item_id": "iid", "timestamp": "when", "title": "label"}
    corpus = load_corpus("recbole", tmp_path, columns=named)
    assert corpus.interactions[:] == {"user_id": ["u"], "item_id": ["i"], "timestamp": [5]}
    assert corpus.items[:] == {"item_id": ["i"], "title": ["Lamp"]}


def test_a_file_without_times_needs_a_word(tmp_path: Path):
    write(tmp_path, "home.inter", "user_id:token\titem_id:token\n", "u\ta\n", "v\ta\n", "u\tb\n")
    with pytest.raises(
        CorpusFormatError, match=r"home\.inter has no timestamps; its columns are user_id, item_id\. .*'order'"
    ):
        load_corpus("recbole", tmp_path)
    corpus = load_corpus("recbole", tmp_path, timestamps="order")
    assert corpus.interactions[:] == {"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "timestamp": [0, 2, 1]}


def test_parts_of_a_split_are_one_corpus(tmp_path: Path):
    write(tmp_path, "home.inter", INTER, *LINES)
    whole = load_corpus("recbole", tmp_path)
    (tmp_path / "home.inter").unlink()
    for part, line in zip(("train", "valid", "test"), LINES, strict=True):
        write(tmp_path, f"home.{part}.inter", INTER, line)
    assert load_corpus("recbole", tmp_path).fingerprint == whole.fingerprint
    (tmp_path / "home.test.inter").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file home\.test\.inter"):
        load_corpus("recbole", tmp_path)


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("user_id\titem_id:token\ttimestamp:float\n", "u\ti\t1\n", "line 1: expected 'name:type' .* got 'user_id'"),
        ("user_id:token\titem_id:int\ttimestamp:float\n", "u\ti\t1\n", "line 1: expected .* got 'item_id:int'"),
        ("user_id:token\tuser_id:float\n", "u\t1\n", "line 1: the column 'user_id' is there more than once"),
        ("uid:token\titem_id:token\n", "u\ti\n", "has no column 'user_id'; it has uid, item_id: name it with columns="),
        (INTER, "u\ti\tx\t1\n", "line 2: .*invalid value 'x'"),
        (INTER, "u\ti\t1\n", "line 2: .*Expected 4 columns, got 3"),
        (INTER, "u\ti\t1\t-5\n", "line 2: the timestamp -5 in 's'"),
        (INTER, "u\ti\t1\t\n", "line 2: there is no timestamp"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, header: str, line: str, message: str):
    write(tmp_path, "home.inter", header, line)
    with pytest.raises(CorpusFormatError, match=rf"home\.inter[, ].*{message}"):
        load_corpus("recbole", tmp_path)
