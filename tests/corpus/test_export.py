from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from peft_pod.corpus import Corpus, CorpusFormatError, export, load_corpus
from peft_pod.corpus.steps import Step
from tests.corpora import hand_made_corpus

FILES = ["README.md", "corpus.json", "explanations.parquet", "interactions.parquet", "items.parquet"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """So that no test reads what another one left in the cache of `datasets`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def corpus_with_steps() -> Corpus:
    made = hand_made_corpus()
    steps = [Step("read", {"files": "a | b", "fraction": 0.5, "limit": None}, {"duplicates": 2}), Step("k-core")]
    return Corpus.from_tables(made.name, made.tables, steps)


@pytest.mark.parametrize("load", [Corpus.load_from_disk, lambda folder: load_corpus("saved", folder)])
def test_parquet_comes_back_as_it_was(tmp_path: Path, load: Any):
    corpus = corpus_with_steps()
    corpus.to_parquet(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    back = load(tmp_path / "out")
    assert (back.name, back.steps, back.fingerprint) == (corpus.name, corpus.steps, corpus.fingerprint)
    assert {name: table[:] for name, table in back.tables.items()} == {
        name: table[:] for name, table in corpus.tables.items()
    }


def test_other_programs_read_the_tables(tmp_path: Path):
    corpus = hand_made_corpus()
    corpus.to_parquet(tmp_path / "out")
    for name, table in corpus.tables.items():
        assert pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pydict() == table[:]


def test_optional_columns_and_tables(tmp_path: Path):
    """A rating that is missing, a review that is empty, no explanations."""
    corpus = Corpus.from_tables(
        "rated",
        {
            "interactions": Dataset.from_dict(
                {
                    "user_id": ["u", "u"],
                    "item_id": ["i", "j"],
                    "timestamp": [5, 9],
                    "rating": [None, 4.5],
                    "review": ["", "naïve 🎸"],
                }
            ),
            "items": Dataset.from_dict({"item_id": ["i", "j"], "title": ["I", "J"], "text": [None, "t"]}),
        },
    )
    corpus.to_parquet(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        name for name in FILES if name != "explanations.parquet"
    ]
    back = Corpus.load_from_disk(tmp_path / "out")
    assert back.fingerprint == corpus.fingerprint
    assert back.explanations is None


def test_the_configurations_of_the_card_are_read_by_datasets(tmp_path: Path):
    """What the Hub would do with the folder: each table is a configuration that the card's YAML names."""
    corpus = corpus_with_steps()
    corpus.to_parquet(tmp_path / "hand-made")
    back = load_corpus("datasets", tmp_path / "hand-made")
    assert back.fingerprint == corpus.fingerprint
    assert (back.name, back.steps[:-1], back.steps[-1].name) == (corpus.name, corpus.steps, "read datasets")
    assert load_corpus("datasets", tmp_path / "hand-made", name="mine").name == "mine"


def test_folders_of_one_name_are_not_confused(tmp_path: Path):
    """`datasets` keeps what it read under the folder's name, and once gave the first folder's rows for the second."""
    corpora = [hand_made_corpus(), load_corpus("embedded", num_users=5)]
    for number, corpus in enumerate(corpora):
        corpus.to_parquet(tmp_path / str(number) / "export")
    for number, corpus in enumerate(corpora):
        assert load_corpus("datasets", tmp_path / str(number) / "export").fingerprint == corpus.fingerprint


def test_a_folder_that_was_written_anew_is_read_anew(tmp_path: Path):
    for corpus in (hand_made_corpus(), load_corpus("embedded", num_users=5)):
        corpus.to_parquet(tmp_path / "export")
        assert load_corpus("datasets", tmp_path / "export").fingerprint == corpus.fingerprint
        shutil.rmtree(tmp_path / "export")


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(export, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        hand_made_corpus().to_parquet(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path):
    corpus = hand_made_corpus()
    corpus.to_parquet(tmp_path / "out")
    with pytest.raises(FileExistsError, match="out is there already"):
        corpus.to_parquet(tmp_path / "out")
    assert Corpus.load_from_disk(tmp_path / "out").fingerprint == corpus.fingerprint


def test_damaged_parquet_is_refused(tmp_path: Path):
    hand_made_corpus().to_parquet(tmp_path / "out")
    items = tmp_path / "out" / "items.parquet"
    items.write_bytes(items.read_bytes()[:-20])
    with pytest.raises(CorpusFormatError, match=r"items\.parquet is not a Parquet file that can be read"):
        Corpus.load_from_disk(tmp_path / "out")


def test_a_missing_table_is_named(tmp_path: Path):
    hand_made_corpus().to_parquet(tmp_path / "out")
    (tmp_path / "out" / "items.parquet").unlink()
    with pytest.raises(CorpusFormatError, match=r"has no items\.parquet"):
        export.read_parquet_tables(tmp_path / "out")


class StubHub:
    """Takes the place of `HfApi`: keeps the calls, and copies what is uploaded."""

    def __init__(self, into: Path) -> None:
        self.into = into
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, **options: Any) -> StubHub:
        self.calls.append(("api", options))
        return self

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create", {"repo_id": repo_id, **options}))

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        shutil.copytree(options["folder_path"], self.into)
        self.calls.append(("upload", options))
        return SimpleNamespace(commit_url="https://hub.example/commit/1")


def test_pushing_is_one_commit_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = StubHub(tmp_path / "hub")
    monkeypatch.setattr(export, "HfApi", hub)
    corpus = corpus_with_steps()
    address = corpus.push_to_hub("owner/hand-made", license="mit", private=True, token="t", revision="next")
    assert address == "https://hub.example/commit/1"
    assert [name for name, _ in hub.calls] == ["api", "create", "upload"]
    (_, login), (_, created), (_, uploaded) = hub.calls
    assert login == {"token": "t"}
    assert created == {"repo_id": "owner/hand-made", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert (uploaded["repo_id"], uploaded["repo_type"], uploaded["revision"]) == ("owner/hand-made", "dataset", "next")
    assert uploaded["commit_message"] == f"Add the corpus hand-made ({corpus.fingerprint})"
    assert not Path(uploaded["folder_path"]).exists()
    assert sorted(path.name for path in hub.into.iterdir()) == FILES
    assert Corpus.load_from_disk(hub.into).fingerprint == corpus.fingerprint
    card = (hub.into / "README.md").read_text(encoding="utf-8")
    assert 'load_corpus("datasets", "owner/hand-made")' in card
    assert "license: mit" in card


def test_a_corpus_that_cannot_be_described_is_not_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = StubHub(tmp_path / "hub")
    monkeypatch.setattr(export, "HfApi", hub)
    other = load_corpus("embedded", num_users=20).split()
    with pytest.raises(ValueError, match="the split is one of the corpus with fingerprint"):
        hand_made_corpus().push_to_hub("owner/hand-made", split=other)
    assert [name for name, _ in hub.calls] == ["api"]


def test_the_name_file_is_that_of_saved_corpora(tmp_path: Path):
    corpus = corpus_with_steps()
    corpus.to_parquet(tmp_path / "parquet")
    corpus.save_to_disk(tmp_path / "saved")
    names = [json.loads((tmp_path / kind / "corpus.json").read_text()) for kind in ("parquet", "saved")]
    assert names[0] == names[1] == {"name": "hand-made", "steps": [step.to_dict() for step in corpus.steps]}
