"""The code in `docs/recommending.md` runs as it is written."""

from __future__ import annotations

from pathlib import Path

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import Recommender
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

from ..documentation import page, python_blocks, run_blocks

BLOCKS = python_blocks(page("recommending.md"))

CHECKS = """
assert {item.item_id for item in recommender.recommend(user, k=5, allowed_items=in_stock)} <= set(in_stock)
assert "'a new item'" in str(said[0].message)
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    split = load_corpus("embedded", num_users=20, num_items=60).split()
    indexing = load_indexing("random").fit(split.train)
    tasks = [load_task(name) for name in ("sequential", "topn", "explanation")]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2)
    Recommender(model.eval(), processor, Catalogue.from_split(split)).save_pretrained(tmp_path / "model")
    printed = run_blocks(BLOCKS, tmp_path, checks=CHECKS)
    assert printed.splitlines()[-1] == "True"
    assert len(BLOCKS) == 8
