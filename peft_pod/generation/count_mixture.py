"""A model's probabilities mixed with what follows from counting: the one knows tastes, the other rare pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.tasks import HISTORY, Sample

from .item_filter import ItemSet

FloatArray = npt.NDArray[np.float64]


class CountMixture:
    """`p(j) = (1 − w) · p_model(j) + w · p_count(j)`, with `p_count` in proportion to `NeighbourCounts.scores`.

    As language models are mixed with what stands in their data (Khandelwal et al., "Generalization through
    Memorization: Nearest Neighbor Language Models", ICLR 2020). Where counting knows nothing, as of a question without
    a history, the model's probabilities stay as they are.

    Args:
        counts: of the training part.
        weight: w, the share of counting, between 0 and 1.

    Raises:
        ValueError: the weight is not between 0 and 1.
    """

    def __init__(self, counts: NeighbourCounts, weight: float) -> None:
        if not 0 < weight < 1:
            raise ValueError(f"the weight of counts must lie between 0 and 1, got {weight}")
        self.counts = counts
        self.weight = weight

    def probabilities(self, samples: Sequence[Sample], hidden: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """`p_count` of all items for each sample, by the history in its input.

        Args:
            samples: the questions.
            hidden: for each sample items that are not possible; their share goes to the others.

        Returns:
            Rows that sum to 1, or to 0 where nothing is known; shape `(len(samples), num_items)`.
        """
        scored = self.counts.scores(Ragged.of([sample.items.get(HISTORY, ()) for sample in samples]))
        gone = Ragged.of(hidden)
        shape = scored.shape
        masked = sparse.csr_matrix((np.ones(len(gone.values)), (gone.owners, gone.values)), shape=shape)
        scored = (scored - scored.multiply(masked > 0)).tocsr()
        scored.eliminate_zeros()
        return _with_sum_one(scored)

    def likeliest(self, probabilities: sparse.csr_matrix, k: int, among: ItemSet | None = None) -> IntArray:
        """The k items that are likeliest by counting.

        Args:
            probabilities: of counting; shape `(rows, num_items)`.
            k: how many; fewer where nothing is known of more.
            among: the items that may be found; all where it is left out.

        Returns:
            Positions, the likeliest first, −1 beyond the last; shape `(rows, k)`.
        """
        best = np.full((probabilities.shape[0], k), -1, dtype=np.int64)
        for row, (start, end) in enumerate(pairwise(probabilities.indptr.tolist())):
            items, chances = probabilities.indices[start:end], probabilities.data[start:end]
            if among is not None:
                kept = np.isin(items, among.items)
                items, chances = items[kept], chances[kept]
            order = np.lexsort((items, -chances))[:k]
            best[row, : len(order)] = items[order]
        return best

    def mixed(self, log_probabilities: FloatArray, items: IntArray, probabilities: sparse.csr_matrix) -> FloatArray:
        """Mixed log-probabilities of listed items.

        Args:
            log_probabilities: the model's; shape `(rows, listed)`.
            items: which items these are, −1 for none; likewise.
            probabilities: of counting, shape `(rows, num_items)`.

        Returns:
            Log-probabilities, −inf for none; shape `(rows, listed)`.
        """
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        counted = np.asarray(probabilities[rows, items.reshape(-1)]).reshape(items.shape)
        known = np.asarray(probabilities.sum(axis=1)).reshape(-1, 1) > 0
        weight = np.where(known, self.weight, 0.0)
        chances = np.where(items >= 0, (1 - weight) * np.exp(log_probabilities) + weight * counted, 0.0)
        with np.errstate(divide="ignore"):  # log 0 is what is meant
            return np.asarray(np.log(chances))

    def among(self, log_probabilities: FloatArray, items: IntArray, probabilities: sparse.csr_matrix) -> FloatArray:
        """As `mixed`, for lists from which one item is to be chosen: both probabilities are those among the listed.

        Args:
            log_probabilities: as for `mixed`, like the rest.
            items: likewise.
            probabilities: likewise.
        """
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        listed = np.where(items >= 0, np.asarray(probabilities[rows, items.reshape(-1)]).reshape(items.shape), 0.0)
        total = listed.sum(axis=1, keepdims=True)
        counted = np.divide(listed, total, out=np.zeros_like(listed), where=total > 0)
        weights = np.exp(log_probabilities - log_probabilities.max(axis=1, keepdims=True))
        modelled = weights / weights.sum(axis=1, keepdims=True)
        weight = np.where(total > 0, self.weight, 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log((1 - weight) * modelled + weight * counted))


def mixture_of(weight: float, counts: NeighbourCounts | None, num_items: int) -> CountMixture | None:
    """What mixes counts in; `None` where they have no weight.

    Args:
        weight: the share of counting.
        counts: of the training part.
        num_items: of the catalogue.

    Raises:
        ValueError: they have a weight, and there are none, or they are of another catalogue.
    """
    if weight == 0:
        return None
    if counts is None:
        raise ValueError(
            f"count_weight is {weight}, but there are no counts to mix in: give counts=NeighbourCounts.fit(train)"
        )
    if len(counts.item_counts) != num_items:
        raise ValueError(
            f"counts are of {len(counts.item_counts):,} items, and the catalogue has {num_items:,}: count the training "
            "part of this catalogue by NeighbourCounts.fit(train)"
        )
    return CountMixture(counts, weight)


def _with_sum_one(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    total = np.asarray(rows.sum(axis=1)).reshape(-1)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return (sparse.diags(scale) @ rows).tocsr()
