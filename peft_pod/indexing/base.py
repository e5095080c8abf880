"""What an ID scheme is: it names every item and every user by a word."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from peft_pod.corpus.split import Split, TrainingPart

from .tokens import new_tokens
from .vectors import FloatArray, collaborative_vectors

if TYPE_CHECKING:
    from typing_extensions import Self


class NotFittedError(RuntimeError):
    """An indexing was asked for words before it had made any."""


class Indexing(ABC):
    """Names items and users by words, which a tokenizer then turns into tokens.

    A word is a string without spaces. No two items or users have the same one. Words are made from the training part
    alone: what is held out for evaluation cannot show in them (see docs/item-ids.md).

    To add a scheme, write a subclass with a name, `make_item_words` and `make_user_words` in a file of its own, put
    `@register_indexing` on it, and import it in `peft_pod/indexing/__init__.py`. A scheme with arguments returns them
    in `options`. One that can name new items later has `make_new_item_words` too.

    Class attributes:
        name: how configurations and results call the scheme.
        leaks: whether names are made from held-out items too, as in the paper's corpora. Such a scheme is used only
            where it is asked for by name, and says so wherever results are shown.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import load_indexing
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing = load_indexing("sequential").fit(train)
        >>> indexing.item_position(indexing.item_word(7)), sorted(indexing.item_words)[0]
        (7, 'item_0001')
    """

    name: ClassVar[str]
    leaks: ClassVar[bool] = False

    _words: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    _ids: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    _item_positions: Mapping[str, int]

    @abstractmethod
    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Name the items.

        Args:
            train: the training part; nothing else may be looked at.
            rng: the only source of chance.

        Returns:
            A word for each item, in the order of `train.item_ids`.
        """

    @abstractmethod
    def make_user_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Name the users: a word for each, in the order of `train.user_ids`; arguments as for items.

        Or no words at all: inputs then say nothing of who the user is but what they took.
        """

    def make_new_item_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Name the items that came since `fit`; a scheme that can do so overrides this.

        Args:
            train: the training part of the grown corpus; nothing else may be looked at.
            words: the word of each item by position in `train`, `None` for new ones.
            rng: the only source of chance.

        Returns:
            The same words, and one for each new item.

        Raises:
            ValueError: the scheme cannot.
        """
        raise ValueError(
            f"indexing {self.name!r} cannot name new items and leave the words of the others as they are: fit it to "
            "the grown corpus, and train again"
        )

    def make_new_user_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Name the users that came since `fit`, likewise."""
        raise ValueError(f"indexing {self.name!r} cannot name new users: fit it to the grown corpus, and train again")

    def start_vectors(self, train: TrainingPart, dimension: int) -> FloatArray:
        """Vectors from which the embeddings of IDs can start: here `collaborative_vectors`.

        Args:
            train: the training part; nothing else may be looked at.
            dimension: length of the vectors.

        Returns:
            A vector for each item by position, shape `(num_items, dimension)`; zeros where nothing is known of an item.
        """
        return collaborative_vectors(train, dimension)

    def tokens(self) -> Sequence[str]:
        """New tokens that the words are made of and that a tokenizer must be given; none where it needs none.

        They are read from the words: one that is nothing but tokens in angle brackets, such as `<a_12><b_7>`, is
        written with these.
        """
        return new_tokens((*self.item_words, *self.user_words))

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme, for saving."""
        return {}

    def fit(self, train: TrainingPart, seed: int = 0) -> Self:
        """Make the words.

        Args:
            train: the training part of a corpus.
            seed: of whatever the scheme draws. The same seed and training part give the same words.

        Returns:
            The indexing itself.

        Raises:
            ValueError: the scheme made a word twice, a word with spaces, or too few or too many words.
        """
        # Chance for users is a stream of its own, so that a scheme that draws more for items leaves users as they are.
        item_words = tuple(self.make_item_words(train, np.random.default_rng((seed, 0))))
        user_words = tuple(self.make_user_words(train, np.random.default_rng((seed, 1))))
        self._check_numbers(train, item_words, user_words)
        self._set_words(item_words, user_words)
        self._ids = tuple(train.item_ids), tuple(train.user_ids)
        return self

    def extend(self, train: TrainingPart, seed: int = 0) -> Self:
        """Name items and users that came after training, and leave the words of the others as they are.

        Old items and users are found by their IDs in the corpus, wherever they stand in the grown one. Which schemes
        can do so, and how, is said in `docs/item-ids.md`.

        Args:
            train: the training part of the grown corpus. It holds all items and users that have words.
            seed: of whatever the scheme draws.

        Returns:
            A new indexing for the grown corpus; this one stays as it is.

        Raises:
            ValueError: the scheme cannot name new items, an old item or user is missing, or the words were saved
                without the IDs they belong to.

        Warns:
            UserWarning: the new words need tokens that the tokenizer does not have yet.

        Example:
            >>> from peft_pod.corpus import load_corpus
            >>> from peft_pod.indexing import load_indexing
            >>> before, after = (load_corpus("embedded", num_items=items).split().train for items in (50, 60))
            >>> indexing = load_indexing("random").fit(before)
            >>> grown = indexing.extend(after)
            >>> grown.item_words[:50] == indexing.item_words, len(grown.item_words)
            (True, 60)
        """
        items = self._carried("item", train.item_ids)
        users = self._carried("user", train.user_ids) if self.user_words else []
        grown = copy.copy(self)
        if None in items:
            items = list(self.make_new_item_words(train, items, np.random.default_rng((seed, 2))))
        if None in users:
            users = list(self.make_new_user_words(train, users, np.random.default_rng((seed, 3))))
        item_words, user_words = tuple(map(str, items)), tuple(map(str, users))
        self._check_numbers(train, item_words, user_words)
        grown._set_words(item_words, user_words)
        grown._ids = tuple(train.item_ids), tuple(train.user_ids)
        known = set(self.tokens())
        added = [token for token in grown.tokens() if token not in known]
        if added:
            warnings.warn(
                f"indexing {self.name!r} named new items or users with {len(added)} new tokens, such as {added[0]!r}: "
                "the model cannot write them before its tokenizer has them and it was trained further",
                UserWarning,
                stacklevel=2,
            )
        return grown

    def _carried(self, kind: str, ids: Sequence[str]) -> list[str | None]:
        """The words of those who have one, by position among the IDs of a grown corpus."""
        old_words = self._fitted()[kind == "user"]
        if self._ids is None:
            raise ValueError(
                f"this indexing {self.name!r} was saved without the IDs that its words belong to: fit it anew"
            )
        word_of = dict(zip(self._ids[kind == "user"], old_words, strict=True))
        lost = word_of.keys() - set(ids)
        if lost:
            raise ValueError(
                f"{len(lost)} {kind}s that have words are not in the grown corpus, such as {min(lost)!r}: keep them "
                f"among its {kind}s"
            )
        return [word_of.get(one) for one in ids]

    def _check_numbers(self, train: TrainingPart, item_words: Sequence[str], user_words: Sequence[str]) -> None:
        for kind, words, wanted in (("item", item_words, train.num_items), ("user", user_words, train.num_users)):
            if len(words) != wanted and not (kind == "user" and not words):
                raise ValueError(f"indexing {self.name!r} made {len(words)} {kind} words for {wanted} {kind}s")

    def fit_split(self, split: Split, seed: int = 0) -> Self:
        """Make the words for a split corpus: from its training part, unless the scheme `leaks`."""
        return self.fit(split.train, seed)

    @property
    def item_words(self) -> tuple[str, ...]:
        """The word of each item, by position."""
        return self._fitted()[0]

    @property
    def user_words(self) -> tuple[str, ...]:
        """The word of each user, by position; none at all where the scheme does not name users."""
        return self._fitted()[1]

    def item_word(self, position: int) -> str:
        """The word of an item.

        Raises:
            IndexError: there is no item at that position.
        """
        return _word_at(self.item_words, position, "item")

    def user_word(self, position: int) -> str:
        """The word of a user.

        Raises:
            IndexError: there is no user at that position.
        """
        return _word_at(self.user_words, position, "user")

    def item_position(self, word: str) -> int:
        """The item that a word names.

        Raises:
            ValueError: the word names no item.
        """
        words = self.item_words
        if word not in self._item_positions:
            raise ValueError(f"{word!r} names no item; the words of the {len(words)} items look like {words[0]!r}")
        return self._item_positions[word]

    def to_dict(self) -> dict[str, Any]:
        """Everything that `from_dict` needs, in types that JSON knows."""
        saved = {
            "name": self.name,
            "options": self.options(),
            "item_words": list(self.item_words),
            "user_words": list(self.user_words),
        }
        if self._ids is not None:
            item_ids, user_ids = self._ids
            # Users without words need no IDs here.
            saved |= {"item_ids": list(item_ids), "user_ids": list(user_ids) if self.user_words else []}
        return saved

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` gave, without fitting; `indexing_from_dict` does so for any scheme.

        Raises:
            ValueError: an entry is missing, the data are of another scheme, or the words are not as they should be.
        """
        missing = [key for key in ("name", "options", "item_words", "user_words") if key not in data]
        if missing:
            raise ValueError(f"this is no saved indexing: it lacks {missing}; it has {sorted(data)}")
        if data["name"] != cls.name:
            raise ValueError(f"these are the words of indexing {data['name']!r}, not {cls.name!r}")
        indexing = cls(**data["options"])
        indexing._set_words(tuple(data["item_words"]), tuple(data["user_words"]))
        if "item_ids" in data and "user_ids" in data:
            indexing._ids = tuple(data["item_ids"]), tuple(data["user_ids"])
        return indexing

    def _fitted(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self._words is None:
            raise NotFittedError(f"indexing {self.name!r} has no words yet: call fit(train), or restore a saved one")
        return self._words

    def _set_words(self, item_words: tuple[str, ...], user_words: tuple[str, ...]) -> None:
        if not item_words:
            raise ValueError(f"indexing {self.name!r} needs at least one item")
        seen: set[str] = set()
        for word in (*item_words, *user_words):
            if not isinstance(word, str) or not word or any(character.isspace() for character in word):
                raise ValueError(f"indexing {self.name!r} made {word!r}, which is not a word without spaces")
            if word in seen:
                raise ValueError(
                    f"indexing {self.name!r} made the word {word!r} twice; every item and user needs its own"
                )
            seen.add(word)
        self._words = item_words, user_words
        self._item_positions = {word: position for position, word in enumerate(item_words)}


def _word_at(words: Sequence[str], position: int, kind: str) -> str:
    if not 0 <= position < len(words):
        raise IndexError(
            f"there is no {kind} at position {position}; the {len(words)} {kind}s are at 0 to {len(words) - 1}"
        )
    return words[position]
