from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from peft_pod.corpus import Corpus, CorpusFormatError, load_corpus
from tests.corpora import hand_made_corpus


def changed(corpus: Corpus, table: str, **columns: list) -> Corpus:
    values = {**corpus.tables[table][:], **columns}
    return Corpus.from_tables(corpus.name, {**corpus.tables, table: Dataset.from_dict(values)})


def test_fingerprint_is_of_the_rows_and_nothing_else():
    corpus = hand_made_corpus()
    assert corpus.fingerprint == hand_made_corpus().fingerprint
    assert Corpus.from_tables("another name", corpus.tables).fingerprint == corpus.fingerprint
    assert len(corpus.fingerprint) == 12
    int(corpus.fingerprint, 16)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("interactions", {"timestamp": [0, 1, 2, 3, 4, 0, 1, 2, 4, 0, 1]}),
        ("items", {"title": ["Soap", "Lamp", "Comb", "Towel", "Brush", "Cup"]}),
        ("items", {"text": [""] * 6}),
        ("explanations", {"feature": ["mint", "soft", "sturdy", "bright", ""]}),
    ],
)
def test_any_change_of_the_rows_changes_the_fingerprint(table, columns):
    corpus = hand_made_corpus()
    assert changed(corpus, table, **columns).fingerprint != corpus.fingerprint


def test_fingerprint_depends_on_the_order_of_rows():
    corpus = hand_made_corpus()
    order = [1, 0, *range(2, len(corpus.interactions))]
    swapped = Corpus.from_tables("x", {**corpus.tables, "interactions": corpus.interactions.select(order)})
    assert swapped.fingerprint != corpus.fingerprint


@pytest.mark.parametrize("make", [hand_made_corpus, lambda: load_corpus("embedded", num_users=20)])
def test_save_and_load_give_the_same_corpus(tmp_path: Path, make):
    corpus = make()
    corpus.save_to_disk(tmp_path / "saved")
    loaded = load_corpus("saved", tmp_path / "saved")
    assert loaded.name == corpus.name
    assert loaded.fingerprint == corpus.fingerprint
    assert {name: table[:] for name, table in loaded.tables.items()} == {
        name: table[:] for name, table in corpus.tables.items()
    }
    assert (loaded.split().test_items == corpus.split().test_items).all()


def test_a_corpus_without_text_comes_back_without(tmp_path: Path):
    corpus = hand_made_corpus()
    bare = Corpus.from_tables("bare", {name: corpus.tables[name] for name in ("interactions", "items")})
    bare.save_to_disk(tmp_path)
    assert Corpus.load_from_disk(tmp_path).explanations is None


def test_saving_that_stops_halfway_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    older, corpus = load_corpus("embedded", num_users=5), hand_made_corpus()
    older.save_to_disk(tmp_path / "older")
    write = type(corpus.tables).save_to_disk

    def full_disk(tables: DatasetDict, folder: str) -> None:
        write(tables, folder)
        raise OSError("no space left on device")

    monkeypatch.setattr(type(corpus.tables), "save_to_disk", full_disk)
    for folder in ("older", "new"):
        with pytest.raises(OSError, match="no space"):
            corpus.save_to_disk(tmp_path / folder)
    assert Corpus.load_from_disk(tmp_path / "older").fingerprint == older.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["older"]


def test_an_older_corpus_is_replaced_with_all_its_tables(tmp_path: Path):
    load_corpus("embedded", num_users=5).save_to_disk(tmp_path / "saved")
    corpus = hand_made_corpus()
    bare = Corpus.from_tables("bare", {name: corpus.tables[name] for name in ("interactions", "items")})
    bare.save_to_disk(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "corpus.json",
        "dataset_dict.json",
        "interactions",
        "items",
    ]
    assert Corpus.load_from_disk(tmp_path / "saved").fingerprint == bare.fingerprint


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path):
    """Saved among the Parquet files of another corpus, it once came back with their rows and its own name."""
    other = load_corpus("embedded", num_users=5)
    other.to_parquet(tmp_path / "other")
    with pytest.raises(FileExistsError, match=r"with README\.md, .*interactions\.parquet"):
        hand_made_corpus().save_to_disk(tmp_path / "other")
    assert Corpus.load_from_disk(tmp_path / "other").fingerprint == other.fingerprint


def test_a_loaded_corpus_does_not_destroy_its_own_folder(tmp_path: Path):
    """It once removed the name, and only then found out that it can't write the tables it reads from."""
    hand_made_corpus().save_to_disk(tmp_path / "saved")
    loaded = Corpus.load_from_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="the corpus is read from .*saved and cannot replace its own files"):
        loaded.save_to_disk(tmp_path / "saved")
    assert Corpus.load_from_disk(tmp_path / "saved").fingerprint == hand_made_corpus().fingerprint
    loaded.save_to_disk(tmp_path / "copy")
    assert Corpus.load_from_disk(tmp_path / "copy").fingerprint == loaded.fingerprint


def test_nothing_but_the_corpus_is_left_in_the_folder(tmp_path: Path):
    for _ in range(2):
        hand_made_corpus().save_to_disk(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["corpus.json", "dataset_dict.json", "explanations", "interactions", "items"]


@pytest.mark.parametrize("content", ["{", json.dumps({"title": "x"}), json.dumps(["x"]), json.dumps({"name": 5})])
def test_a_damaged_name_is_refused(tmp_path: Path, content: str):
    hand_made_corpus().save_to_disk(tmp_path)
    (tmp_path / "corpus.json").write_text(content, encoding="utf-8")
    with pytest.raises(CorpusFormatError, match=r"corpus\.json must hold"):
        Corpus.load_from_disk(tmp_path)


def test_no_interactions_is_refused():
    tables = {name: table.select([]) for name, table in hand_made_corpus().tables.items()}
    with pytest.raises(CorpusFormatError, match="corpus 'empty' has no interactions"):
        Corpus.from_tables("empty", tables)


def test_no_sentences_is_fine():
    corpus = hand_made_corpus()
    assert corpus.explanations is not None
    silent = Corpus.from_tables("silent", {**corpus.tables, "explanations": corpus.explanations.select([])})
    assert all(len(silent.split().explanations(part)) == 0 for part in ("train", "validation", "test"))
