"""Numbers in words: how many digits they have, and which come next."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from peft_pod.corpus.split import IntArray

_NUMBER = re.compile(r"\d+")


def even_width(largest: int) -> int:
    """Digits that all numbers up to `largest` are padded to: as many as it has, or one more if that is odd.

    Example:
        >>> even_width(7), even_width(345)
        (2, 4)
    """
    digits = len(str(largest))
    return digits + digits % 2


def numbers_of(word: str) -> list[str]:
    """The numbers in a word, as written.

    Example:
        >>> numbers_of("item_12_0345")
        ['12', '0345']
    """
    return _NUMBER.findall(word)


def numbered(form: str, order: IntArray, pad: bool) -> list[str]:
    """Number from 1 what stands in an order.

    Args:
        form: the word, with `{}` for the number.
        order: all positions, in the order in which they are numbered.
        pad: whether to pad numbers to one even number of digits.

    Returns:
        Words by position.

    Example:
        >>> numbered("item_{}", np.array([2, 0, 1]), pad=True)
        ['item_02', 'item_03', 'item_01']
    """
    width = even_width(len(order)) if pad else 1
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return [form.format(f"{number:0{width}d}") for number in numbers.tolist()]


def numbered_on(form: str, words: Sequence[str | None], order: Sequence[int]) -> list[str]:
    """Give words the numbers after the largest one that some have.

    Args:
        form: as for `numbered`.
        words: words by position, `None` where one is missing.
        order: the positions without a word, in the order in which they are numbered.

    Returns:
        Words by position.

    Example:
        >>> numbered_on("item_{}", ["item_08", None, "item_09", None], [3, 1])
        ['item_08', 'item_11', 'item_09', 'item_10']
    """
    taken = [numbers_of(word)[-1] for word in words if word is not None]
    first = max(map(int, taken), default=0) + 1
    width = min(map(len, taken), default=even_width(len(order)))
    given = {position: form.format(f"{number:0{width}d}") for number, position in enumerate(order, first)}
    return [given[position] if word is None else word for position, word in enumerate(words)]
