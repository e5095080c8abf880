from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.catalogue_growth import in_turn, mean_children
from peft_pod.generation import ItemTrie

from ..training.launching import environment

ROOT = Path(__file__).parents[2]


def test_children_are_those_of_nodes_that_lead_on() -> None:
    assert mean_children(ItemTrie([[5, 6], [5, 7], [8]], eos_token_id=1)) == 2
    # The end counts as a child of a node from which others branch off.
    assert mean_children(ItemTrie([[5, 6], [5, 7], [5], [8]], eos_token_id=1)) == 2.5


def test_catalogues_are_asked_in_turn_and_the_first_round_does_not_count() -> None:
    asked: list[str] = []
    calls = {
        name: [{"all": lambda name=name, batch=batch: asked.append(f"{name}{batch}")} for batch in (0, 1)]
        for name in ("small", "large")
    }
    seconds = in_turn(calls, rounds=2)
    assert asked == ["small0", "large0", "small1", "large1"] * 3
    assert {name: {what: len(taken) for what, taken in found.items()} for name, found in seconds.items()} == {
        "small": {"all": 4},
        "large": {"all": 4},
    }


@pytest.mark.slow
def test_it_ends_with_one_line_of_json(tmp_path: Path) -> None:
    sizes = ["--sizes", "200", "300", "--users", "2", "--rounds", "1", "--folder", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.catalogue_growth", *sizes]
    finished = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])["catalogues"]
    assert {scheme: list(sizes) for scheme, sizes in found.items()} == {
        scheme: ["200", "300"] for scheme in ("random", "collaborative")
    }
    for figures in (*found["random"].values(), *found["collaborative"].values()):
        assert all(value >= 0 for value in figures.values())
        assert figures["peak_mib"] > figures["before_mib"]
    assert list(tmp_path.iterdir()) == [], "the files are gone"
