from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.corpus import CorpusFormatError, available_corpora, load_corpus

from .readers.formats import WRITERS


def test_available_corpora():
    assert available_corpora() == [
        "amazon-2014",
        "amazon-2014/beauty",
        "amazon-2014/sports",
        "amazon-2014/toys",
        "amazon-2018",
        "amazon-2023",
        "amazon-2023-ratings",
        "columns",
        "datasets",
        "embedded",
        "movielens",
        "movielens-100k",
        "movielens-1m",
        "pod",
        "recbole",
        "saved",
    ]


@pytest.mark.parametrize(
    ("name", "with_folder", "options", "message"),
    [
        ("netflix", False, {}, "no corpus 'netflix'; known are amazon-2014, .*, saved, and no folder 'netflix' either"),
        ("netflix", True, {}, "no corpus 'netflix'; known are amazon-2014, .*, saved$"),
        ("auto", False, {}, "'auto' tells the format from the files: give data_dir"),
        ("amazon-2018", True, {"year": 2014}, "'amazon-2018' has no option 'year'; its options are category, name"),
        ("embedded", True, {}, "'embedded' is made, not read: leave data_dir out"),
        (
            "embedded",
            False,
            {"users": 3},
            "'embedded' has no option 'users'; its options are num_users, num_items, seed",
        ),
        ("movielens-100k", False, {}, r"'movielens-100k' is read from files: give data_dir, .* u\.data and u\.item"),
        ("movielens-100k", True, {"seed": 1}, "'movielens-100k' has no option 'seed'; its options are repeats"),
        ("saved", False, {}, r"'saved' is read from files: give data_dir, .*Corpus\.save_to_disk wrote"),
        ("saved", True, {"name": "x"}, "'saved' has no option 'name'; it has no options"),
        ("pod", True, {"name": ""}, "name must be what to call the corpus, got ''"),
        ("amazon-2014/toys", True, {"name": "x"}, "'amazon-2014/toys' has no option 'name'; it has no options"),
        (
            "amazon-2014/toys",
            False,
            {},
            r"give data_dir, a folder with sequential\.txt\[\.gz\] and datamaps\.json\[\.gz\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name, with_folder, options, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(name, tmp_path if with_folder else None, **options)


@pytest.mark.parametrize("name", ["movielens-100k", "amazon-2014/toys", "saved"])
def test_the_folder_must_be_one_and_hold_the_files(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError, match=f"missing does not exist; '{name}' needs a folder with"):
        load_corpus(name, tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=f"file is not a folder; '{name}' needs a folder with"):
        load_corpus(name, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no file|it has no corpus\.json"):
        load_corpus(name, tmp_path / "empty")


def test_data_dir_may_be_text(tmp_path: Path):
    load_corpus("embedded", num_users=2).save_to_disk(tmp_path)
    assert load_corpus("saved", str(tmp_path)).name == "embedded"


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_the_format_is_told_from_the_files(tmp_path: Path, kind: str):
    name, write = WRITERS[kind]
    write(tmp_path)
    named = load_corpus(name, tmp_path)
    for loaded in (load_corpus(tmp_path), load_corpus(str(tmp_path)), load_corpus("auto", tmp_path)):
        assert (loaded.name, loaded.fingerprint, loaded.steps) == (named.name, named.fingerprint, named.steps)
    assert named.steps[0].name == f"read {name}"
    assert len(named.interactions) == 5


def test_a_saved_corpus_is_told_from_a_data_set(tmp_path: Path):
    corpus = load_corpus("embedded", num_users=5)
    corpus.save_to_disk(tmp_path)
    assert load_corpus(tmp_path).name == "embedded"
    (tmp_path / "corpus.json").unlink()
    assert load_corpus(tmp_path).steps[0].name == "read datasets"


def test_what_a_corpus_writes_is_recognised(tmp_path: Path):
    corpus = load_corpus("embedded", num_users=20)
    corpus.to_parquet(tmp_path / "parquet")
    corpus.to_pod_folder(tmp_path / "pod")
    loaded = load_corpus(tmp_path / "parquet")
    assert (loaded.name, loaded.fingerprint) == (corpus.name, corpus.fingerprint)
    users = {name: load_corpus(tmp_path / name).interactions for name in ("parquet", "pod")}
    taken = {name: sorted(zip(table["user_id"], table["item_id"], strict=True)) for name, table in users.items()}
    assert taken["pod"] == taken["parquet"]
    counts = load_corpus(tmp_path / "pod").steps[0].counts
    assert (counts["negatives"], counts["negatives that their user took"]) == (20 * 99, 0)
    assert counts["sentences of a user about an item that they did not take"] == 0


def test_options_go_to_the_format_that_was_told(tmp_path: Path):
    WRITERS["amazon-2018"][1](tmp_path)
    assert load_corpus(tmp_path, name="mine").name == "mine"
    with pytest.raises(ValueError, match="corpus 'amazon-2018' has no option 'delimiter'; its options are category"):
        load_corpus(tmp_path, delimiter=";")


def test_a_name_goes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("embedded", "shop"):
        (tmp_path / name).mkdir()
        WRITERS["recbole"][1](tmp_path / name)
    assert len(load_corpus("embedded", num_users=3).interactions) > 5
    assert load_corpus("shop").name == "home"


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([], "is not recognised: the folder has nothing. Known are amazon-2014, .*, saved: name one"),
        (
            ["recbole", "movielens"],
            r"several formats: 'movielens' by ratings\.csv, movies\.csv; 'recbole' by home\.inter",
        ),
        (["amazon-2014", "pod"], "several formats: 'amazon-2014' by reviews_Home_5.json.gz; 'pod' by sequential.txt"),
    ],
)
def test_unknown_and_ambiguous_folders_are_refused(tmp_path: Path, kinds: list[str], message: str):
    for kind in kinds:
        WRITERS[kind][1](tmp_path)
    with pytest.raises(CorpusFormatError, match=message):
        load_corpus(tmp_path)


def test_a_path_that_leads_nowhere_is_said_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder or file .*missing"):
        load_corpus(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        load_corpus(str(tmp_path / "missing"))
