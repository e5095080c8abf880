from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.corpus import available_corpora, load_corpus


def test_available_corpora():
    assert available_corpora() == [
        "amazon-2014/beauty",
        "amazon-2014/sports",
        "amazon-2014/toys",
        "embedded",
        "movielens-100k",
        "pod",
        "saved",
    ]


@pytest.mark.parametrize(
    ("name", "with_folder", "options", "message"),
    [
        ("netflix", False, {}, "no corpus 'netflix'; known are amazon-2014/beauty, .*, saved"),
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
        ("pod", True, {}, "'pod' needs the option 'name'"),
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
