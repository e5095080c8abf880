from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from peft_pod.corpus import Corpus, load_corpus, pod_export
from tests.corpora import hand_made_corpus, real_data

LONG = load_corpus("embedded", num_users=60)


def lines(path: Path) -> dict[str, list[str]]:
    rows = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def test_by_hand(tmp_path: Path):
    """`cat` has two items and is left out, with what she says of item d."""
    step = hand_made_corpus().to_pod_folder(tmp_path / "out", short_users="drop", num_negatives=1)
    maps = json.loads((tmp_path / "out" / "datamaps.json").read_text())
    assert list(maps) == ["user2id", "item2id", "id2user", "id2item"]
    assert maps["user2id"] == {user: index for index, user in maps["id2user"].items()}
    assert list(maps["id2user"]) == ["1", "2"]
    assert sorted(maps["id2user"].values()) == ["ann", "bob"]
    assert list(maps["id2item"]) == list("123456")
    assert sorted(maps["id2item"].values()) == list("abcdef")
    named = {
        maps["id2user"][user]: [maps["id2item"][item] for item in items]
        for user, items in lines(tmp_path / "out" / "sequential.txt").items()
    }
    assert named == {"ann": list("abcde"), "bob": list("bcfa")}
    negatives = {
        maps["id2user"][user]: [maps["id2item"][item] for item in items]
        for user, items in lines(tmp_path / "out" / "negative.txt").items()
    }
    assert negatives["ann"] == ["f"]
    assert negatives["bob"] in (["d"], ["e"])
    sentences = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert {
        part: [
            (maps["id2user"][str(entry["user"])], maps["id2item"][str(entry["item"])], entry["explanation"])
            for entry in entries
        ]
        for part, entries in sentences.items()
    } == {
        "train": [("ann", "a", "the soap smells of mint"), ("bob", "b", "a bright lamp")],
        "val": [("ann", "d", "a soft towel")],
        "test": [("ann", "e", "the brush is sturdy")],
    }
    assert sentences["train"][0]["feature"] == "mint"
    assert step.counts == {
        "users": 2,
        "items": 6,
        "interactions": 9,
        "users with fewer than 4 items, left out": 1,
        "train sentences": 2,
        "validation sentences": 1,
        "test sentences": 1,
        "sentences of users left out": 1,
    }


def test_what_is_read_back(tmp_path: Path):
    """Users, items, orders and sentences come back; times become positions, and titles IDs."""
    LONG.to_pod_folder(tmp_path / "embedded")
    back = load_corpus("pod", tmp_path / "embedded")
    before, after = LONG.split(), back.split()

    def histories(split) -> dict[str, list[str]]:
        ids = split.train.item_ids
        return {user: [ids[item] for item in split.all_items(n)] for n, user in enumerate(split.train.user_ids)}

    def sentences(split, part: str) -> Counter:
        users, items = split.train.user_ids, split.train.item_ids
        return Counter((users[s.user], items[s.item], s.text, s.feature) for s in split.explanations(part))

    assert histories(after) == histories(before)
    assert set(after.train.item_ids) == set(before.train.item_ids)
    for part in ("train", "validation", "test"):
        assert sentences(after, part) == sentences(before, part)
    assert after.train.timestamps.values.tolist() == after.train.timestamps.places.tolist()
    assert back.items["title"][:] == back.items["item_id"][:]


def test_negatives_are_items_that_the_user_never_took(tmp_path: Path):
    for negatives in ("uniform", "popularity"):
        LONG.to_pod_folder(tmp_path / negatives, negatives=negatives)
        taken = lines(tmp_path / negatives / "sequential.txt")
        drawn = lines(tmp_path / negatives / "negative.txt")
        maps = json.loads((tmp_path / negatives / "datamaps.json").read_text())
        catalogue = LONG.items["item_id"][:]
        assert list(drawn) == list(taken)
        for user, items in drawn.items():
            assert len(set(items)) == len(items) == 99
            assert not set(items) & set(taken[user])
            places = [catalogue.index(maps["id2item"][item]) for item in items]
            assert places != sorted(places)
            assert all(1 <= int(item) <= len(LONG.items) for item in items)


def test_the_seed_settles_everything(tmp_path: Path):
    contents = []
    for place, seed in enumerate((3, 3, 4)):
        LONG.to_pod_folder(tmp_path / str(place), seed=seed)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / str(place)).iterdir()})
    assert contents[0] == contents[1]
    assert all(contents[0][name] != contents[2][name] for name in contents[0])


def test_the_indices_do_not_depend_on_the_order_of_the_tables(tmp_path: Path):
    """The order of the catalogue or of the users may have been made from histories; it must leave no trace."""
    rng = np.random.default_rng(0)
    shuffled = Corpus.from_tables(
        "shuffled",
        {
            name: table.select(rng.permutation(len(table)))
            for name, table in LONG.tables.items()
            if name != "explanations"
        },
    )
    LONG.to_pod_folder(tmp_path / "before")
    shuffled.to_pod_folder(tmp_path / "after")
    maps = [json.loads((tmp_path / name / "datamaps.json").read_text()) for name in ("before", "after")]
    assert maps[0] == maps[1]


def index_rule(folder: Path) -> tuple[int, int]:
    """How often the test item is the largest index of the history, plus 1; and of how many users."""
    histories = [[int(item) for item in items] for items in lines(folder / "sequential.txt").values()]
    return sum(items[-1] == max(items[:-1]) + 1 for items in histories), len(histories)


def test_the_rule_that_reads_the_paper_s_indices_finds_nothing(tmp_path: Path):
    """`beauty` with the indices of the paper: HR@1 is .0441. Written anew, it is what chance gives."""
    corpus = load_corpus("amazon-2014/beauty", real_data("amazon-2014/beauty"))
    corpus.to_pod_folder(tmp_path / "out", num_negatives=1)
    hits, users = index_rule(tmp_path / "out")
    expected = users / len(corpus.items)
    assert users == 22_363
    assert hits <= expected + 6 * math.sqrt(expected) + 6


def test_users_too_short_for_the_code_of_the_paper_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"1 of 3 users of corpus 'hand-made' have fewer than 4 items, .*k_core"):
        hand_made_corpus().to_pod_folder(tmp_path / "out", num_negatives=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_users": "skip"}, "short_users must be 'error' or 'drop', got 'skip'"),
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0"),
        (
            {"num_negatives": 290},
            r"is 290, and there is a user who took \d+ of the 300 items: \d+ are left",
        ),
        ({"negatives": "hard"}, "negatives must be one of"),
    ],
)
def test_options_that_cannot_be_followed(tmp_path: Path, options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        LONG.to_pod_folder(tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_all_users_too_short(tmp_path: Path):
    rows = {"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": [1, 2]}
    items = {"item_id": ["a", "b", "c"], "title": ["a", "b", "c"]}
    corpus = Corpus.from_tables("short", {"interactions": Dataset.from_dict(rows), "items": Dataset.from_dict(items)})
    with pytest.raises(ValueError, match="no user of corpus 'short' has 4 items or more"):
        corpus.to_pod_folder(tmp_path / "out", short_users="drop", num_negatives=1)


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pod_export, "_write_explanations", fail)
    with pytest.raises(OSError, match="disk full"):
        LONG.to_pod_folder(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_sentences_there_is_no_file_for_them(tmp_path: Path):
    tables = {name: table for name, table in LONG.tables.items() if name != "explanations"}
    Corpus.from_tables("silent", tables).to_pod_folder(tmp_path / "out")
    assert not (tmp_path / "out" / "explanation.json").exists()
    assert load_corpus("pod", tmp_path / "out").explanations is None
