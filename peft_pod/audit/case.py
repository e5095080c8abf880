"""What is audited, with what several checks need of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from peft_pod.corpus import Corpus
from peft_pod.corpus.encoding import EncodedInteractions, encode
from peft_pod.corpus.parts import Part
from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.corpus.split import Split
from peft_pod.indexing import Indexing
from peft_pod.metrics.baselines.index_numbers import index_numbers
from peft_pod.metrics.baselines.recent_popularity import are_places
from peft_pod.metrics.ranking import ranking_scores

from .finding import METRICS

BoolArray = npt.NDArray[np.bool_]

HELD_OUT: tuple[Part, Part] = ("validation", "test")

SURE = 1e-6
"""A check speaks of a leak only where chance would show as much in fewer than one of a million corpora."""


@dataclass(frozen=True)
class Case:
    """A corpus, its split and the words that name its items and users.

    Args:
        corpus: the corpus.
        split: of that corpus.
        indexing: fitted on that split.
        temporal: whether the split is said to be by the clock.
        candidates: for each evaluated user of the test part the list to choose from, or `None` for the protocol's own.
        seed: of whatever is drawn.

    Raises:
        ValueError: nobody has a test item, or the split or the words are not of this corpus.
    """

    corpus: Corpus
    split: Split
    indexing: Indexing
    temporal: bool
    candidates: Sequence[IntArray] | None = field(default=None, repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.users) == 0:
            raise ValueError(
                "nobody has a test item, so there is nothing that could be given away: " + self.split.why_nobody("test")
            )
        train, indexing = self.split.train, self.indexing
        if len(indexing.item_words) != train.num_items or len(indexing.user_words) not in (0, train.num_users):
            raise ValueError(
                f"indexing {indexing.name!r} has words for {len(indexing.item_words)} items and "
                f"{len(indexing.user_words)} users, the split has {train.num_items} and {train.num_users}: "
                "fit it on this split"
            )
        if self.walk != self.encoded.by_user(self.encoded.items):
            raise ValueError(f"the split is not of corpus {self.corpus.name!r}: its histories differ from the tables")

    @property
    def num_items(self) -> int:
        """Size of the catalogue."""
        return self.split.train.num_items

    @cached_property
    def encoded(self) -> EncodedInteractions:
        """The corpus' interactions by positions."""
        return encode(self.corpus.interactions, self.corpus.items)

    @cached_property
    def walk(self) -> Ragged:
        """Whole histories, held-out items included, in the order of the users."""
        return self.split.all_histories()

    @cached_property
    def times(self) -> Ragged:
        """When, aligned with `walk`."""
        return self.encoded.by_user(self.encoded.times)

    @cached_property
    def times_are_places(self) -> bool:
        """Whether timestamps are places in each user's own history, which cannot be compared between users."""
        return are_places(self.times)

    @cached_property
    def item_numbers(self) -> IntArray:
        """The place of each item in the order of the words."""
        return index_numbers(self.indexing.item_words)

    @cached_property
    def users(self) -> IntArray:
        """The users with a test item."""
        return self.split.evaluated_users("test")

    @cached_property
    def targets(self) -> IntArray:
        """Their test items."""
        return self.split.test_items[self.users]

    @cached_property
    def histories(self) -> Ragged:
        """What is known of them."""
        return self.split.histories("test").take(self.users)

    @cached_property
    def taken(self) -> sparse.csr_matrix:
        """Ones where a user took an item in training; shape `(num_users, num_items)`."""
        return binary(self.split.train.sequences, self.num_items)

    def places(self, part: Part) -> IntArray:
        """Where the held-out items of the evaluated users stand in the values of `walk`."""
        users = self.split.evaluated_users(part)
        known = self.split.histories(part).lengths
        return self.walk.offsets[:-1][users] + known[users]

    def worth(self, ranks: IntArray) -> dict[str, float]:
        """HR@1, HR@10 and NDCG@10 where the test items have these ranks, 0 for none; one for each evaluated user."""
        return worth(ranks)


def worth(ranks: IntArray) -> dict[str, float]:
    """HR@1, HR@10 and NDCG@10 of ranks, 0 for an item that is not in the list.

    Example:
        >>> worth(np.array([1, 0]))
        {'HR@1': 0.5, 'HR@10': 0.5, 'NDCG@10': 0.5}
    """
    scores = ranking_scores(ranks, (1, 10))
    return {name: scores[name.lower()] for name in METRICS}


def worth_of_chance(sizes: IntArray) -> dict[str, float]:
    """What is expected where the right item stands at any place of lists of these lengths, at least 1 each.

    Example:
        >>> worth_of_chance(np.array([20]))["HR@10"]
        0.5
    """
    gains = np.cumsum(1 / np.log2(np.arange(2, 12)))
    shown = np.minimum(sizes, 10)
    return {
        "HR@1": float((1 / sizes).mean()),
        "HR@10": float((shown / sizes).mean()),
        "NDCG@10": float((gains[shown - 1] / sizes).mean()),
    }


def binary(rows: Ragged, num_columns: int) -> sparse.csr_matrix:
    """Ones at the values of each row.

    Example:
        >>> binary(Ragged.of([[2, 2], [0]]), 3).toarray().tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    matrix = sparse.csr_matrix((np.ones(len(rows.values)), rows.values, rows.offsets), shape=(len(rows), num_columns))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def share(hits: BoolArray) -> float:
    """Share of hits; 0 of nothing."""
    return float(hits.mean()) if len(hits) else 0.0
