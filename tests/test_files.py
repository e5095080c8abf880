from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.files import new_folder


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path):
    target = tmp_path / "deep" / "numbers"
    with new_folder(target) as temporary:
        (temporary / "one.txt").write_text("1")
        assert not target.exists()
    assert {path.name: path.read_text() for path in target.iterdir()} == {"one.txt": "1"}
    assert [path.name for path in target.parent.iterdir()] == ["numbers"]


def test_a_folder_has_the_rights_of_any_other(tmp_path: Path):
    (tmp_path / "usual").mkdir()
    with new_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_nothing_is_left_of_a_folder_that_fails(tmp_path: Path):
    def fail() -> None:
        with new_folder(tmp_path / "numbers") as temporary:
            (temporary / "one.txt").write_text("1")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(FileExistsError, match="is there already( with mine.txt)?; name a new or an empty folder"):
            new_folder(target).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as temporary:
        (temporary / "one.txt").write_text("1")
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["one.txt"]


def test_a_folder_of_its_own_kind_is_replaced(tmp_path: Path):
    target = tmp_path / "numbers"
    for name in ("one.txt", "two.txt"):
        with new_folder(target, replaceable=("one.txt", "two.txt")) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    with pytest.raises(FileExistsError, match=r"numbers is there already with two\.txt"):
        new_folder(target, replaceable=("one.txt",)).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]
