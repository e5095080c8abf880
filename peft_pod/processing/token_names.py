"""What a token of the vocabulary stands for, in words that a reader knows."""

from __future__ import annotations

from collections.abc import Sequence

from .processor import PODProcessor
from .words import WordTokenizer


class TokenNames:
    """Names tokens: by the title of an item where a token stands for that item alone, else as the tokenizer writes it.

    Args:
        processor: holds the tokenizer and the IDs.
        titles: of the items by position, `""` for one without; an item without a title is named by its ID's word.

    Raises:
        ValueError: there is not one title for each item.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import load_indexing
        >>> from peft_pod.tasks import load_task
        >>> from peft_pod.training import build_tokenizer
        >>> split = load_corpus("embedded", num_users=30, num_items=40).split()
        >>> indexing, tasks = load_indexing("sequential").fit(split.train), [load_task("sequential")]
        >>> tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
        >>> names = TokenNames(PODProcessor(tokenizer, indexing, tasks), split.train.item_titles)
        >>> token = names.processor.item_tokens()[3][0]
        >>> names(token) == f"“{split.train.item_titles[3]}”"
        True
    """

    def __init__(self, processor: PODProcessor, titles: Sequence[str]) -> None:
        words = processor.indexing.item_words
        if len(titles) != len(words):
            raise ValueError(f"titles has {len(titles)} entries for {len(words)} items; give one for each")
        self.processor = processor
        self._titles = titles
        self._items: dict[int, set[int]] = {}
        ids = set(processor.id_token_ids())
        tokenizer = WordTokenizer(processor.tokenizer)
        for first in (True, False):
            tokenizer.learn(words, first=first)
            for item, word in enumerate(words):
                for token in ids.intersection(tokenizer.encode(word, first=first)):
                    self._items.setdefault(token, set()).add(item)

    def __len__(self) -> int:
        """How many tokens have names."""
        return len(self.processor.tokenizer)

    def __call__(self, token: int) -> str:
        """The name of a token.

        Raises:
            ValueError: the tokenizer has no such token.
        """
        if not 0 <= token < len(self):
            raise ValueError(f"there is no token {token}; the tokenizer has those from 0 to {len(self) - 1}")
        items = self._items.get(token, set())
        written = str(self.processor.tokenizer.convert_ids_to_tokens(token))
        if len(items) == 1:
            (item,) = items
            return f"“{self._titles[item]}”" if self._titles[item] else self.processor.indexing.item_word(item)
        if items:
            return f"{written} ({len(items)} items)"
        return written
