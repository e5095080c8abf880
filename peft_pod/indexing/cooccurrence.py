"""How often items stand near each other in training histories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from peft_pod.corpus.ragged import IntArray, Ragged


def cooccurrence(sequences: Sequence[IntArray], num_items: int, max_steps: int) -> sparse.csr_matrix:
    """Count pairs of items that stand at most `max_steps` apart, each pair by the inverse of its distance.

    `C[i, j] = Σ 1 / d` over all pairs of places in one sequence that hold i and j, in either order, d ≤ `max_steps`
    apart.

    Args:
        sequences: for each user the items of the training part, oldest first.
        num_items: size of the catalogue.
        max_steps: the largest distance that counts, at least 1.

    Returns:
        The symmetric matrix C, shape `(num_items, num_items)`.

    Raises:
        ValueError: `max_steps` is below 1.

    Example:
        >>> cooccurrence([np.array([0, 1, 2])], 3, max_steps=2).toarray().tolist()
        [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.0]]
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    rows = Ragged.of(sequences)
    flat, owner = rows.values, rows.owners
    matrix = sparse.csr_matrix((num_items, num_items), dtype=np.float64)
    for distance in range(1, max_steps + 1):
        together = owner[:-distance] == owner[distance:]
        earlier, later = flat[:-distance][together], flat[distance:][together]
        weights = np.full(len(earlier), 1.0 / distance)
        matrix = matrix + sparse.csr_matrix((weights, (earlier, later)), shape=matrix.shape)
    return (matrix + matrix.T).tocsr()
