"""How long schemes of item IDs take to make, how many new tokens they need and how long their IDs are.

    python -m benchmarks.item_ids [--corpus embedded] [--data-dir DIR] [--schemes random atomic ...]
    python -m benchmarks.item_ids --items 200000 --users 500000

Prints one JSON object a scheme. With `--items`, users take ten items each from groups of a hundred. IDs are written by
the tokenizer of a base from scratch, those that are text in pieces (`--id_tokens pieces`).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from peft_pod.corpus import TrainingPart, load_corpus
from peft_pod.corpus.ragged import Ragged
from peft_pod.indexing import available_indexings, load_indexing
from peft_pod.processing import WordTokenizer
from peft_pod.training import build_tokenizer

GROUP = 100
HISTORY = 10
WORDS = 20_000


def main() -> None:
    """Measure each scheme."""
    known = [name for name in available_indexings() if not load_indexing(name).leaks]
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", default="embedded")
    parser.add_argument("--data-dir")
    parser.add_argument("--items", type=int, help="make a corpus of so many items instead")
    parser.add_argument("--users", type=int, default=100_000, help="of the corpus that is made")
    parser.add_argument("--schemes", nargs="+", default=known, choices=known)
    options = parser.parse_args()
    if options.items is None:
        train = load_corpus(options.corpus, options.data_dir).split().train
    else:
        train = synthetic(options.items, options.users)
    for scheme in options.schemes:
        print(json.dumps(measure(train, scheme)), flush=True)


def measure(train: TrainingPart, scheme: str) -> dict[str, Any]:
    """Fit a scheme and write its words."""
    start = time.perf_counter()
    indexing = load_indexing(scheme, users="none").fit(train)
    seconds = time.perf_counter() - start
    words = WordTokenizer(build_tokenizer("scratch:tiny", train, indexing, [], id_tokens="pieces"))
    words.learn(indexing.item_words)
    lengths = [len(words.encode(word)) for word in indexing.item_words]
    return {
        "scheme": scheme,
        "items": train.num_items,
        "seconds": round(seconds, 1),
        "new_tokens": len(indexing.tokens()),
        "mean_tokens": round(float(np.mean(lengths)), 2),
        "max_tokens": max(lengths),
    }


def synthetic(num_items: int, num_users: int) -> TrainingPart:
    """Users who take seven in ten items from a group of their own, and titles whose words are those of groups."""
    rng = np.random.default_rng(0)
    owners = np.repeat(rng.integers(max(num_items // GROUP, 1), size=num_users), HISTORY)
    near = owners * GROUP + rng.integers(GROUP, size=len(owners))
    taken = np.where(rng.random(len(owners)) < 0.7, near, rng.integers(num_items, size=len(owners))) % num_items
    sequences = Ragged.from_lengths(taken, np.full(num_users, HISTORY))
    words = (np.arange(num_items)[:, None] // GROUP * 7 + rng.integers(40, size=(num_items, 8)) ** 2) % WORDS
    return TrainingPart(
        user_ids=[f"u{user}" for user in range(num_users)],
        item_ids=[f"i{item}" for item in range(num_items)],
        item_titles=[" ".join(f"w{word}" for word in row) for row in words.tolist()],
        sequences=sequences,
        timestamps=sequences,
        explanations=[],
    )


if __name__ == "__main__":
    main()
