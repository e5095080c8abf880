"""What stands near the last items of a history in the histories of others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.corpus.split import TrainingPart
from peft_pod.files import replacing

from .cooccurrence import cooccurrence

MAX_STEPS = 3
"""Two items of a training sequence count as neighbours up to this many steps apart."""

LAST_ITEMS = 5
"""How many items of the history speak; each one half as loud as the one after it."""

_WHOLE = 6
"""Smallest number that the distances 1, 2, 3 divide: 1 / distance is counted in sixths to be exact."""

_ARRAYS = ("counts", "columns", "row_ends", "item_counts")


@dataclass(frozen=True, eq=False)
class NeighbourCounts:
    """Weighted co-occurrence of items in training histories.

    `score(j) = Σ_{r=0..4} 2⁻ʳ · C[h₋₁₋ᵣ, j] / (√count(j) + 1)`, where `h₋₁` is the last item of the history and
    `C[i, j] = Σ 1 / d` over all pairs of places in a training sequence that hold i and j, in either order, d ≤ 3
    steps apart. `count(j)` is how often j occurs in the training part; the division keeps frequent items from winning
    everywhere.

    Numerators are sums of small integers times powers of two, so they are exact in double precision and ties are
    ties whatever the order of summation.

    Attributes:
        matrix: six times C, whole numbers; shape `(num_items, num_items)`.
        item_counts: how often each item occurs in training; shape `(num_items,)`.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> counts = NeighbourCounts.fit(split.train)
        >>> counts.scores(split.histories("test")).shape
        (50, 300)
    """

    matrix: sparse.csr_matrix
    item_counts: IntArray

    @classmethod
    def fit(cls, train: TrainingPart) -> NeighbourCounts:
        """Count the training part, and nothing else."""
        matrix = (_WHOLE * cooccurrence(train.sequences, train.num_items, MAX_STEPS)).rint()
        return cls(matrix.tocsr(), np.asarray(train.item_counts))

    def scores(self, histories: Ragged) -> sparse.csr_matrix:
        """The scores of all items after each history; what is not stored is 0.

        Args:
            histories: positions of items, oldest first.

        Returns:
            Scores above 0, shape `(len(histories), num_items)`.
        """
        steps_back = np.repeat(histories.lengths, histories.lengths) - histories.places - 1
        heard = steps_back < LAST_ITEMS
        weights = sparse.csr_matrix(
            (0.5 ** steps_back[heard], (histories.owners[heard], histories.values[heard])),
            shape=(len(histories), self.matrix.shape[0]),
        )
        scored = (weights @ self.matrix).tocsr()
        scored.data /= self._divisor[scored.indices]
        return scored

    @cached_property
    def _divisor(self) -> npt.NDArray[np.float64]:
        divisor: npt.NDArray[np.float64] = _WHOLE * (np.sqrt(self.item_counts) + 1.0)
        return divisor

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts into a safetensors file, whole or not at all."""
        arrays = (self.matrix.data, self.matrix.indices, self.matrix.indptr, self.item_counts)
        whole = {name: np.ascontiguousarray(array, dtype=np.int64) for name, array in zip(_ARRAYS, arrays, strict=True)}
        with replacing(path) as temporary:
            save_file(whole, temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NeighbourCounts:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or holds something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist: the model was not saved with counts, or not to the end")
        try:
            found = load_file(path)
            data, columns, ends, item_counts = (found[name] for name in _ARRAYS)
            shape = (len(item_counts), len(item_counts))
            matrix = sparse.csr_matrix((data.astype(np.float64), columns, ends), shape=shape)
            matrix.check_format(full_check=True)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} holds no counts, or damaged ones: {error}") from error
        return cls(matrix, item_counts)
