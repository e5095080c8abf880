"""Reviews as sentences, and their words as numbers in flat arrays."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .ragged import IntArray
from .sentences import clean, split_sentences

BREAK, NUMBER = 0, 1
"""Numbers of what is no word: punctuation, the ends of sentences, and digits."""

_TOKEN = re.compile(r"[^\W\d_]+(?:['\-][^\W\d_]+)*|\d+|[^\w\s]")
BoolArray = npt.NDArray[np.bool_]
TokenArray = npt.NDArray[np.int32]
"""There is a number for each word of each review: half the memory is a lot."""


@dataclass(frozen=True)
class ReviewWords:
    """The words of some texts. Words are in small letters, and a word's number depends on nothing but the texts.

    Attributes:
        words: the word of each number; the numbers `BREAK` and `NUMBER` have "".
        sentences: all sentences, text by text.
        sentence_texts: for each sentence the position of its text.
        sentence_lengths: for each sentence how many words and numbers it has; `don't` is one, `4.5` two.
        tokens: the numbers of the words of all sentences, with a `BREAK` after each sentence.
        token_sentences: for each token the position of its sentence.
        capitals: for each token whether it is written as names are: a capital and small letters, not at the start of
            the sentence.
    """

    words: list[str]
    sentences: list[str]
    sentence_texts: IntArray
    sentence_lengths: IntArray
    tokens: TokenArray
    token_sentences: TokenArray
    capitals: BoolArray

    @property
    def token_texts(self) -> IntArray:
        """For each token the position of its text."""
        return self.sentence_texts[self.token_sentences]

    @property
    def before(self) -> TokenArray:
        """For each token the one before it; `BREAK` at the start of a sentence."""
        moved = np.roll(self.tokens, 1)
        moved[:1] = BREAK
        return moved

    @property
    def after(self) -> TokenArray:
        """For each token the one after it."""
        moved = np.roll(self.tokens, -1)
        moved[-1:] = BREAK
        return moved

    def among(self, words: Iterable[str]) -> BoolArray:
        """For each number whether its word is one of these."""
        known = set(words)
        return np.fromiter((word in known for word in self.words), dtype=np.bool_, count=len(self.words))


def read_words(texts: Iterable[str]) -> ReviewWords:
    """Clean texts, split them into sentences, and number their words.

    Args:
        texts: reviews as they were typed.

    Example:
        >>> read = read_words(["Nice mic. It has 2 clips!", "A mic"])
        >>> read.sentences, read.sentence_texts.tolist()
        (['Nice mic.', 'It has 2 clips!', 'A mic'], [0, 0, 1])
        >>> [read.words[number] for number in read.tokens]
        ['nice', 'mic', '', '', 'it', 'has', '', 'clips', '', '', 'a', 'mic', '']
    """
    spellings = _Spellings()
    sentences: list[str] = []
    sentence_texts: list[int] = []
    spelled, token_counts = array("i"), array("i")
    for place, text in enumerate(texts):
        found = split_sentences(clean(text))
        sentences += found
        sentence_texts += [place] * len(found)
        for sentence in found:
            row = _TOKEN.findall(sentence.replace("’", "'"))
            spelled.extend([spellings[token] for token in row])
            spelled.append(BREAK)
            token_counts.append(len(row) + 1)
    words, number_of = _number(spellings)
    as_name = np.fromiter((spelling.istitle() for spelling in spellings), np.bool_, count=len(spellings))
    token_spellings = np.asarray(spelled, dtype=np.int32)
    tokens = number_of[token_spellings]
    token_sentences = np.repeat(np.arange(len(sentences), dtype=np.int32), token_counts)
    inside = np.diff(token_sentences, prepend=-1) == 0
    return ReviewWords(
        words=words,
        sentences=sentences,
        sentence_texts=np.array(sentence_texts, dtype=np.int64),
        sentence_lengths=np.bincount(token_sentences[tokens != BREAK], minlength=len(sentences)),
        tokens=tokens,
        token_sentences=token_sentences,
        capitals=as_name[token_spellings] & inside,
    )


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, with digits and signs of punctuation between them.

    Example:
        >>> words_of("Don’t tune the E-string, 2nd")
        ["don't", 'tune', 'the', 'e-string', ',', '2', 'nd']
    """
    return _TOKEN.findall(text.lower().replace("’", "'"))


class _Spellings(dict[str, int]):
    """Numbers of tokens as they are spelled, handed out when one is first asked for; "" has the number 0."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number


def _number(spellings: Iterable[str]) -> tuple[list[str], TokenArray]:
    """The words, and for each spelling the number of its word."""
    numbers: dict[str, int] = {}
    number_of = [
        numbers.setdefault(spelling.lower(), len(numbers) + 2)
        if spelling[:1].isalpha()
        else NUMBER
        if spelling[:1].isdigit()
        else BREAK
        for spelling in spellings
    ]
    return ["", "", *numbers], np.array(number_of, dtype=np.int32)
