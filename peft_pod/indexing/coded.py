"""Words that write codes: one number for each level of a scheme."""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .numbers import even_width, numbers_of
from .users import UserNumberingIndexing, Users

Form = Literal["tokens", "text"]


class CodedIndexing(UserNumberingIndexing):
    """Names items by codes from 0: as new tokens, `<a_12><b_7>`, or as text, `item_12_07`.

    Each level has tokens of its own: `<a_…>` for the first, `<b_…>` for the second. In text the numbers of a level
    have the same even number of digits throughout the corpus.

    Args:
        form: `"tokens"`, new tokens, which the base learns from nothing or from vectors (`start_items`); or `"text"`,
            in the tokenizer's own pieces.
        users: how users are named, see `UserNumberingIndexing`.

    Raises:
        ValueError: one of them has no such value.
    """

    def __init__(self, *, form: Form = "tokens", users: Users = "index") -> None:
        super().__init__(users=users)
        if form not in get_args(Form):
            raise ValueError(f"form must be one of {list(get_args(Form))}, got {form!r}")
        self.form = form

    @abstractmethod
    def item_codes(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Codes of the items, no two the same, shape `(num_items, levels)`; arguments as for `make_item_words`."""

    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Write the codes."""
        codes = self.item_codes(train, rng)
        return self._written(codes, [even_width(int(level.max())) for level in codes.T])

    def _written(self, codes: IntArray, widths: Sequence[int]) -> list[str]:
        if self.form == "tokens":
            form = "".join(f"<{letter}_{{}}>" for letter in string.ascii_lowercase[: codes.shape[1]])
        else:
            form = "item" + "".join(f"_{{:0{width}d}}" for width in widths)
        return [form.format(*row) for row in codes.tolist()]

    def _write_new(self, words: Sequence[str | None], new: IntArray, codes: IntArray) -> list[str]:
        """Put words of new codes in their places among words."""
        old = next(word for word in words if word is not None)
        found = list(words)
        for position, word in zip(new.tolist(), self._written(codes, list(map(len, numbers_of(old)))), strict=True):
            found[position] = word
        return [word for word in found if word is not None]

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"form": self.form, **super().options()}


def known_codes(words: Sequence[str | None]) -> tuple[IntArray, IntArray, IntArray]:
    """Read codes back.

    Returns:
        The positions of words, their codes, and the positions without a word.
    """
    old = np.array([position for position, word in enumerate(words) if word is not None], dtype=np.int64)
    new = np.array([position for position, word in enumerate(words) if word is None], dtype=np.int64)
    codes = [list(map(int, numbers_of(word))) for word in words if word is not None]
    return old, np.array(codes, dtype=np.int64), new
