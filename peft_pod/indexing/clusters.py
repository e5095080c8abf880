"""Clusters of items with close vectors: of equal size, one inside the other, or of what the ones before left over."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from peft_pod.corpus.split import IntArray

FloatArray = npt.NDArray[np.float64]

_MOST_FITTED = 50_000
"""Centroids are fitted to at most so many vectors, drawn at random: more of them hardly move a centroid."""
_MOST_ROUNDS = 30
_CHUNK = 4096


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Vectors of length 1 in the same directions; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def fill_unknown(vectors: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Give items of which nothing is known, whose vectors are zeros, the vectors of others drawn at random.

    So they are spread over clusters as the others are.
    """
    known = vectors.any(axis=1)
    if not known.any():
        return rng.standard_normal(vectors.shape)
    filled = vectors.copy()
    filled[~known] = vectors[rng.choice(np.flatnonzero(known), int((~known).sum()))]
    return filled


def balanced_clusters(vectors: FloatArray, num_clusters: int, rng: np.random.Generator) -> IntArray:
    """Part vectors into clusters none of which is larger than it must be.

    The centroids are those of k-means, see `nearest_with_room`.

    Args:
        vectors: what to part, shape `(count, dimension)`.
        num_clusters: how many clusters. Up to so many vectors each get one of their own.
        rng: the only source of chance.

    Returns:
        The cluster of each vector. None has more than `ceil(count / num_clusters)`.

    Example:
        >>> points = np.array([[0.0], [0.1], [0.2], [9.0]])
        >>> np.bincount(balanced_clusters(points, 2, np.random.default_rng(0))).tolist()
        [2, 2]
    """
    count = len(vectors)
    if count <= num_clusters:
        return rng.permutation(num_clusters)[:count]
    return nearest_with_room(vectors, centroids(vectors, num_clusters, rng))


def nearest_with_room(vectors: FloatArray, book: FloatArray) -> IntArray:
    """Give each vector a centroid, no centroid more of them than it must take.

    Each vector asks for the nearest centroid that has room, a centroid takes the nearest of those who ask, and who is
    refused asks again.

    Example:
        >>> nearest_with_room(np.array([[0.0], [0.1], [0.2]]), np.array([[0.1], [5.0], [9.0]])).tolist()
        [2, 0, 1]
    """
    count, num_clusters = len(vectors), len(book)
    distances = _squared_distances(vectors, book)
    room = np.full(num_clusters, -(-count // num_clusters))
    clusters = np.full(count, -1)
    waiting = np.arange(count)
    while len(waiting):
        offered = np.where(room > 0, distances[waiting], np.inf)
        wanted = offered.argmin(axis=1)
        nearest_first = np.lexsort((offered[np.arange(len(waiting)), wanted], wanted))
        accepted = np.zeros(len(waiting), dtype=bool)
        accepted[nearest_first] = _place_in_group(wanted[nearest_first]) < room[wanted[nearest_first]]
        clusters[waiting[accepted]] = wanted[accepted]
        room -= np.bincount(wanted[accepted], minlength=num_clusters)
        waiting = waiting[~accepted]
    return clusters


def clusters_in_clusters(vectors: FloatArray, branching: int, levels: int, rng: np.random.Generator) -> IntArray:
    """Part vectors into balanced clusters, these again, and so on.

    Args:
        vectors: what to part.
        branching: clusters in a cluster.
        levels: how often to part.
        rng: the only source of chance.

    Returns:
        For each vector its cluster at each level, shape `(count, levels)`.
    """
    codes = np.zeros((len(vectors), levels), dtype=np.int64)
    for level in range(levels):
        for members in groups(codes[:, :level]):
            codes[members, level] = balanced_clusters(vectors[members], branching, rng)
    return codes


def residual_clusters(vectors: FloatArray, branching: int, levels: int, rng: np.random.Generator) -> IntArray:
    """Quantise vectors by residual k-means: each level clusters what the centroids before left over.

    This is the residual quantisation of semantic IDs (Rajput et al., "Recommender Systems with Generative Retrieval",
    NeurIPS 2023) with k-means for each codebook, in the place of a trained autoencoder. Of vectors that have the same
    codes before the last level, no more than must be get the same one at the last, the others the nearest that is
    free, as in LC-Rec (Zheng et al., "Adapting Large Language Models by Integrating Collaborative Semantics for
    Recommendation", ICDE 2024), so that few have all codes the same.

    Args:
        vectors: what to quantise.
        branching: codes of each level's codebook; fewer where there are fewer vectors.
        levels: number of codebooks.
        rng: the only source of chance.

    Returns:
        For each vector its code at each level, shape `(count, levels)`.
    """
    codes = np.zeros((len(vectors), levels), dtype=np.int64)
    left = vectors
    for level in range(levels):
        book = centroids(left, min(branching, len(left)), rng)
        if level == levels - 1:
            for members in groups(codes[:, :level]):
                codes[members, level] = nearest_with_room(left[members], book)
        else:
            codes[:, level] = nearest(left, book)
            left = left - book[codes[:, level]]
    return codes


def centroids(vectors: FloatArray, num_clusters: int, rng: np.random.Generator) -> FloatArray:
    """The centroids of k-means, by scikit-learn."""
    if len(vectors) > _MOST_FITTED:
        vectors = vectors[rng.choice(len(vectors), _MOST_FITTED, replace=False)]
    seed = int(rng.integers(2**31))
    with warnings.catch_warnings():
        # Said where there are fewer distinct vectors than clusters: equal ones then share a cluster, or fill several.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(num_clusters, n_init=1, max_iter=_MOST_ROUNDS, random_state=seed).fit(vectors).cluster_centers_


def nearest(vectors: FloatArray, book: FloatArray) -> IntArray:
    """The nearest centroid of each vector."""
    parts = [
        _squared_distances(vectors[start : start + _CHUNK], book).argmin(axis=1)
        for start in range(0, len(vectors), _CHUNK)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def groups(prefixes: IntArray) -> list[IntArray]:
    """The positions of equal rows, each group in order."""
    if not prefixes.shape[1]:
        return [np.arange(len(prefixes))]
    _, group = np.unique(prefixes, axis=0, return_inverse=True)
    group = group.reshape(-1)
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])


def ranks(prefixes: IntArray, rng: np.random.Generator, spread: int | None = None) -> IntArray:
    """Tell items of one cluster apart by a number, drawn at random.

    Args:
        prefixes: the clusters of each item, shape `(count, levels)`.
        rng: the only source of chance.
        spread: how many numbers to draw from, more where a cluster is larger. By default they run from 0 without gaps.
            Spread numbers leave each cluster some that are in use elsewhere: an item that comes later can have one.

    Returns:
        A number for each item, no two the same in one cluster.
    """
    found = np.zeros(len(prefixes), dtype=np.int64)
    members = groups(prefixes)
    largest = max(map(len, members), default=0)
    for positions in members:
        numbers = len(positions) if spread is None else max(spread, largest)
        found[positions] = rng.permutation(numbers)[: len(positions)]
    return found


def _place_in_group(sorted_groups: IntArray) -> IntArray:
    """How many equal numbers stand before each of sorted numbers."""
    starts = np.searchsorted(sorted_groups, sorted_groups, side="left")
    return np.arange(len(sorted_groups)) - starts


def _squared_distances(vectors: FloatArray, book: FloatArray) -> FloatArray:
    """Up to what is the same for all centroids, which decides nothing within a row, but does between rows."""
    lengths = (vectors**2).sum(axis=1, keepdims=True)
    return lengths - 2 * vectors @ book.T + (book**2).sum(axis=1)
