"""Words that number items and users: what `random` and `sequential` share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .numbers import numbered, numbered_on
from .users import UserNumberingIndexing, Users

_FORM = "item_{}"


class NumberedIndexing(UserNumberingIndexing):
    """Names items `item_0001`, `item_0002`, … and users `user_01`, …, in an order that the scheme chooses.

    Numbers are padded with zeros to the same even number of digits throughout the corpus. So all items have names of
    one length, which beam search compares without favouring short ones; the digits pair up under the library's own
    tokenizer (`item_0345` is `item_`, `03`, `45`); and numbers that lie close share their first tokens. Items and users
    that come after training are numbered on.

    Args:
        pad: whether to pad the numbers; off for the paper's form, `item_42`.
        users: how users are named, see `UserNumberingIndexing`.
    """

    def __init__(self, *, pad: bool = True, users: Users = "index") -> None:
        super().__init__(users=users, pad=pad)

    @abstractmethod
    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Positions of all items, in the order in which they are numbered; arguments as for `make_item_words`."""

    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Number the items in the scheme's order, from 1."""
        return numbered(_FORM, self.item_order(train, rng), self.pad)

    def make_new_item_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Number new items on, in the scheme's order."""
        order = [item for item in self.item_order(train, rng).tolist() if words[item] is None]
        return numbered_on(_FORM, words, order)

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"pad": self.pad, **super().options()}
