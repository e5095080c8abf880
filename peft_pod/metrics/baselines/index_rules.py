"""Rules that count on from the numbers in items' names: what a model could do that has learned nothing else.

Where names are made from the training part alone, these rules are worth next to nothing. On the corpora of the P5 line
they beat published models, because items there were numbered in the order of whole histories, held-out items included.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.corpus.split import TrainingPart

from .base import Baseline
from .index_numbers import index_numbers
from .selection import FloatArray

if TYPE_CHECKING:
    from peft_pod.indexing import Indexing

_CELLS_AT_ONCE = 1_000_000
_ROWS_AT_ONCE = 4096
"""How many entries of the lists are made at a time, and of how many users at most."""


class IndexRule(Baseline):
    """Recommends items by arithmetic on the numbers that their names give them.

    After the last number the rules go on with the first, so that every item has its place. A user without a history
    gets the items from the first number on.

    Args:
        indexing: a fitted indexing, whose words give the numbers (see `index_numbers`); or the number of each item,
            from 0, by position.

    Raises:
        ValueError: the numbers are not each of 0, 1, … once.
    """

    def __init__(self, indexing: Indexing | Sequence[int] | IntArray) -> None:
        words = getattr(indexing, "item_words", None)
        self.numbers = np.asarray(indexing, dtype=np.int64) if words is None else index_numbers(words)
        if self.numbers.ndim != 1 or not np.array_equal(np.sort(self.numbers), np.arange(len(self.numbers))):
            raise ValueError("numbers must hold each of 0, 1, … once: give the place of each item in the order")

    def _fit(self, train: TrainingPart) -> None:
        if len(self.numbers) != train.num_items:
            raise ValueError(
                f"there are numbers for {len(self.numbers)} items and the catalogue has {train.num_items}; "
                "fit the indexing on the same corpus"
            )
        self._item_of = np.argsort(self.numbers)

    @abstractmethod
    def _anchors(self, numbers: IntArray, ends: IntArray) -> list[IntArray]:
        """The numbers that each user's list counts on from, most trusted first.

        Args:
            numbers: those of all items of all histories, one history after the other; none of them is empty.
            ends: where each history ends in `numbers`.
        """

    def scores(self, users: IntArray, histories: Sequence[IntArray]) -> FloatArray:
        """Minus the place in the rule's list, see `Baseline.scores`."""
        places = self._places(self._anchors_of(Ragged.of(histories)), self.numbers[None, :])
        return -places.astype(np.float64)

    def _best(self, users: IntArray, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        """The heads of the lists, counted out: the catalogue is not scored."""
        best = np.full((len(histories), k), -1, dtype=np.int64)
        # Long histories need long lists, so users of like length share a matrix.
        order = np.argsort(hidden.lengths, kind="stable")
        done = 0
        while done < len(order):
            longest = hidden.lengths[order[min(len(order), done + _ROWS_AT_ONCE) - 1]]
            rows = order[done : done + max(1, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // (k + int(longest))))]
            best[rows] = self._heads(histories.take(rows), hidden.take(rows), k)
            done += len(rows)
        return best

    def _listed_scores(self, users: IntArray, histories: Ragged, listed: Ragged) -> FloatArray:
        anchors = [anchor[listed.owners] for anchor in self._anchors_of(histories)]
        return -self._places(anchors, self.numbers[listed.values][:, None])[:, 0].astype(np.float64)

    def _heads(self, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        size = len(self.numbers)
        anchors = self._anchors_of(histories)
        steps = np.arange(min(size, k + int(hidden.lengths.max())))
        # Step s of anchor a stands at place `len(anchors) * s + a` of the list.
        listed = (np.stack(anchors, axis=1)[:, None, :] + 1 + steps[None, :, None]) % size
        listed = listed.reshape(len(histories), -1)
        items = self._item_of[listed]
        kept = self._places(anchors, listed) == np.arange(listed.shape[1])
        cells = np.arange(len(histories))[:, None] * size + items
        kept &= ~np.isin(cells, hidden.owners * size + hidden.values)
        kept &= np.cumsum(kept, axis=1) <= k
        best = np.full((len(histories), k), -1, dtype=np.int64)
        rows, columns = np.nonzero(kept)
        best[rows, np.cumsum(kept, axis=1)[rows, columns] - 1] = items[kept]
        return best

    def _places(self, anchors: Sequence[IntArray], numbers: IntArray) -> IntArray:
        """Where numbers stand in the list of each user for the first time; `numbers` has a row a user, or one row."""
        steps = [(numbers - anchor[:, None] - 1) % len(self.numbers) for anchor in anchors]
        places: IntArray = np.minimum.reduce([len(anchors) * step + which for which, step in enumerate(steps)])
        return places

    def _anchors_of(self, histories: Ragged) -> list[IntArray]:
        filled = np.flatnonzero(histories.lengths)
        flat = self.numbers[histories.values]
        anchors = []
        for found in self._anchors(flat, histories.offsets[1:][filled]) if len(filled) else []:
            anchor = np.full(len(histories), -1, dtype=np.int64)
            anchor[filled] = found
            anchors.append(anchor)
        return anchors or [np.full(len(histories), -1, dtype=np.int64)]


class LargestIndexRule(IndexRule):
    """Recommends `largest + 1, largest + 2, …`, where `largest` is the largest number in the history.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=list("abcde"), num_items=5, item_counts=np.ones(5))
        >>> LargestIndexRule([0, 1, 2, 3, 4]).fit(train).recommend([np.array([2, 0])], k=2)[0].tolist()
        [3, 4]
    """

    def _anchors(self, numbers: IntArray, ends: IntArray) -> list[IntArray]:
        return [_largest(numbers, ends)]


class InterleavedIndexRule(IndexRule):
    """Recommends `largest + 1, last + 1, largest + 2, last + 2, …`, each item once.

    `largest` is the largest number in the history and `last` that of its last item.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=list("abcde"), num_items=5, item_counts=np.ones(5))
        >>> InterleavedIndexRule([0, 1, 2, 3, 4]).fit(train).recommend([np.array([2, 0])], k=3)[0].tolist()
        [3, 1, 4]
    """

    def _anchors(self, numbers: IntArray, ends: IntArray) -> list[IntArray]:
        return [_largest(numbers, ends), numbers[ends - 1]]


INDEX_RULES: dict[str, type[IndexRule]] = {
    "largest index + 1": LargestIndexRule,
    "largest index + 1, last index + 1": InterleavedIndexRule,
}
"""The rules by the names under which results show them."""


def _largest(numbers: IntArray, ends: IntArray) -> IntArray:
    starts = np.concatenate([[0], ends[:-1]])
    largest: IntArray = np.maximum.reduceat(numbers, starts)
    return largest
