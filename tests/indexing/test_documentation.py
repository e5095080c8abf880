"""The code in `docs/item-ids.md` runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from peft_pod.indexing import available_indexings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "item-ids.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

CHECKS = """
assert indexing.item_position(indexing.item_word(7)) == 7
assert indexing_from_dict(saved).item_words == indexing.item_words
assert clusters.user_words == () and all(token.startswith("<") for token in clusters.tokens())
assert after.item_words[:300] == before.item_words and len(after.item_words) == 330
popular = load_indexing("popularity").fit(split.train)
assert split.train.item_counts[popular.item_position("item_0001")] == split.train.item_counts.max()
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n".join([*BLOCKS, CHECKS]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180
    )
    assert finished.returncode == 0, finished.stderr
    assert len(BLOCKS) == 3


def test_the_tables_name_every_scheme() -> None:
    for scheme in available_indexings():
        assert PAGE.count(f"`{scheme}`") >= 2, scheme
