"""A token of the item's cluster, then a token of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .clustered import ClusteredIndexing
from .clusters import FloatArray, balanced_clusters
from .coded import Form
from .registry import register_indexing
from .settings import at_least
from .users import Users
from .vectors import collaborative_vectors


@register_indexing
class HybridIndexing(ClusteredIndexing):
    """Names each item by a cluster and a number that no other item has: `<a_12><b_345>`.

    Items of one cluster, which are taken together in training, share the first token, and what is learned about it;
    the second one is the item's own, as in `atomic`. Clusters are those of `collaborative`, at one level. An item that
    comes after training joins a cluster, but its second token is new, as in `atomic`.

    Args:
        clusters: how many clusters.
        dimension: how many eigenvectors of the training graph they are found in.
        form: see `CodedIndexing`.
        users: how users are named, see `UserNumberingIndexing`.

    Raises:
        ValueError: an argument has a value that cannot be used.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing = HybridIndexing(clusters=16).fit(train)
        >>> len(indexing.tokens()), indexing.item_word(7).count("<")
        (316, 2)
    """

    name = "hybrid"

    def __init__(
        self, *, clusters: int = 128, dimension: int = 32, form: Form = "tokens", users: Users = "index"
    ) -> None:
        super().__init__(form=form, users=users)
        self.clusters = at_least("clusters", clusters, 1)
        self.dimension = at_least("dimension", dimension, 1)

    def item_vectors(self, train: TrainingPart) -> FloatArray:
        """Rows of the leading eigenvectors of the training graph."""
        return collaborative_vectors(train, self.dimension)

    def cluster_codes(self, vectors: FloatArray, rng: np.random.Generator) -> IntArray:
        """Balanced clusters, and a random permutation."""
        codes = balanced_clusters(vectors, self.clusters, rng)
        return np.column_stack([codes, rng.permutation(len(vectors))])

    def cluster_size(self, numbers_in_use: int) -> None:
        """No limit: a new item's number is new anyway."""
        return None

    def new_numbers(self, old: IntArray, cluster_of: IntArray, joined: IntArray) -> IntArray:
        """Numbers that no item has."""
        return old.max() + 1 + np.arange(len(joined))

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"clusters": self.clusters, "dimension": self.dimension, **super().options()}
