from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from datasets import Dataset

from benchmarks.corpus import make_interactions, make_items

ROOT = Path(__file__).parents[2]


def test_ends_with_one_line_of_json(tmp_path: Path):
    command = [sys.executable, "benchmarks/corpus.py", "--interactions", "20000", "--folder", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout.splitlines()[-1])
    assert list(result) == ["interactions", "minutes", "max_rss_gib"]
    assert result["interactions"] == 20_000
    assert 0 < result["minutes"] < 2
    assert 0.1 < result["max_rss_gib"] < 4
    assert list(tmp_path.iterdir()) == [], "the files are gone"
    for stage in ("read and check", "5-core", "leave-one-out", "random item IDs", "tokenised examples"):
        assert stage in finished.stderr


def test_what_is_made_is_uneven_and_follows_from_the_seed(tmp_path: Path):
    paths = [str(tmp_path / name) for name in ("first", "second", "other")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        make_interactions(Path(path), 30_000, 3000, 600, seed)
    first, second, other = (Dataset.from_file(path) for path in paths)
    assert first[:] == second[:]
    assert first[:] != other[:]
    items, counts = np.unique(first["item_id"][:], return_counts=True)
    counts = np.sort(counts)[::-1]
    # Popularity falls with the rank as rank^-0.9: ten times the rank, an eighth of the interactions.
    assert 0.08 < counts[100:110].mean() / counts[10:11].mean() < 0.2
    assert counts[:60].sum() > 0.4 * counts.sum()
    make_items(tmp_path / "items", 600)
    assert set(items) <= set(Dataset.from_file(str(tmp_path / "items"))["item_id"][:])
    activity = np.unique(first["user_id"][:], return_counts=True)[1]
    assert activity.max() > 4 * np.median(activity)
