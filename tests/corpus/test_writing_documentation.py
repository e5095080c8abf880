"""The code of `docs/corpus.md` on explanations and on writing runs as it is written, and its numbers are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peft_pod.corpus import load_corpus
from tests.corpora import real_data
from tests.documentation import page, python_blocks, run_blocks

DOCS = page("corpus.md")
SECTIONS = DOCS[DOCS.index("## Explanations from reviews") : DOCS.index("## The embedded corpus")]
CHECKS = """
found = explained.explanations
assert set(found["feature"]) == {"tone", "price"}
assert len(found) == len(corpus_of_reviews.interactions)
assert sorted(path.name for path in Path("as-pod").iterdir()) == [
    "datamaps.json", "explanation.json", "negative.txt", "sequential.txt"
]
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    blocks = python_blocks(SECTIONS)
    assert len(blocks) == 2
    printed = run_blocks(
        [blocks[0], "corpus_of_reviews = corpus", blocks[1]],
        tmp_path,
        before="from peft_pod.corpus import load_corpus",
        checks=CHECKS,
    )
    promised = re.search(r"^# (\{'user_id'.*\})$", blocks[0], re.MULTILINE)
    assert promised is not None
    assert printed.splitlines()[0] == promised[1]


@pytest.mark.parametrize(
    ("title", "format_name", "folder", "options"),
    [
        ("2014 Musical Instruments (part)", "amazon-2014", "amazon-2014-raw", {}),
        ("2018 All Beauty", "amazon-2018", "amazon-2018-raw", {"category": "All_Beauty"}),
        ("2018 Amazon Fashion", "amazon-2018", "amazon-2018-raw", {"category": "AMAZON_FASHION"}),
    ],
)
def test_the_table_of_real_reviews(title: str, format_name: str, folder: str, options: dict[str, str]) -> None:
    explained = load_corpus(format_name, real_data(folder), **options).with_explanations()
    counts = explained.steps[-1].counts
    assert explained.explanations is not None
    parts = " / ".join(f"{counts[f'{part} sentences']:,}" for part in ("train", "validation", "test"))
    copies = counts["held-out sentences that the user wrote in training too"]
    share = len(explained.explanations) / counts["interactions"]
    assert (
        f"| {title} | {counts['interactions']:,} | {share:.0%} | {parts} | {copies:,} |".replace("%", " %") in SECTIONS
    )
