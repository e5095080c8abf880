from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from peft_pod.corpus import Corpus, CorpusFormatError, load_corpus
from peft_pod.corpus.readers import hub
from tests.corpora import hand_made_corpus


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_saved_dictionary_of_tables_comes_back(tmp_path: Path):
    corpus = hand_made_corpus()
    corpus.tables.save_to_disk(str(tmp_path / "shop"))
    before = files(tmp_path)
    loaded = load_corpus(tmp_path / "shop")
    assert (loaded.name, loaded.fingerprint) == ("shop", corpus.fingerprint)
    assert loaded.steps[0].name == "read datasets"
    assert loaded.steps[0].counts["interactions"] == len(corpus.interactions)
    assert files(tmp_path) == before


def test_name_and_steps_of_a_saved_corpus_come_back(tmp_path: Path):
    corpus = load_corpus("embedded", num_users=20).k_core(5, 2)
    corpus.save_to_disk(tmp_path / "folder")
    loaded = load_corpus("datasets", tmp_path / "folder")
    assert (loaded.name, loaded.fingerprint) == ("embedded", corpus.fingerprint)
    assert (loaded.steps[:-1], loaded.steps[-1].name) == (corpus.steps, "read datasets")


def on_the_hub(monkeypatch: pytest.MonkeyPatch, description: Path | Exception) -> Corpus:
    """Take the place of the Hub: a data set of configurations, and what is beside them."""
    corpus = hand_made_corpus()

    def download(repo_id: str, name: str, **options: object) -> str:
        assert (repo_id, name, options) == ("owner/shop", "corpus.json", {"repo_type": "dataset", "revision": "v1"})
        if isinstance(description, Exception):
            raise description
        return str(description)

    monkeypatch.setattr(hub, "get_dataset_config_names", lambda source, **_: ["default", *corpus.tables])
    monkeypatch.setattr(hub, "load_dataset", lambda source, table, **_: DatasetDict({"full": corpus.tables[table]}))
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return corpus


def test_name_and_steps_come_from_the_hub_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "blob").write_text('{"name": "mine", "steps": [{"name": "k-core", "settings": {}, "counts": {}}]}')
    corpus = on_the_hub(monkeypatch, tmp_path / "blob")
    loaded = load_corpus("datasets", "owner/shop", revision="v1")
    assert (loaded.name, loaded.fingerprint) == ("mine", corpus.fingerprint)
    assert [step.name for step in loaded.steps] == ["k-core", "read datasets"]


def test_a_data_set_of_the_hub_that_others_made_has_no_description(monkeypatch: pytest.MonkeyPatch):
    on_the_hub(monkeypatch, EntryNotFoundError("404"))
    loaded = load_corpus("datasets", "owner/shop", revision="v1")
    assert (loaded.name, [step.name for step in loaded.steps]) == ("shop", ["read datasets"])


def test_a_description_that_cannot_be_reached_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch):
    on_the_hub(monkeypatch, LocalEntryNotFoundError("offline"))
    with pytest.raises(ConnectionError, match=r"corpus\.json of owner/shop is not in the cache"):
        load_corpus("datasets", "owner/shop", revision="v1")


def test_other_types_are_cast_without_a_trace_in_the_folder(tmp_path: Path):
    """`datasets` would write a cache file beside the data, which may be read-only."""
    tables = hand_made_corpus().tables
    values = tables["interactions"][:]
    other = Dataset.from_dict(
        {**values, "timestamp": [float(time) for time in values["timestamp"]], "extra": values["user_id"]}
    )
    DatasetDict({"interactions": other, "items": tables["items"]}).save_to_disk(str(tmp_path))
    before = files(tmp_path)
    loaded = load_corpus("datasets", tmp_path)
    assert loaded.interactions[:] == values
    assert files(tmp_path) == before


def test_a_single_table_with_splits_and_names_of_its_own(tmp_path: Path):
    train = Dataset.from_dict({"who": ["u", "u"], "what": ["b", "a"], "timestamp": [1, 1], "user_id": ["x", "x"]})
    test = Dataset.from_dict({"who": ["v"], "what": ["c"], "timestamp": [3], "user_id": ["x"]})
    DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path))
    corpus = load_corpus("datasets", tmp_path, columns={"user_id": "who", "item_id": "what"}, name="mine")
    assert corpus.name == "mine"
    assert corpus.interactions[:] == {"user_id": ["u", "u", "v"], "item_id": ["b", "a", "c"], "timestamp": [1, 1, 3]}
    assert corpus.items[:] == {"item_id": ["a", "b", "c"], "title": ["a", "b", "c"]}
    assert corpus.steps[0].counts["interactions at the same time as an earlier one of their user"] == 1


def test_a_folder_as_on_the_hub_has_a_configuration_for_each_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    corpus, folder = hand_made_corpus(), tmp_path / "shop"
    card = ["---", "configs:"]
    for name, table in corpus.tables.items():
        (folder / name).mkdir(parents=True)
        table.to_parquet(str(folder / name / "train-00000-of-00001.parquet"))
        card += [f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {name}/train-*"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    loaded = load_corpus("datasets", folder)
    assert loaded.fingerprint == corpus.fingerprint
    assert loaded.explanations is not None


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"user_id": ["u"], "timestamp": [1]}, {}, r"has no column 'item_id'; it has \['user_id', 'timestamp'\]"),
        ({"user_id": ["u"], "item_id": ["i"]}, {}, r"lacks the columns \['timestamp'\]"),
        ({"user_id": ["u"], "item_id": ["i"], "timestamp": ["x"]}, {}, "table 'interactions' cannot be cast"),
        ({"user_id": ["u"], "item_id": ["i"], "timestamp": [1.5]}, {}, "table 'interactions' cannot be cast"),
        (
            {"user_id": ["u"], "item_id": ["i"], "timestamp": [1]},
            {"columns": {"user_id": "who"}},
            "has no column 'who'",
        ),
    ],
)
def test_what_lacks_the_schema_is_refused(
    tmp_path: Path, columns: dict[str, list], options: dict[str, Any], message: str
):
    Dataset.from_dict(columns).save_to_disk(str(tmp_path))
    with pytest.raises(CorpusFormatError, match=message):
        load_corpus("datasets", tmp_path, **options)


def test_a_damaged_folder_is_refused(tmp_path: Path):
    hand_made_corpus().tables.save_to_disk(str(tmp_path))
    (path,) = (tmp_path / "interactions").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorpusFormatError, match="is not a data set that can be read"):
        load_corpus("datasets", tmp_path)


def test_what_is_neither_a_folder_nor_on_the_hub_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offline, as tests are, `datasets` says that it can't be reached."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((FileNotFoundError, ConnectionError)):
        load_corpus("datasets", "nobody/no-such-data-set")


def test_a_single_value_class_of_ids(tmp_path: Path):
    """Numbers as IDs become text."""
    table = Dataset.from_dict({"user_id": [1, 2], "item_id": [5, 5], "timestamp": [1, 2]})
    table.save_to_disk(str(tmp_path))
    assert load_corpus("datasets", tmp_path).interactions["item_id"][:] == ["5", "5"]
