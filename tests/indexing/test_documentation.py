"""The code in `docs/item-ids.md` runs as it is written."""

from __future__ import annotations

from pathlib import Path

from peft_pod.indexing import available_indexings

from ..documentation import page, python_blocks, run_blocks

PAGE = page("item-ids.md")
BLOCKS = python_blocks(PAGE)

CHECKS = """
assert indexing.item_position(indexing.item_word(7)) == 7
assert indexing_from_dict(saved).item_words == indexing.item_words
assert clusters.user_words == () and all(token.startswith("<") for token in clusters.tokens())
assert after.item_words[:300] == before.item_words and len(after.item_words) == 330
popular = load_indexing("popularity").fit(split.train)
assert split.train.item_counts[popular.item_position("item_0001")] == split.train.item_counts.max()
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    run_blocks(BLOCKS, tmp_path, checks=CHECKS)
    assert len(BLOCKS) == 3


def test_the_tables_name_every_scheme() -> None:
    for scheme in available_indexings():
        assert PAGE.count(f"`{scheme}`") >= 2, scheme
