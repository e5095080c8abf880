"""Words that are made of new tokens, such as `<a_12><b_7>`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TOKEN = re.compile(r"<[^<>\s]+>")
_DIGITS = re.compile(r"(\d+)")


def word_tokens(word: str) -> list[str]:
    """The new tokens that a word is written with; none where it is text, for a tokenizer to cut as it does.

    Example:
        >>> word_tokens("<a_12><b_7>"), word_tokens("item_12"), word_tokens("item<3>")
        (['<a_12>', '<b_7>'], [], [])
    """
    if not word.startswith("<"):
        return []
    found = _TOKEN.findall(word)
    return found if sum(map(len, found)) == len(word) else []


def new_tokens(words: Iterable[str]) -> tuple[str, ...]:
    """All new tokens of some words, each once, in the order of their names and numbers.

    Example:
        >>> new_tokens(["<a_12><b_7>", "<a_2><b_7>", "user_1"])
        ('<a_2>', '<a_12>', '<b_7>')
    """
    found = {token for word in words for token in word_tokens(word)}
    return tuple(sorted(found, key=_natural))


def _natural(token: str) -> tuple[tuple[str, int], ...]:
    # Text and number in turn, so that like is compared with like.
    parts = _DIGITS.split(token)
    numbers = [int(part) for part in parts[1::2]]
    return tuple(zip(parts[::2], [*numbers, -1], strict=True))
