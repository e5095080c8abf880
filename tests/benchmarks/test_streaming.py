"""Slow: `pytest -m slow tests/benchmarks/test_streaming.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..training.launching import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_mapped_split_trains_the_same_in_less_memory(tmp_path: Path):
    sizes = ["--interactions", "3000000", "--users", "20000", "--items", "2000", "--steps", "4"]
    command = [sys.executable, "-m", "benchmarks.streaming", *sizes, "--folder", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout.splitlines()[-1])
    mapped, memory = result["mapped"], result["memory"]
    assert mapped["loss"] == memory["loss"]
    assert memory["own_mib"] - mapped["own_mib"] > result["split_mib"] / 2
    assert list(tmp_path.iterdir()) == [], "the files are gone"
