"""Items that are taken together share the beginning of their names."""

from __future__ import annotations

from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .clustered import ClusteredIndexing
from .clusters import FloatArray, clusters_in_clusters, ranks
from .coded import Form
from .registry import register_indexing
from .settings import at_least
from .users import Users
from .vectors import collaborative_vectors

_FULL = 0.75
"""How full clusters may be before there is one more level of them, so that they have room for items to come."""


@register_indexing
class CollaborativeIndexing(ClusteredIndexing):
    """Names items by clusters of the graph of who is taken together with whom in training, and a number in the cluster.

    As in the collaborative indexing of Hua et al. ("How to Index Item IDs for Recommendation Foundation Models",
    SIGIR-AP 2023), items are clustered spectrally and each cluster again. Here the graph is that of
    `collaborative_vectors` (items up to five steps apart in a history, weighted by positive pointwise mutual
    information); its leading eigenvectors are found once, and each item's row, scaled to length 1, is parted by k-means
    into clusters of equal size. So all items have names of one length, and the tree of names is no deeper than it must
    be. The number in the cluster is drawn from `branching` numbers.

    Args:
        branching: clusters in a cluster, and numbers in the last one.
        levels: how many levels of clusters; by default as many as leave a quarter of all names free.
        dimension: how many eigenvectors.
        form: see `CodedIndexing`.
        users: how users are named, see `UserNumberingIndexing`.

    Raises:
        ValueError: an argument has a value that cannot be used.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing = CollaborativeIndexing(branching=8).fit(train)
        >>> len(indexing.tokens()), indexing.item_word(7).count("<")
        (24, 3)
    """

    name = "collaborative"

    def __init__(
        self,
        *,
        branching: int = 32,
        levels: int | None = None,
        dimension: int = 32,
        form: Form = "tokens",
        users: Users = "index",
    ) -> None:
        super().__init__(form=form, users=users)
        self.branching = at_least("branching", branching, 2)
        self.levels = None if levels is None else at_least("levels", levels, 1, at_most=25)
        self.dimension = at_least("dimension", dimension, 1)

    def item_vectors(self, train: TrainingPart) -> FloatArray:
        """Rows of the leading eigenvectors of the training graph."""
        return collaborative_vectors(train, self.dimension)

    def cluster_codes(self, vectors: FloatArray, rng: np.random.Generator) -> IntArray:
        """Balanced clusters in clusters, and numbers drawn from `branching`."""
        levels = self.levels or self._enough_levels(len(vectors))
        codes = clusters_in_clusters(vectors, self.branching, levels, rng)
        return np.column_stack([codes, ranks(codes, rng, spread=self.branching)])

    def _enough_levels(self, num_items: int) -> int:
        levels = 1
        while num_items > _FULL * self.branching ** (levels + 1):
            levels += 1
        return levels

    def cluster_size(self, numbers_in_use: int) -> int:
        """As many as the numbers are drawn from."""
        return self.branching

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        own = {"branching": self.branching, "levels": self.levels, "dimension": self.dimension}
        return {**own, **super().options()}
