"""Small corpora for tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from datasets import Dataset

from peft_pod.corpus import Corpus


def hand_made_corpus() -> Corpus:
    """Three users and six items, small enough to check by eye; `cat` has too few items to hold any out."""
    taken = {"ann": ["a", "b", "c", "d", "e"], "bob": ["b", "c", "f", "a"], "cat": ["d", "e"]}
    rows = [(user, item, time) for user, items in taken.items() for time, item in enumerate(items)]
    sentences = [
        ("ann", "a", "the soap smells of mint", "mint"),
        ("ann", "d", "a soft towel", "soft"),
        ("ann", "e", "the brush is sturdy", "sturdy"),
        ("bob", "b", "a bright lamp", "bright"),
        ("cat", "d", "very soft", "soft"),
    ]
    return Corpus.from_tables(
        "hand-made",
        {
            "interactions": Dataset.from_dict(
                {
                    "user_id": [row[0] for row in rows],
                    "item_id": [row[1] for row in rows],
                    "timestamp": [row[2] for row in rows],
                }
            ),
            "items": Dataset.from_dict(
                {"item_id": list("abcdef"), "title": ["Soap", "Lamp", "Comb", "Towel", "Brush", "Mug"]}
            ),
            "explanations": Dataset.from_dict(
                {
                    "user_id": [row[0] for row in sentences],
                    "item_id": [row[1] for row in sentences],
                    "explanation": [row[2] for row in sentences],
                    "feature": [row[3] for row in sentences],
                }
            ),
        },
    )


def real_data(folder: str) -> Path:
    """A folder of the real data; skips the test where it is not there."""
    root = Path(os.environ.get("PEFT_POD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = root / folder
    if not path.is_dir():
        pytest.skip(f"real data {folder} is not here; set PEFT_POD_DATA to the folder that holds it")
    return path
