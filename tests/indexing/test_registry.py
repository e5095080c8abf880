from __future__ import annotations

import importlib

import pytest

from peft_pod.indexing import (
    RandomIndexing,
    SequentialIndexing,
    available_indexings,
    indexing_from_dict,
    load_indexing,
    register_indexing,
)


def test_the_library_has_its_schemes() -> None:
    built = {"atomic", "collaborative", "hybrid", "random", "semantic", "sequential", "title"}
    assert built <= set(available_indexings())
    assert type(load_indexing("random")) is RandomIndexing
    assert type(load_indexing("sequential", pad=False)) is SequentialIndexing


@pytest.mark.parametrize("name", available_indexings())
def test_each_scheme_has_a_file_of_its_name(name: str) -> None:
    module = importlib.import_module(f"peft_pod.indexing.{name}")
    assert type(load_indexing(name)).__module__ == module.__name__


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown indexing 'sequence'.*'random'.*'sequential'"):
        load_indexing("sequence")
    with pytest.raises(ValueError, match="unknown indexing 'sequence'"):
        indexing_from_dict({"name": "sequence", "options": {}, "item_words": ["a"], "user_words": []})
    with pytest.raises(ValueError, match="lacks 'name'"):
        indexing_from_dict({"words": []})


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="'random' does not take the options \\['padding'\\]"):
        load_indexing("random", padding=False)


def test_a_name_is_taken_once() -> None:
    assert register_indexing(RandomIndexing) is RandomIndexing
    with pytest.raises(ValueError, match="already an indexing 'random'"):

        @register_indexing
        class Other(RandomIndexing):
            pass
