"""Words that number items and users: what `random` and `sequential` share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .base import Indexing


class NumberedIndexing(Indexing):
    """Names items `item_0001`, `item_0002`, … and users `user_01`, …, in an order that the scheme chooses.

    Numbers are padded with zeros to the same even number of digits throughout the corpus. So all items have names of
    one length, which beam search compares without favouring short ones; the digits pair up under the library's own
    tokenizer (`item_0345` is `item_`, `03`, `45`); and numbers that lie close share their first tokens.

    Args:
        pad: whether to pad the numbers; off for the paper's form, `item_42`.
    """

    def __init__(self, *, pad: bool = True) -> None:
        self.pad = pad

    @abstractmethod
    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Positions of all items, in the order in which they are numbered; arguments as for `make_item_words`."""

    @abstractmethod
    def user_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Positions of all users, likewise."""

    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Number the items in the scheme's order, from 1."""
        return _numbered("item", self.item_order(train, rng), self.pad)

    def make_user_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Number the users in the scheme's order, from 1."""
        return _numbered("user", self.user_order(train, rng), self.pad)

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"pad": self.pad}


def _numbered(kind: str, order: IntArray, pad: bool) -> list[str]:
    digits = len(str(len(order)))
    width = digits + digits % 2 if pad else 1
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return [f"{kind}_{number:0{width}d}" for number in numbers.tolist()]
