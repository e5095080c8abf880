from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import load_corpus
from peft_pod.indexing import collaborative_vectors

from .test_leak import split
from .training_parts import make_train

sequences_strategy = st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=5)


def dense_ppmi(sequences: list[list[int]], num_items: int, window: int) -> np.ndarray:
    """Positive pointwise mutual information by loops."""
    counts = np.zeros((num_items, num_items))
    for items in sequences:
        for place, item in enumerate(items):
            for distance in range(1, window + 1):
                if place + distance < len(items):
                    counts[item, items[place + distance]] += 1 / distance
                    counts[items[place + distance], item] += 1 / distance
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts * counts.sum() / np.outer(counts.sum(1), counts.sum(1)))
    return np.where(counts > 0, np.maximum(information, 0), 0)


@settings(deadline=None)
@given(sequences=sequences_strategy, window=st.integers(1, 4))
def test_inner_products_are_the_nearest_to_the_mutual_information(sequences: list[list[int]], window: int) -> None:
    """With enough dimensions they are its projection on the positive semidefinite matrices, up to a scale."""
    found = collaborative_vectors(make_train(sequences, 6), 8, window=window)
    values, vectors = np.linalg.eigh(dense_ppmi(sequences, 6, window))
    nearest = vectors * np.maximum(values, 0) @ vectors.T
    scale = np.trace(found @ found.T) / np.trace(nearest) if nearest.any() else 1.0
    np.testing.assert_allclose(found @ found.T, scale * nearest, atol=1e-6 * max(scale, 1))


def test_neighbours_are_close_and_strangers_are_not() -> None:
    items = collaborative_vectors(make_train([[0, 1, 2], [2, 0, 1], [3, 4, 5], [5, 3, 4]], 6), 4)
    cosines = items @ items.T / np.outer(np.linalg.norm(items, axis=1), np.linalg.norm(items, axis=1))
    assert cosines[0, 1] > 0.9
    assert cosines[3, 5] > 0.9
    assert abs(cosines[0, 3]) < 1e-6


def test_scale_and_what_nothing_is_known_of() -> None:
    vectors = collaborative_vectors(make_train([[0, 1, 2], [1, 0], []], 4), 3)
    assert (vectors[:3] ** 2).mean() == pytest.approx(1)
    assert not vectors[3].any()


def test_the_same_training_part_gives_the_same_vectors() -> None:
    train = load_corpus("embedded", num_users=50).split().train
    first, second = collaborative_vectors(train, 16), collaborative_vectors(train, 16)
    np.testing.assert_array_equal(first, second)


def test_held_out_items_do_not_show() -> None:
    histories = [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 0, 1, 2]]
    swapped = [[0, 1, 2, 8, 9], [4, 5, 6, 0, 3], [8, 9, 0, 7, 5]]
    before, after = split(histories), split(swapped)
    assert before.test_items.tolist() != after.test_items.tolist()
    first, second = (collaborative_vectors(part.train, 4) for part in (before, after))
    np.testing.assert_array_equal(first, second)


def test_a_dimension_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension must be at least 1, got 0"):
        collaborative_vectors(make_train([[0, 1]], 2), 0)
