"""Items that stand near the user's last items in the histories of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, TrainingPart
from peft_pod.indexing.cooccurrence import cooccurrence

from .sparse import SparseBaseline

MAX_STEPS = 3
"""Two items of a training sequence count as neighbours up to this many steps apart."""

LAST_ITEMS = 5
"""How many items of the history speak; each one half as loud as the one after it."""

_WHOLE = 6
"""Smallest number that the distances 1, 2, 3 divide: 1 / distance is counted in sixths to be exact."""


class CooccurrenceBaseline(SparseBaseline):
    """Rank the catalogue by weighted co-occurrence with the last items of the history.

    `score(j) = Σ_{r=0..4} 2⁻ʳ · C[h₋₁₋ᵣ, j] / (√count(j) + 1)`, where `h₋₁` is the last item of the history and
    `C[i, j] = Σ 1 / d` over all pairs of places in a training sequence that hold i and j, in either order, d ≤ 3
    steps apart. `count(j)` is how often j occurs in the training part; the division keeps frequent items from winning
    everywhere.

    Numerators are sums of small integers times powers of two, so they are exact in double precision and ties are
    ties whatever the order of summation.

    Example:
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
        self._matrix = (_WHOLE * cooccurrence(train.sequences, train.num_items, MAX_STEPS)).rint()
        self._divisor = _WHOLE * (np.sqrt(train.item_counts) + 1.0)

    def sparse_scores(self, users: IntArray, histories: Sequence[IntArray]) -> sparse.csr_matrix:
        """Weighted co-occurrence with the history's last items, see `SparseBaseline.sparse_scores`."""
        taken = Ragged.of(histories)
        steps_back = np.repeat(taken.lengths, taken.lengths) - taken.places - 1
        heard = steps_back < LAST_ITEMS
        weights = sparse.csr_matrix(
            (0.5 ** steps_back[heard], (taken.owners[heard], taken.values[heard])),
            shape=(len(taken), self._matrix.shape[0]),
        )
        scored = (weights @ self._matrix).tocsr()
        scored.data /= self._divisor[scored.indices]
        return scored
