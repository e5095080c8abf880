"""Words to tokens, each word once.

A sample is a list of words of which most are IDs that come back again and again. So every word is tokenised once, the
first time it is seen, and a sample is put together from what is remembered. For tokenizers that treat words between
spaces one by one (SentencePiece and byte-level BPE: T5, mT5, BART) the tokens are exactly those of the whole text.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

_PROBE = "a"
_BATCH = 10_000
"""So many words are tokenised at once: what a tokenizer returns is far larger than the tokens."""
_PACK = 500
"""So many texts are given to a tokenizer as one that is in parts already: alone, each takes more than twice as long."""


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A million words become millions of tuples, none of them garbage; looking through them again and again takes two
    # thirds of the time, and more than twice as long for twice as many.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class WordTokenizer:
    """Tokenises words one at a time and remembers them.

    Args:
        tokenizer: a fast tokenizer with an end-of-sequence and a padding token.

    Attributes:
        prefix: special tokens that the tokenizer puts before a text.
        suffix: special tokens that it puts after.

    Raises:
        ValueError: the tokenizer is not fast, lacks a special token, or merges words across spaces.

    Example:
        >>> from peft_pod.processing import train_tokenizer
        >>> words = WordTokenizer(train_tokenizer(["some text to learn from"]))
        >>> whole = words.tokenizer("some text", add_special_tokens=False)["input_ids"]
        >>> list(words.encode("some", first=True)) + list(words.encode("text")) == whole
        True
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"a fast tokenizer is needed, {type(tokenizer).__name__} is not one")
        for name in ("eos_token_id", "pad_token_id"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"the tokenizer has no {name.removesuffix('_id')}; set one before training")
        self.tokenizer = tokenizer
        self._known: dict[tuple[str, bool], tuple[int, ...]] = {}
        texts = [_PROBE, f"{_PROBE} {_PROBE}"]
        apart = self._each_alone(texts)
        self._tokenise = self._in_packs if self._in_packs(texts) == apart else self._each_alone
        self._probe = apart[0]
        self.prefix, self.suffix = self._special_tokens()

    def encode(self, word: str, *, first: bool = False) -> tuple[int, ...]:
        """Tokens of a word.

        Args:
            word: text without spaces.
            first: whether it is the first of its text: some tokenizers write the space before a word as part of it.
        """
        key = (word, first)
        if key not in self._known:
            self.learn([word], first=first)
        return self._known[key]

    def learn(self, words: Iterable[str], *, first: bool = False) -> None:
        """Tokenise many words in one go."""
        new = [word for word in dict.fromkeys(words) if (word, first) not in self._known]
        if not new:
            return
        for word in new:
            if word.split() != [word]:
                raise ValueError(f"{word!r} is not one word")
        with _no_garbage_collection():
            for start in range(0, len(new), _BATCH):
                some = new[start : start + _BATCH]
                tokens = self._tokenise(some if first else [f"{_PROBE} {word}" for word in some])
                for word, found in zip(some, tokens, strict=True):
                    own = found if first else self._after_probe(word, found)
                    # As a rule it is written alike in both places, and is then kept once.
                    other = self._known.get((word, not first))
                    self._known[word, first] = other if other == own else own

    def _after_probe(self, word: str, tokens: tuple[int, ...]) -> tuple[int, ...]:
        length = len(self._probe)
        if tokens[:length] != self._probe or len(tokens) == length:
            raise ValueError(
                f"the tokenizer does not write {word!r} as tokens of its own after a space; POD needs a tokenizer "
                "that keeps words apart"
            )
        return tokens[length:]

    def _in_packs(self, texts: list[str]) -> list[tuple[int, ...]]:
        packs = [texts[start : start + _PACK] for start in range(0, len(texts), _PACK)]
        # The masks would be thrown away, and for a million IDs they take longer than the tokens.
        encoded = self.tokenizer(
            packs,
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # which would say that a pack is longer than what models take
        )
        found: list[tuple[int, ...]] = []
        for number, pack in enumerate(packs):
            tokens = encoded["input_ids"][number]
            cuts = np.searchsorted(encoded.word_ids(number), np.arange(len(pack) + 1)).tolist()
            found.extend(tuple(tokens[start:end]) for start, end in pairwise(cuts))
        return found

    def _each_alone(self, texts: list[str]) -> list[tuple[int, ...]]:
        encoded = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )
        return [tuple(tokens) for tokens in encoded["input_ids"]]

    def _special_tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        whole = tuple(self.tokenizer(_PROBE)["input_ids"])
        length = len(self._probe)
        for start in range(len(whole) - length + 1):
            if whole[start : start + length] == self._probe:
                return whole[:start], whole[start + length :]
        raise ValueError("the tokenizer changes a text when it adds special tokens; POD cannot use it")
