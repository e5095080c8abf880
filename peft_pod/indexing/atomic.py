"""One new token for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .coded import CodedIndexing, known_codes
from .registry import register_indexing
from .users import Users


@register_indexing
class AtomicIndexing(CodedIndexing):
    """Names each item by one new token, `<a_0>`, `<a_1>`, …, numbered at random.

    Inputs and answers are as short as can be, and what is known of an item beforehand goes into the start of its
    token's embedding (`start_items`). The vocabulary grows with the catalogue. An item that comes after training gets a
    token that the model has not learned: it cannot be recommended before further training.

    Args:
        users: how users are named, see `UserNumberingIndexing`.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing = AtomicIndexing().fit(train)
        >>> indexing.item_word(7), len(indexing.tokens())
        ('<a_272>', 300)
    """

    name = "atomic"

    def __init__(self, *, users: Users = "index") -> None:
        super().__init__(users=users)

    def item_codes(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """A random permutation."""
        return rng.permutation(train.num_items)[:, None]

    def make_new_item_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Number new items on, at random."""
        _, codes, new = known_codes(words)
        return self._write_new(words, new, codes.max() + 1 + rng.permutation(len(new))[:, None])

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"users": self.users}
