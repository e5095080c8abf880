"""The code of `docs/corpus.md` on preparing, splits and candidates runs as it is written, and its numbers are right."""

from __future__ import annotations

import re
from pathlib import Path

from peft_pod.corpus import load_corpus
from tests.corpora import real_data
from tests.documentation import page, python_blocks, run_blocks

DOCS = page("corpus.md")
SECTIONS = DOCS[DOCS.index("## Preparing") : DOCS.index("## Large corpora")]
CHECKS = """
assert [step.name for step in prepared.steps][-4:] == ["drop duplicates", "drop repeats", "rating threshold", "k-core"]
assert split.target(0, "test") >= -1 and len(split.fingerprint) == 12
assert len(sets) == len(split.evaluated_users("test"))
assert [len(row) for row in given] == [50] * 100
assert prepared.steps[-4].counts == {"exact duplicates dropped": 0}
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    blocks = python_blocks(SECTIONS)
    assert len(blocks) == 4
    printed = run_blocks(blocks, tmp_path, checks=CHECKS)
    assert "k-core (users 5, items 5)" in printed


def test_users_of_movielens_that_a_temporal_split_can_test() -> None:
    corpus = load_corpus("movielens-100k", real_data("movielens-100k"))
    users = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.1).evaluated_users("test")
    assert f"only {len(users)} of {corpus.split().train.num_users} have a test item" in re.sub(r"\s+", " ", SECTIONS)
