"""Vectors of items by what is written about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from peft_pod.corpus.split import TrainingPart

from .vectors import FloatArray

_MOST_WORDS = 50_000


def item_descriptions(train: TrainingPart) -> list[str]:
    """The title of each item, and its text where it has one."""
    texts = train.item_texts or [""] * train.num_items
    return [f"{title} {text}".strip() for title, text in zip(train.item_titles, texts, strict=True)]


def tfidf_vectors(texts: Sequence[str], dimension: int) -> FloatArray:
    """Latent semantic analysis: the leading singular vectors of TF-IDF weighted word counts, by scikit-learn.

    Args:
        texts: what to read. A word is two letters or digits, or more, in a row, whatever their case; counts go in
            as 1 + log.
        dimension: length of the vectors. Where the texts have fewer different words, the rest is zero.

    Returns:
        A vector for each text, shape `(len(texts), dimension)`: zeros where it has no word.

    Example:
        >>> vectors = tfidf_vectors(["mint soap", "soap of mint", "steel brush"], 2)
        >>> (vectors @ vectors.T > 0.5).tolist()
        [[True, True, False], [True, True, False], [False, False, True]]
    """
    vectors = np.zeros((len(texts), dimension))
    try:
        counts = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_WORDS).fit_transform(texts)
    except ValueError:  # there is not one word in all texts
        return vectors
    rank = min(dimension, *counts.shape)
    if rank < counts.shape[1]:
        vectors[:, :rank] = TruncatedSVD(rank, random_state=0).fit_transform(counts)
    else:
        vectors[:, :rank] = counts.toarray()
    return vectors


def sentence_vectors(texts: Sequence[str], model: str) -> FloatArray:
    """Embeddings of a sentence-transformers model.

    Args:
        texts: what to embed.
        model: a name on the Hub or a folder.

    Returns:
        A vector for each text.

    Raises:
        ValueError: sentence-transformers is not installed, or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ValueError(
            f"vectors={model!r} asks for a sentence-transformers model, which needs a package that is not installed: "
            "pip install 'peft-pod[semantic]', or use vectors=\"tfidf\" or a .npz file"
        ) from error
    try:
        encoder = SentenceTransformer(model)
    except OSError as error:
        raise ValueError(
            f"vectors={model!r} is neither 'tfidf', a .npy or .npz file, nor a sentence-transformers model that can be "
            f"loaded: {error}"
        ) from error
    return np.asarray(encoder.encode(list(texts), show_progress_bar=False), dtype=np.float64)


def load_vectors(path: str, item_ids: Sequence[str]) -> FloatArray:
    """Read vectors of items from a file of numpy.

    Args:
        path: a `.npz` file with the arrays `item_ids` (strings) and `vectors`, in any order and of more items than
            needed; or a `.npy` file with a vector for each item in the corpus' order.
        item_ids: the items.

    Returns:
        A vector for each item.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it lacks an array or an item, or has another form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"vectors={path!r}: there is no such file")
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return check_vectors(loaded, len(item_ids))
    with loaded:
        missing = {"item_ids", "vectors"} - set(loaded.files)
        if missing:
            raise ValueError(f"{path} lacks the arrays {sorted(missing)}; it has {sorted(loaded.files)}")
        ids, vectors = loaded["item_ids"].tolist(), loaded["vectors"]
    check_vectors(vectors, len(ids))
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    unknown = [item_id for item_id in item_ids if item_id not in row_of]
    if unknown:
        raise ValueError(f"{path} has no vectors for {len(unknown)} items, such as {unknown[0]!r}")
    return check_vectors(vectors[[row_of[item_id] for item_id in item_ids]], len(item_ids))


def check_vectors(vectors: FloatArray, num_items: int) -> FloatArray:
    """Check that there is a vector of finite numbers for each item.

    Raises:
        ValueError: there is not.
    """
    if vectors.ndim != 2 or len(vectors) != num_items or vectors.shape[1] == 0:
        raise ValueError(f"vectors must have shape ({num_items}, length), one for each item, got {vectors.shape}")
    if not np.issubdtype(vectors.dtype, np.number) or not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite numbers")
    return vectors.astype(np.float64)
