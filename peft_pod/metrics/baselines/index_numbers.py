"""The order that the names of items have, as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from peft_pod.corpus.split import IntArray

_DIGITS = re.compile(r"(\d+)")


def index_numbers(words: Sequence[str]) -> IntArray:
    """Number words in the order of their pieces: texts by their letters, digits by their value.

    Words that number, such as `item_42` or `item_0042`, keep the order of their numbers; words of several tokens, such
    as `<a_12><b_7>`, are ordered by the first, then the next.

    Args:
        words: a distinct word for each item (or user).

    Returns:
        The place of each word in that order, from 0; shape `(len(words),)`.

    Example:
        >>> index_numbers(["item_10", "item_9", "item_1"]).tolist()
        [2, 1, 0]
        >>> index_numbers(["<a_2><b_1>", "<a_10><b_0>", "<a_2><b_0>"]).tolist()
        [1, 2, 0]
    """
    # The pieces alternate between text and digits, so like is compared with like at every place.
    keys = [
        tuple(int(piece) if place % 2 else piece for place, piece in enumerate(_DIGITS.split(word))) for word in words
    ]
    # Equal values with unequal zeros in front (`a_1`, `a_01`) are still two words.
    order = sorted(range(len(words)), key=lambda position: (keys[position], words[position]))
    numbers = np.empty(len(words), dtype=np.int64)
    numbers[order] = np.arange(len(words))
    return numbers


def are_numbered(words: Sequence[str]) -> bool:
    """Whether words differ in their digits alone, so that it makes sense to count on from one.

    Example:
        >>> are_numbered(["item_1", "item_2"]), are_numbered(["soap_1", "comb_2"])
        (True, False)
    """
    forms = {_DIGITS.sub("0", word) for word in words}
    return len(forms) <= max(1, len(words) // _WORDS_A_FORM)


_WORDS_A_FORM = 2
"""How many words there must be on average to one form, the word without its digits, for numbers to name the words."""
