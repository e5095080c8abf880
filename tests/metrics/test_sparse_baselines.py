"""The fast paths of baselines give what scoring the whole catalogue gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from peft_pod.corpus import Ragged
from peft_pod.metrics import Baseline, SparseBaseline, available_baselines, load_baseline
from peft_pod.metrics.baselines.selection import best_of_rows
from peft_pod.metrics.baselines.sparse import followed

from .test_baselines import NUM_ITEMS, as_arrays, histories, sequences, training_part


class Dense(Baseline):
    """What another baseline scores, without its ways round a table of users times items."""

    def __init__(self, other: Baseline) -> None:
        self.other = other

    def _fit(self, train) -> None:
        self.other.fit(train)

    def scores(self, users, histories) -> np.ndarray:
        return self.other.scores(users, histories)


@pytest.mark.parametrize("name", available_baselines())
@given(
    lists=sequences,
    taken=histories,
    k=st.integers(1, 12),
    exclude_seen=st.booleans(),
    allowed=st.none() | st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=9), min_size=5, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_lists_are_those_of_the_dense_scores(name, lists, taken, k, exclude_seen, allowed) -> None:
    train = training_part(lists)
    how = {"exclude_seen": exclude_seen, "candidates": None if allowed is None else as_arrays(allowed[: len(taken)])}
    fast = load_baseline(name).fit(train).recommend(as_arrays(taken), k, **how)
    dense = Dense(load_baseline(name)).fit(train).recommend(as_arrays(taken), k, **how)
    assert [row.tolist() for row in fast] == [row.tolist() for row in dense]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.sampled_from([-np.inf, 0.0, 1.0, 2.0])), max_size=8), max_size=6
    ),
    st.integers(1, 5),
)
def test_the_best_of_each_row(rows: list[list[tuple[int, float]]], k: int) -> None:
    scores = np.array([score for row in rows for _, score in row])
    found = best_of_rows(Ragged.of([[value for value, _ in row] for row in rows]), scores, k)
    for row, best in zip(rows, found.tolist(), strict=True):
        ranked = [value for value, score in sorted(row, key=lambda pair: -pair[1]) if score > -np.inf][:k]
        assert best == ranked + [-1] * (k - len(ranked))


@given(
    st.integers(1, 12).flatmap(
        lambda size: st.tuples(
            st.just(size),
            st.integers(1, size),
            st.lists(
                st.tuples(
                    st.lists(st.integers(0, size - 1), unique=True, max_size=size),
                    st.lists(st.integers(0, size - 1), max_size=9),
                ),
                min_size=1,
                max_size=5,
            ),
        )
    )
)
def test_rows_are_filled_with_the_smallest_free_numbers(drawn) -> None:
    size, k, rows = drawn
    hidden = [row for _, row in rows]
    top = [[number for number in chosen if number not in away][:k] for chosen, away in rows]
    table = np.array([row + [-1] * (k - len(row)) for row in top])
    filled = followed(table, Ragged.of(hidden), size)
    for row, away, found in zip(top, hidden, filled.tolist(), strict=True):
        free = [number for number in range(size) if number not in row and number not in away]
        expected = (row + free)[:k]
        assert found == expected + [-1] * (k - len(expected))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (sparse.csr_matrix((1, 2)), r"the shape \(1, 2\), not \(1, 9\)"),
        (sparse.csr_matrix(np.full((1, 9), np.nan)), "a score that is negative or not a finite number"),
        (sparse.csr_matrix(np.full((1, 9), -1.0)), "a score that is negative"),
    ],
)
def test_a_wrong_sparse_baseline_is_found_out(scores: sparse.csr_matrix, message: str) -> None:
    class Wrong(SparseBaseline):
        def _fit(self, train) -> None:
            pass

        def sparse_scores(self, users, histories) -> sparse.csr_matrix:
            return scores

    with pytest.raises(ValueError, match=f"Wrong.sparse_scores returned {message}"):
        Wrong().fit(training_part([[0]])).recommend(as_arrays([[0]]))
