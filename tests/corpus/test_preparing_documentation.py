"""The code of `docs/corpus.md` on preparing, splits and candidates runs as it is written, and its numbers are right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from peft_pod.corpus import load_corpus
from tests.corpora import real_data

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "corpus.md").read_text(encoding="utf-8")
SECTIONS = DOCS[DOCS.index("## Preparing") : DOCS.index("## Large corpora")]
CHECKS = """
assert [step.name for step in prepared.steps][-4:] == ["drop duplicates", "drop repeats", "rating threshold", "k-core"]
assert split.target(0, "test") >= -1 and len(split.fingerprint) == 12
assert len(sets) == len(split.evaluated_users("test"))
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS, re.DOTALL)
    assert len(blocks) == 3
    path = tmp_path / "script.py"
    path.write_text("\n".join([*blocks, CHECKS]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(
        [sys.executable, path.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert "exact duplicates dropped" in finished.stdout


def test_users_of_movielens_that_a_temporal_split_can_test() -> None:
    corpus = load_corpus("movielens-100k", real_data("movielens-100k"))
    users = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.1).evaluated_users("test")
    assert f"only {len(users)} of {corpus.split().train.num_users} have a test item" in re.sub(r"\s+", " ", SECTIONS)
