"""Vectors of items by who took what, from which the embeddings of their IDs can start."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits

from peft_pod.corpus.split import TrainingPart

from .cooccurrence import cooccurrence

FloatArray = npt.NDArray[np.float64]

WINDOW = 5
"""Items up to this many steps apart in a history count as neighbours."""

_DENSE_SIZE = 1000
"""Up to so many items the decomposition is done densely: it takes no time, and ARPACK, which is made for large
matrices, restarts at random where there are few distinct eigenvalues."""


def collaborative_vectors(train: TrainingPart, dimension: int, *, window: int = WINDOW) -> FloatArray:
    """Vectors of items; those of items that stand near each other in training histories are close.

    The inner products of the items' vectors come as near as so many dimensions allow to the positive pointwise mutual
    information `max(0, log(C[i, j] ΣC / (ΣC[i] ΣC[j])))` of the co-occurrence counts C (Levy & Goldberg, "Neural word
    embedding as implicit matrix factorization", NeurIPS 2014). They are its eigenvectors with the largest positive
    eigenvalues, each times the square root of its eigenvalue; a plain singular value decomposition would also take
    the largest negative ones and pull neighbours apart. Nothing is drawn at random, and held-out items are not looked
    at.

    Args:
        train: the training part.
        dimension: length of the vectors. Where the counts have fewer dimensions, the rest is zero.
        window: the largest distance between neighbours, in steps.

    Returns:
        A vector for each item by position, shape `(num_items, dimension)`: zeros where nothing is known of an item. The
        mean square of the numbers of the others is 1.

    Raises:
        ValueError: `dimension` or `window` is below 1.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> collaborative_vectors(train, 16).shape
        (300, 16)
    """
    if dimension < 1:
        raise ValueError(f"dimension must be at least 1, got {dimension}")
    information = _ppmi(cooccurrence(train.sequences, train.num_items, window))
    # One thread, so that sums are the same wherever it runs.
    with threadpool_limits(1):
        return _normalised(_factorised(information, dimension))


def _ppmi(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    pairs = counts.tocoo()
    totals = np.asarray(counts.sum(axis=1)).ravel()
    information = np.log(pairs.data * totals.sum() / (totals[pairs.row] * totals[pairs.col]))
    positive = information > 0
    return sparse.csr_matrix(
        (information[positive], (pairs.row[positive], pairs.col[positive])), shape=counts.shape, dtype=np.float64
    )


def _factorised(matrix: sparse.csr_matrix, dimension: int) -> FloatArray:
    """Rows whose inner products approximate a symmetric matrix, largest dimension first; `(rows, dimension)`."""
    size = matrix.shape[0]
    rank = min(dimension, size)
    if rank < size and size > _DENSE_SIZE:
        # The start decides the signs of eigenvectors: the same start gives the same vectors.
        start = np.random.default_rng(0).standard_normal(size)
        values, found = eigsh(matrix, k=rank, which="LA", v0=start)
    else:
        values, found = np.linalg.eigh(matrix.toarray())
    order = np.argsort(-values)[:rank]
    vectors = np.zeros((size, dimension))
    vectors[:, :rank] = found[:, order] * np.sqrt(np.maximum(values[order], 0))
    # Rounding leaves traces of the others in the rows of items that nothing is known of.
    vectors[np.asarray(matrix.sum(axis=1)).ravel() == 0] = 0
    return vectors


def _normalised(vectors: FloatArray) -> FloatArray:
    known = vectors.any(axis=1)
    return vectors / np.sqrt((vectors[known] ** 2).mean()) if known.any() else vectors
