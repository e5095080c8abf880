"""Items named by their titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from peft_pod.corpus.split import TrainingPart

from .registry import register_indexing
from .settings import at_least
from .users import UserNumberingIndexing, Users

_NO_TITLE = "item"
_MOST_CHARACTERS = 60
_NO_WORD = re.compile(r"[\W_]+")
_MARKS = ("Mn", "Mc")
_VARIANTS = "".join(map(chr, range(0xFE00, 0xFE10)))
"""They say how the sign before is drawn, such as an emoji, and cannot be seen themselves."""
_LIKE_A_USER = re.compile(r"user_\d+", re.IGNORECASE)


@register_indexing
class TitleIndexing(UserNumberingIndexing):
    """Names each item by the first words of its title, such as `Mint_Soap_Bar`.

    A base that was trained on text knows something about the item before training begins: names are written in the
    base tokenizer's own pieces. Titles are normalised (Unicode NFKC); letters and digits are kept, with the marks that
    belong to them (the vowel signs of Hindi, Thai, Arabic), and all else parts words. Where several items have the same
    name, whatever the case of its letters, a number drawn at random tells them apart: `Mint_Soap_Bar_2`. Names are cut
    after `max_words` words and 60 characters, and an item without a title is `item_1`.

    Args:
        max_words: the most words of a title that a name has.
        separator: what stands between the words, a punctuation mark or a symbol. With a SentencePiece tokenizer (T5,
            mT5) the character U+2581, `"▁"`, gives exactly the pieces of the title as it stands in a text; others
            write it in bytes.
        users: how users are named, see `UserNumberingIndexing`.

    Raises:
        ValueError: an argument has a value that cannot be used.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> train.item_titles[7], TitleIndexing().fit(train).item_word(7)
        ('The Frozen River, Vol. 2', 'The_Frozen_River_Vol_2')
    """

    name = "title"

    def __init__(self, *, max_words: int = 6, separator: str = "_", users: Users = "index") -> None:
        super().__init__(users=users)
        if len(separator) != 1 or unicodedata.category(separator)[0] not in "PS" or separator in "<>":
            raise ValueError(
                f"separator must be a single punctuation mark or symbol other than < and >, such as '_', got "
                f"{separator!r}"
            )
        self.max_words = at_least("max_words", max_words, 1)
        self.separator = separator

    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Make words of the titles, in random order, so that numbers say nothing about the catalogue's order."""
        return self._named(train, [None] * train.num_items, rng)

    def make_new_item_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Make words of new titles that no other item has."""
        return self._named(train, words, rng)

    def _named(self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator) -> list[str]:
        found = list(words)
        taken = {word.casefold() for word in words if word is not None}
        used: dict[str, int] = {}
        for item in rng.permutation(train.num_items).tolist():
            if found[item] is not None:
                continue
            word = stem = self._stem(train.item_titles[item])
            key = stem.casefold()
            # A bare "item" would be the beginning of every other name without a title.
            while word.casefold() in taken or _LIKE_A_USER.fullmatch(word) or word == _NO_TITLE:
                used[key] = used.get(key, 0 if stem == _NO_TITLE else 1) + 1
                word = f"{stem}{self.separator}{used[key]}"
            taken.add(word.casefold())
            found[item] = word
        return [word for word in found if word is not None]

    def _stem(self, title: str) -> str:
        words = _spaced(unicodedata.normalize("NFKC", title)).split()
        stem = self.separator.join(words[: self.max_words])[:_MOST_CHARACTERS]
        return stem.rstrip(self.separator) or _NO_TITLE

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"max_words": self.max_words, "separator": self.separator, **super().options()}


def _spaced(title: str) -> str:
    """Letters and digits with the marks that belong to them, and spaces for all else."""
    if title.isascii():
        return _NO_WORD.sub(" ", title)
    kept: list[str] = []
    for character in title:
        belongs = bool(kept) and kept[-1] != " " and unicodedata.category(character) in _MARKS
        kept.append(character if character.isalnum() or (belongs and character not in _VARIANTS) else " ")
    return "".join(kept)
