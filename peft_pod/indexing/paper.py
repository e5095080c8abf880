"""The order of the P5 and POD corpora, which gives held-out items away: for comparison with published numbers only."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from peft_pod.corpus.split import IntArray, Split, TrainingPart

from .numbered import NumberedIndexing
from .registry import register_indexing
from .users import Users

if TYPE_CHECKING:
    from typing_extensions import Self

LEAK_WARNING = (
    "Indexing 'paper' numbers items in the order of whole histories, held-out items included, as the published corpora "
    "of P5 and POD do. A rule without a model reads test items off these numbers. Results are comparable with those "
    "papers only and say little about recommendation."
)
"""What must stand wherever results with these names are shown."""


class LeakWarning(UserWarning):
    """Names of items or users were made from held-out data."""


@register_indexing
class PaperIndexing(NumberedIndexing):
    """Numbers items in the order of their first appearance in whole histories, **held-out items included**.

    So were the items of the P5 and POD corpora numbered (Geng et al., "Recommendation as Language Processing",
    RecSys 2022; Li et al., "Prompt Distillation for Efficient LLM-based Recommendation", CIKM 2023): a history often
    ends in 23, 24 and the held-out item is 25. Users are numbered in their order, which on those corpora tells of
    held-out items too. Items that nobody took come last, in random order. On `amazon-2014/*` the numbers are those of
    `sequential.txt`.

    Args:
        pad: whether to pad the numbers with zeros; off by default, as in the paper.
        users: how users are named, see `UserNumberingIndexing`.

    Example:
        >>> import warnings
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", LeakWarning)
        ...     indexing = PaperIndexing().fit_split(split)
        >>> indexing.item_word(int(split.train.sequences[0][0])), indexing.leaks
        ('item_1', True)
    """

    name = "paper"
    leaks = True

    _whole: IntArray | None = None

    def __init__(self, *, pad: bool = False, users: Users = "index") -> None:
        super().__init__(pad=pad, users=users)

    def fit(self, train: TrainingPart, seed: int = 0) -> NoReturn:
        """Refuse: the training part does not hold what these names are made of.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "indexing 'paper' numbers items by whole histories, held-out items included, which a training part does "
            "not hold: call fit_split(split), or choose a scheme that does not leak, such as 'sequential'"
        )

    def fit_split(self, split: Split, seed: int = 0) -> Self:
        """Make the words from whole histories, and warn.

        Args:
            split: the split corpus.
            seed: of the order of items that nobody took.

        Warns:
            LeakWarning: always.
        """
        warnings.warn(LEAK_WARNING, LeakWarning, stacklevel=2)
        self._whole = split.all_histories().values
        try:
            super().fit(split.train, seed)
        finally:
            self._whole = None
        return self

    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Items by first appearance in whole histories, one user after the other, then the others at random."""
        if self._whole is None:
            self.fit(train)
        items, first = np.unique(self._whole, return_index=True)
        others = np.setdiff1d(np.arange(train.num_items), items)
        return np.concatenate([items[np.argsort(first)], rng.permutation(others)])

    def user_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Users as they come."""
        return np.arange(train.num_users)
