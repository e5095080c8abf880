from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.indexing.clusters import (
    balanced_clusters,
    clusters_in_clusters,
    fill_unknown,
    groups,
    nearest_with_room,
    ranks,
    residual_clusters,
    unit_vectors,
)


def points(seed: int, count: int, dimension: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension))


def blobs(num_blobs: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    blob = rng.permutation(np.repeat(np.arange(num_blobs), size))
    return 10 * np.eye(num_blobs)[blob] + 0.1 * rng.standard_normal((len(blob), num_blobs)), blob


def by_loops(vectors: np.ndarray, book: np.ndarray) -> list[int]:
    """Deferred acceptance, one vector at a time: the next to be placed is the nearest to where it wants to go."""
    room = [-(-len(vectors) // len(book))] * len(book)
    clusters = [-1] * len(vectors)
    while -1 in clusters:
        asked: dict[int, list[tuple[float, int]]] = {}
        for place, vector in enumerate(vectors):
            if clusters[place] == -1:
                distances = [((vector - one) ** 2).sum() if room[number] else np.inf for number, one in enumerate(book)]
                asked.setdefault(int(np.argmin(distances)), []).append((min(distances), place))
        for number, askers in asked.items():
            for _, place in sorted(askers)[: room[number]]:
                clusters[place] = number
            room[number] -= min(room[number], len(askers))
    return clusters


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), num_clusters=st.integers(1, 9))
def test_places_are_those_of_a_loop(seed: int, count: int, num_clusters: int) -> None:
    vectors, book = points(seed, count), points(seed + 1, num_clusters)
    assert nearest_with_room(vectors, book).tolist() == by_loops(vectors, book)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), num_clusters=st.integers(1, 9), alike=st.booleans())
def test_no_cluster_is_larger_than_it_must_be(seed: int, count: int, num_clusters: int, alike: bool) -> None:
    vectors = np.ones((count, 3)) if alike else points(seed, count)
    clusters = balanced_clusters(vectors, num_clusters, np.random.default_rng(seed))
    sizes = np.bincount(clusters, minlength=num_clusters)
    assert len(sizes) == num_clusters
    assert sizes.max() <= -(-count // num_clusters)


def test_what_is_close_is_found_together() -> None:
    vectors, blob = blobs(5, 8)
    clusters = balanced_clusters(vectors, 5, np.random.default_rng(0))
    assert len(set(zip(blob.tolist(), clusters.tolist(), strict=True))) == 5


def test_clusters_in_clusters() -> None:
    """Nine blobs in three heaps: the first code tells the heap, both together the blob."""
    rng = np.random.default_rng(1)
    blob = rng.permutation(np.repeat(np.arange(9), 4))
    vectors = 100 * np.eye(3)[blob // 3] + 10 * np.eye(3)[blob % 3] + 0.1 * rng.standard_normal((36, 3))
    codes = clusters_in_clusters(vectors, 3, 2, rng)
    assert len(set(zip((blob // 3).tolist(), codes[:, 0].tolist(), strict=True))) == 3
    assert len({(one, *code) for one, code in zip(blob.tolist(), codes.tolist(), strict=True)}) == 9


def test_each_level_of_residual_codes_says_more() -> None:
    vectors = points(0, 400, 6)
    errors = []
    for levels in (1, 2, 3):
        codes = residual_clusters(vectors, 8, levels, np.random.default_rng(0))
        assert codes.shape == (400, levels)
        # What a code says is the mean of the vectors that have it.
        means = {tuple(codes[rows[0]]): vectors[rows].mean(axis=0) for rows in groups(codes)}
        errors.append(((vectors - np.array([means[tuple(code)] for code in codes.tolist()])) ** 2).mean())
    assert errors[0] < vectors.var()
    assert errors[2] < 0.6 * errors[1] < 0.6 * errors[0]


def test_few_vectors_share_all_residual_codes() -> None:
    codes = residual_clusters(np.ones((50, 2)), 8, 2, np.random.default_rng(0))
    assert max(map(len, groups(codes))) == 7  # 50 in 8, all of them alike


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([None, 3, 50]), st.integers(0, 99))
def test_ranks_tell_items_of_a_cluster_apart(prefix: list[int], spread: int | None, seed: int) -> None:
    prefixes = np.array(prefix)[:, None]
    found = ranks(prefixes, np.random.default_rng(seed), spread)
    pairs = list(zip(prefix, found.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    largest = np.bincount(prefix).max()
    assert found.max() < (largest if spread is None else max(spread, largest))
    if spread is None:
        for cluster in set(prefix):
            assert sorted(rank for one, rank in pairs if one == cluster) == list(range(prefix.count(cluster)))


def test_what_nothing_is_known_of_is_spread_as_the_others_are() -> None:
    vectors, _ = blobs(4, 25)
    vectors = np.concatenate([vectors, np.zeros((400, 4))])
    filled = fill_unknown(vectors, np.random.default_rng(0))
    np.testing.assert_array_equal(filled[:100], vectors[:100])
    spread = np.bincount(filled[100:].argmax(axis=1), minlength=4)
    assert spread.min() > 70
    assert fill_unknown(np.zeros((5, 2)), np.random.default_rng(0)).all()


def test_unit_vectors() -> None:
    np.testing.assert_allclose(unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])
