"""The code of `docs/corpus.md` on what can be loaded runs as it is written, and says what it says in its comments."""

from __future__ import annotations

import re
from pathlib import Path

from peft_pod.corpus import available_corpora
from tests.corpora import real_data
from tests.documentation import page, python_blocks, run_blocks

from .test_amazon import independent_count

DOCS = page("corpus.md")
SECTION = DOCS[DOCS.index("## What can be loaded") : DOCS.index("### MovieLens 100K")]
CHECKS = """
shop = load_corpus("shop")
assert shop.items[0] == {'item_id': 'B7', 'title': 'Soap', 'text': 'Brand: Acme. Categories: Home, Bath.'}
assert shop.steps[0].counts["exact duplicates dropped"] == 1
assert shop.interactions["review"][:] == ["Salt & lime", "Too small"]
assert atomic.items[0] == {'item_id': 'B7', 'title': 'Soap', 'text': 'categories: Home Bath.'}
assert own.interactions[0] == {'user_id': 'ann', 'item_id': 'B7', 'timestamp': 1500000000}
assert own.items[0] == {'item_id': 'B7', 'title': 'Soap'}
assert load_corpus("as-a-data-set").fingerprint == corpus.fingerprint
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    blocks = python_blocks(SECTION)
    assert len(blocks) == 3
    printed = run_blocks(blocks, tmp_path, before="from peft_pod.corpus import load_corpus", checks=CHECKS)
    assert "1 exact duplicates dropped" in printed


def test_the_table_has_every_format() -> None:
    listed = set(re.findall(r"^\| `([^`]+)`", SECTION, re.MULTILINE))
    assert listed == {name for name in available_corpora() if name not in ("amazon-2014/sports", "amazon-2014/toys")}


def test_the_counts_of_the_released_files() -> None:
    for folder, file, start in [
        ("amazon-2018-raw", "All_Beauty_5.json.gz", "| 2018, All_Beauty"),
        ("amazon-2018-raw", "AMAZON_FASHION_5.json.gz", "| 2018, AMAZON_FASHION"),
        ("amazon-2014-raw", "reviews_Musical_Instruments_5.part.json.gz", "| 2014, Musical_Instruments"),
    ]:
        _, counts = independent_count(real_data(folder) / file)
        (line,) = (line for line in SECTION.splitlines() if line.startswith(start))
        assert [int(value.replace(",", "")) for value in line.split("|")[2:-1]] == [
            counts["rows read"],
            counts["exact duplicates dropped"],
            counts["other rows of a user with an item that they have already"],
            counts["reviews without text"],
            counts["interactions at the same time as an earlier one of their user"],
            counts["interactions"],
        ]
