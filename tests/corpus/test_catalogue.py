from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.catalogue import ITEMS_FILE, USERS_FILE, Catalogue
from tests.corpora import hand_made_corpus


def listed(catalogue: Catalogue) -> tuple[list[str], list[str], list[str], list[list[int]] | None]:
    histories = catalogue.histories
    rows = None if histories is None else [np.asarray(items).tolist() for items in histories]
    return list(catalogue.item_ids), list(catalogue.titles), list(catalogue.user_ids), rows


def test_whole_histories_of_a_split_by_hand():
    catalogue = Catalogue.from_split(hand_made_corpus().split())
    titles = ["Soap", "Lamp", "Comb", "Towel", "Brush", "Mug"]
    histories = [[0, 1, 2, 3, 4], [1, 2, 5, 0], [3, 4]]
    assert listed(catalogue) == (list("abcdef"), titles, ["ann", "bob", "cat"], histories)
    assert catalogue.history(catalogue.user_position("bob")).tolist() == histories[1]


@pytest.mark.parametrize(
    ("users", "histories"),
    [
        (["u", "v", "w"], [[1, 0], [], [1]]),
        (["u", "v"], [[], []]),
        (["u"], None),
        ([], []),
        ([], None),
    ],
)
def test_saved_and_loaded(tmp_path: Path, users: list[str], histories: list[list[int]] | None):
    """Users without a history and a catalogue without users are what they were, too."""
    arrays = None if histories is None else [np.array(items, dtype=np.int64) for items in histories]
    catalogue = Catalogue(["x", "y"], ["X", "Ÿ"], users, arrays)
    catalogue.save(tmp_path)
    assert listed(Catalogue.load(tmp_path)) == (["x", "y"], ["X", "Ÿ"], users, histories)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ITEMS_FILE, USERS_FILE]


def test_histories_may_be_left_out(tmp_path: Path):
    Catalogue.from_split(hand_made_corpus().split()).save(tmp_path, histories=False)
    loaded = Catalogue.load(tmp_path)
    assert loaded.histories is None
    with pytest.raises(ValueError, match="histories were not saved with this model: pass history="):
        loaded.history(0)


def test_what_is_not_there_is_named():
    catalogue = Catalogue(["7", "8"], ["A", "B"], ["1"])
    assert (catalogue.item_position("8"), catalogue.user_position("1")) == (1, 0)
    with pytest.raises(ValueError, match="item '9' is not in the catalogue of 2 items$"):
        catalogue.item_position("9")
    with pytest.raises(ValueError, match="user 1 is not among the 1 users .*; IDs are strings, did you mean '1'"):
        catalogue.user_position(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"titles": ["A"]}, "titles has 1 entries for 2 items"),
        ({"histories": [np.array([0])] * 2}, "histories has 2 entries for 1 users"),
        ({"item_ids": ["x", "x"]}, "item_ids names 'x' more than once"),
        ({"user_ids": ["u", "v", "u"]}, "user_ids names 'u' more than once"),
    ],
)
def test_what_does_not_fit_together_is_refused(columns: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Catalogue(**{"item_ids": ["x", "y"], "titles": ["A", "B"], "user_ids": ["u"], **columns})


@pytest.mark.parametrize("name", [ITEMS_FILE, USERS_FILE])
def test_damaged_files_are_named(tmp_path: Path, name: str):
    Catalogue(["x"], ["X"], ["u"], [np.array([0])]).save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusFormatError, match=f"{name} is damaged or cut off"):
        Catalogue.load(tmp_path)
    pq.write_table(pa.table({"other": ["x"]}), path)
    with pytest.raises(CorpusFormatError, match=rf"{name} lacks the columns .* it has \['other'\]"):
        Catalogue.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
        Catalogue.load(tmp_path)


def test_positions_of_many_items_are_those_of_each():
    catalogue = Catalogue(["x", "y", "z"], ["X", "Y", "Z"], ["u"])
    assert list(catalogue.item_positions(["z", "new", "x", "z"]).items()) == [("z", 2), ("new", None), ("x", 0)]
    assert catalogue.item_positions([]) == {}
