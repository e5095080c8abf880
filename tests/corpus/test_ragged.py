from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.corpus import Ragged

rows_of_numbers = st.lists(st.lists(st.integers(-5, 5), max_size=5), max_size=8)


def listed(rows: Ragged) -> list[list[int]]:
    return [row.tolist() for row in rows]


@given(rows_of_numbers, st.data())
def test_equals_a_list_of_lists(rows: list[list[int]], data: st.DataObject):
    ragged = Ragged.of(rows)
    assert (len(ragged), listed(ragged)) == (len(rows), rows)
    assert ragged.values.tolist() == [value for row in rows for value in row]
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.owners.tolist() == [number for number, row in enumerate(rows) for _ in row]
    assert ragged.places.tolist() == [place for row in rows for place in range(len(row))]
    assert [ragged[number - len(rows)].tolist() for number in range(len(rows))] == rows

    numbers = st.none() | st.integers(-10, 10)
    some = slice(data.draw(numbers), data.draw(numbers), data.draw(st.none() | st.sampled_from([-2, -1, 1, 2])))
    assert listed(ragged[some]) == rows[some]
    if rows:
        chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))
        assert listed(ragged.take(chosen)) == [rows[number] for number in chosen]

    counts = [data.draw(st.integers(0, len(row))) for row in rows]
    head, rest = ragged.split(np.array(counts, dtype=np.int64))
    assert listed(head) == [row[:count] for row, count in zip(rows, counts, strict=True)]
    assert listed(rest) == [row[count:] for row, count in zip(rows, counts, strict=True)]
    assert head.join(rest) == ragged
    assert listed(rest.join(head)) == [row[count:] + row[:count] for row, count in zip(rows, counts, strict=True)]


@given(rows_of_numbers, rows_of_numbers)
def test_equal_where_the_rows_are(first: list[list[int]], second: list[list[int]]):
    assert (Ragged.of(first) == Ragged.of(second)) == (first == second)
    assert Ragged.of(first) == pickle.loads(pickle.dumps(Ragged.of(first)))


def test_rows_and_slices_are_views_that_cannot_be_written():
    values = np.arange(6)
    ragged = Ragged(values, np.array([0, 1, 4, 6]))
    for part in (ragged[1], ragged[1:].values, next(iter(ragged)), ragged[1:][0]):
        assert np.shares_memory(part, values)
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 9
    with pytest.raises(TypeError, match="unhashable"):
        hash(ragged)
    assert Ragged.of(ragged) is ragged


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        ([1, 2], [0, 1], "rise from 0 to the number of values, 2; they go from 0 to 1"),
        ([1, 2], [1, 2], "they go from 1 to 2"),
        ([1, 2], [0, 2, 1, 2], "they go from 0 to 2 and fall in between"),
        ([1, 2], [], "flat arrays"),
        ([[1, 2]], [0, 1], "flat arrays"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(values: list, offsets: list, message: str):
    with pytest.raises(ValueError, match=message):
        Ragged(np.array(values), np.array(offsets, dtype=np.int64))


def test_what_is_not_there_is_refused():
    ragged = Ragged.of([[1], [2, 3]])
    for row in (2, -3):
        with pytest.raises(IndexError, match=f"there is no row {row}; the 2 rows"):
            ragged[row]
    for counts in ([0], [2, 0], [-1, 0]):
        with pytest.raises(ValueError, match="counts must have, for each row"):
            ragged.split(np.array(counts))
    with pytest.raises(ValueError, match="2 rows cannot be joined with 1"):
        ragged.join(Ragged.of([[1]]))
