"""Items that stand near the user's last items in the histories of others."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import sparse

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, TrainingPart
from peft_pod.indexing.neighbours import NeighbourCounts

from .sparse import SparseBaseline


class CooccurrenceBaseline(SparseBaseline):
    """Rank the catalogue by weighted co-occurrence with the last items of the history, see `NeighbourCounts`.

    Example:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(
        ...     item_ids=["a", "b", "c", "d"],
        ...     num_items=4,
        ...     item_counts=np.array([1, 1, 1, 9]),
        ...     sequences=[np.array([0, 1, 2])],
        ... )
        >>> baseline = CooccurrenceBaseline().fit(train)
        >>> baseline.scores(np.array([0]), [np.array([0])]).round(2).tolist()  # 1 / 2 and 1/2 / 2
        [[0.0, 0.5, 0.25, 0.0]]
    """

    def _fit(self, train: TrainingPart) -> None:
        self._counts = NeighbourCounts.fit(train)

    def sparse_scores(self, users: IntArray, histories: Sequence[IntArray]) -> sparse.csr_matrix:
        """Weighted co-occurrence with the history's last items, see `SparseBaseline.sparse_scores`."""
        return self._counts.scores(Ragged.of(histories))
