"""The examples in docstrings run as they are written."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import peft_pod

MODULES = sorted(module.name for module in pkgutil.walk_packages(peft_pod.__path__, "peft_pod."))


def test_all_rooms_are_covered() -> None:
    rooms = {name.split(".")[1] for name in MODULES}
    assert {
        "tuner",
        "corpus",
        "indexing",
        "tasks",
        "processing",
        "training",
        "generation",
        "audit",
        "metrics",
        "commands",
    } <= rooms


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = import_module(name)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    output: list[str] = []
    for example in finder.find(module, name):
        runner.run(example, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
