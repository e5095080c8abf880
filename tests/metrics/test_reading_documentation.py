"""The code in `docs/reading-the-model.md` runs as it is written."""

from __future__ import annotations

from pathlib import Path

from ..documentation import page, python_blocks, run_blocks

CHECKS = """
assert sum(group["users"] for group in groups) == 100
hits = sum(group["systems"]["model"]["hits"] for group in groups)
assert abs(hits / 100 - result.metrics["hr@10"]) < 1e-12
"""


def test_the_block_runs(tmp_path: Path) -> None:
    blocks = python_blocks(page("reading-the-model.md"))
    assert len(blocks) == 1
    run_blocks(blocks, tmp_path, checks=CHECKS)
