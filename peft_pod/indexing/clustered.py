"""Words of clusters of items and a number in the cluster: what `collaborative`, `semantic` and `hybrid` share."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from peft_pod.corpus.split import IntArray, TrainingPart

from .clusters import FloatArray, fill_unknown, unit_vectors
from .coded import CodedIndexing, known_codes

_CHUNK = 1024


class ClusteredIndexing(CodedIndexing):
    """Names items by the clusters that their vectors fall into, and by a number that no other of the cluster has.

    An item of which nothing is known, whose vector is zero, is put where another one, drawn at random, would be.

    An item that comes after training joins the cluster whose known items' mean vector points in the most similar
    direction to its own, of those that have a number left. For that, vectors of old and new items are made from the
    grown corpus; clusters stay as they are. One of which nothing is known joins a cluster drawn at random. New items
    are placed and numbered in random order, so that nothing tells of the catalogue's.
    """

    @abstractmethod
    def item_vectors(self, train: TrainingPart) -> FloatArray:
        """Vectors of the items, shape `(num_items, dimension)`; zeros where nothing is known of an item."""

    @abstractmethod
    def cluster_codes(self, vectors: FloatArray, rng: np.random.Generator) -> IntArray:
        """Clusters of vectors of length 1, and a number in the cluster; shape `(num_items, levels)`."""

    def cluster_size(self, numbers_in_use: int) -> int | None:
        """How many items a cluster may have when new ones join it; `None` for no limit.

        Args:
            numbers_in_use: how many different numbers there are in clusters so far. A larger cluster needs a new one.
        """
        return numbers_in_use

    def item_codes(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """The clusters of the items' vectors."""
        # Of items that are equally close, the first is served first. The catalogue's order may leak, so it is not that.
        order = rng.permutation(train.num_items)
        # One thread, so that sums are the same wherever it runs.
        with threadpool_limits(1):
            vectors = unit_vectors(self.item_vectors(train))[order]
            codes = self.cluster_codes(fill_unknown(vectors, rng), rng)
        placed = np.empty_like(codes)
        placed[order] = codes
        return placed

    def make_new_item_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Put new items into the nearest clusters that have a number left."""
        old, codes, new = known_codes(words)
        new = rng.permutation(new)
        clusters, cluster_of = np.unique(codes[:, :-1], axis=0, return_inverse=True)
        cluster_of = cluster_of.reshape(-1)
        with threadpool_limits(1):
            vectors = unit_vectors(self.item_vectors(train))
            size = self.cluster_size(len(np.unique(codes[:, -1])))
            room = np.full(len(clusters), len(new))
            if size is not None:
                room = np.maximum(size - np.bincount(cluster_of), 0)
            joined = _join(vectors[new], _means(vectors[old], cluster_of, len(clusters)), room, rng)
        numbers = self.new_numbers(codes[:, -1], cluster_of, joined)
        return self._write_new(words, new, np.column_stack([clusters[joined], numbers]))

    def new_numbers(self, old: IntArray, cluster_of: IntArray, joined: IntArray) -> IntArray:
        """Numbers for new items: those that are free in their clusters, first of all those in use in others.

        Args:
            old: the number of each old item.
            cluster_of: the cluster of each old item.
            joined: the cluster of each new item, these in random order.
        """
        wanted = set(joined.tolist())
        taken: dict[int, set[int]] = {cluster: set() for cluster in wanted}
        for cluster, number in zip(cluster_of.tolist(), old.tolist(), strict=True):
            if cluster in wanted:
                taken[cluster].add(number)
        in_use = np.unique(old).tolist()
        found = []
        for cluster in joined.tolist():
            numbers = itertools.chain(in_use, itertools.count())
            number = next(number for number in numbers if number not in taken[cluster])
            taken[cluster].add(number)
            found.append(number)
        return np.array(found, dtype=np.int64)


def _join(vectors: FloatArray, means: FloatArray, room: IntArray, rng: np.random.Generator) -> IntArray:
    """The nearest cluster of each vector that has room left; changes `room`."""
    joined = []
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK]
        closeness = part @ means.T
        unknown = ~part.any(axis=1)
        closeness[unknown] = rng.random((int(unknown.sum()), len(means)))
        for row in closeness:
            # Where no cluster has room, the nearest grows beyond its size.
            cluster = int(np.where(room > 0, row, -np.inf).argmax() if room.any() else row.argmax())
            room[cluster] -= room[cluster] > 0
            joined.append(cluster)
    return np.array(joined, dtype=np.int64)


def _means(vectors: FloatArray, cluster_of: IntArray, count: int) -> FloatArray:
    means = np.zeros((count, vectors.shape[1]))
    np.add.at(means, cluster_of, vectors)
    return unit_vectors(means)
