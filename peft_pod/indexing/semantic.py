"""Items with like descriptions share the beginning of their names."""

from __future__ import annotations

from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .clustered import ClusteredIndexing
from .clusters import FloatArray, ranks, residual_clusters
from .coded import Form
from .registry import register_indexing
from .settings import at_least
from .text_vectors import check_vectors, item_descriptions, load_vectors, sentence_vectors, tfidf_vectors
from .users import Users

TFIDF = "tfidf"
GIVEN = "given"


@register_indexing
class SemanticIndexing(ClusteredIndexing):
    """Names items by residual k-means over vectors of their titles and texts, and a number where codes are the same.

    As the semantic IDs of TIGER (Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023), with
    k-means in the place of a trained autoencoder: the first code says which of `branching` centroids is nearest, the
    next one which is nearest to what is left over, and so on. The last number tells items with equal codes apart. What
    is written about an item is no interaction, so nothing held out can show.

    Args:
        vectors: where the vectors come from: `"tfidf"`, words weighted by TF-IDF and reduced by a singular value
            decomposition; the name of a sentence-transformers model (`pip install 'peft-pod[semantic]'`); a `.npz` or
            `.npy` file, see `load_vectors`; or an array with a row for each item of the training part. An array is not
            saved: set `vectors` again before a restored indexing names new items.
        branching: codes of each level.
        levels: how many levels, the last number not counted.
        dimension: length of the `"tfidf"` vectors.
        form: see `CodedIndexing`.
        users: how users are named, see `UserNumberingIndexing`.

    Raises:
        ValueError: an argument has a value that cannot be used.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> SemanticIndexing(branching=8, levels=2).fit(train).item_word(7).count("<")
        3
    """

    name = "semantic"

    def __init__(
        self,
        *,
        vectors: str | FloatArray = TFIDF,
        branching: int = 64,
        levels: int = 3,
        dimension: int = 64,
        form: Form = "tokens",
        users: Users = "index",
    ) -> None:
        super().__init__(form=form, users=users)
        if not isinstance(vectors, str | np.ndarray) or (isinstance(vectors, str) and not vectors):
            raise ValueError(f"vectors must be 'tfidf', the name of a model, a file or an array, got {vectors!r}")
        self.vectors = vectors
        self.branching = at_least("branching", branching, 2)
        self.levels = at_least("levels", levels, 1, at_most=25)
        self.dimension = at_least("dimension", dimension, 1)

    def item_vectors(self, train: TrainingPart) -> FloatArray:
        """Vectors of titles and texts, or those that were given.

        Raises:
            ValueError: those given are not one for each item, or were an array, which a saved indexing does not have;
                or the model cannot be loaded, or sentence-transformers is not installed.
            FileNotFoundError: there is no such file.
        """
        if isinstance(self.vectors, np.ndarray):
            return check_vectors(self.vectors, train.num_items)
        if self.vectors == GIVEN:
            raise ValueError("this indexing was made from an array, which is not saved: set its `vectors` again")
        if self.vectors.endswith((".npz", ".npy")):
            return load_vectors(self.vectors, train.item_ids)
        texts = item_descriptions(train)
        if self.vectors == TFIDF:
            return tfidf_vectors(texts, self.dimension)
        return sentence_vectors(texts, self.vectors)

    def cluster_codes(self, vectors: FloatArray, rng: np.random.Generator) -> IntArray:
        """Codes of residual k-means, and numbers from 0 for items with the same ones."""
        codes = residual_clusters(vectors, self.branching, self.levels, rng)
        return np.column_stack([codes, ranks(codes, rng)])

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {
            "vectors": self.vectors if isinstance(self.vectors, str) else GIVEN,
            "branching": self.branching,
            "levels": self.levels,
            "dimension": self.dimension,
            **super().options(),
        }
