"""Small corpora and words for audits, written down or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from peft_pod.audit.case import Case
from peft_pod.corpus import Corpus, Split
from peft_pod.corpus.split import IntArray
from peft_pod.indexing import Indexing


class GivenWords(Indexing):
    """Words that a test has made up: numbers of items and users by position."""

    name = "given"

    def __init__(self, items: Sequence[int] | IntArray, users: Sequence[int] | IntArray = ()) -> None:
        self.items = [f"item_{number}" for number in items]
        self.users = [f"user_{number}" for number in users]

    def make_item_words(self, train, rng) -> Sequence[str]:
        return self.items

    def make_user_words(self, train, rng) -> Sequence[str]:
        return self.users


def corpus_of(
    histories: Sequence[Sequence[int]],
    num_items: int,
    times: Sequence[Sequence[int]] | None = None,
    reviews: Sequence[Sequence[str]] | None = None,
    explanations: Sequence[tuple[int, int, str]] | None = None,
) -> Corpus:
    """A corpus of users `u0`, `u1`, … and items `i000`, `i001`, …; times are places unless they are given."""
    rows = [(user, place, item) for user, items in enumerate(histories) for place, item in enumerate(items)]
    columns = {
        "user_id": [f"u{user}" for user, _, _ in rows],
        "item_id": [f"i{item:03d}" for _, _, item in rows],
        "timestamp": [place if times is None else times[user][place] for user, place, _ in rows],
    }
    if reviews is not None:
        columns["review"] = [reviews[user][place] for user, place, _ in rows]
    ids = [f"i{item:03d}" for item in range(num_items)]
    tables = {
        "interactions": Dataset.from_dict(columns),
        "items": Dataset.from_dict({"item_id": ids, "title": [f"Item {item}" for item in range(num_items)]}),
    }
    if explanations is not None:
        tables["explanations"] = Dataset.from_dict(
            {
                "user_id": [f"u{user}" for user, _, _ in explanations],
                "item_id": [f"i{item:03d}" for _, item, _ in explanations],
                "explanation": [text for _, _, text in explanations],
                "feature": ["" for _ in explanations],
            }
        )
    return Corpus.from_tables("case", tables)


def case_of(
    corpus: Corpus,
    indexing: Indexing | None = None,
    split: Split | None = None,
    *,
    temporal: bool = False,
    candidates: Sequence[IntArray] | None = None,
) -> Case:
    """A case with words in the order of the tables, unless others are given."""
    split = split or corpus.split()
    indexing = indexing or GivenWords(range(split.train.num_items))
    return Case(corpus, split, indexing.fit(split.train), temporal, candidates)


def drawn_histories(num_users: int, num_items: int, length: int, seed: int = 0) -> list[list[int]]:
    """Histories without repeats, every item as likely as any other."""
    rng = np.random.default_rng(seed)
    return [rng.choice(num_items, length, replace=False).tolist() for _ in range(num_users)]


def first_appearance(histories: Sequence[Sequence[int]], num_items: int) -> IntArray:
    """The number of each item by first appearance, written as a loop; items that nobody took come last."""
    numbers: dict[int, int] = {}
    for items in histories:
        for item in items:
            numbers.setdefault(item, len(numbers))
    for item in range(num_items):
        numbers.setdefault(item, len(numbers))
    return np.array([numbers[item] for item in range(num_items)])
