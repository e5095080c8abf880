from __future__ import annotations

from pathlib import Path

import pytest

from peft_pod.corpus import CorpusFormatError
from peft_pod.corpus.recognise import recognise


def has(*names: str):
    return lambda path: [name for name in names if (path / name).is_file()]


FINDERS = {"one": has("a", "b"), "two": has("c")}


@pytest.mark.parametrize(("present", "name"), [("a", "one"), ("ab", "one"), ("c", "two")])
def test_the_one_format_whose_files_are_there(tmp_path: Path, present: str, name: str):
    for file in present:
        (tmp_path / file).touch()
    assert recognise(tmp_path, FINDERS) == name


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ("", "is not recognised: the folder has nothing. Known are one, two: name one"),
        ("xyz", "is not recognised: the folder has x, y, z. Known are one, two"),
        (
            "abc",
            "looks like several formats: 'one' by a, b; 'two' by c. Name one, as in load_corpus\\('one', folder\\)",
        ),
    ],
)
def test_none_or_several_are_refused(tmp_path: Path, present: str, message: str):
    for file in present:
        (tmp_path / file).touch()
    with pytest.raises(CorpusFormatError, match=message):
        recognise(tmp_path, FINDERS)


def test_what_is_not_a_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder or file .*missing"):
        recognise(tmp_path / "missing", FINDERS)
    (tmp_path / "file").touch()
    with pytest.raises(CorpusFormatError, match="file is not recognised: it is a single file"):
        recognise(tmp_path / "file", FINDERS)
