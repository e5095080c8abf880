from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import fingerprint
from peft_pod.corpus.fingerprint import settings_fingerprint, tables_fingerprint

rows = st.lists(
    st.tuples(
        st.none() | st.text(max_size=3), st.none() | st.integers(-2, 2), st.none() | st.sampled_from([0.5, -1.0])
    ),
    min_size=1,
    max_size=12,
)


def table(values: list[tuple]) -> Dataset:
    schema = pa.schema({"text": pa.string(), "number": pa.int64(), "share": pa.float32()})
    columns = [pa.array([row[place] for row in values], field.type) for place, field in enumerate(schema)]
    return Dataset(pa.table(columns, schema=schema))


def of(dataset: Dataset) -> str:
    return tables_fingerprint({"t": dataset})


@settings(max_examples=80, deadline=None)
@given(rows, rows)
def test_equal_exactly_where_the_rows_are(first: list[tuple], second: list[tuple]):
    assert (of(table(first)) == of(table(second))) == (first == second)


@settings(max_examples=30, deadline=None)
@given(rows, st.data())
def test_pieces_leave_no_trace(values: list[tuple], data: st.DataObject):
    """However a table is cut, in memory or by a view, and however much is read at a time."""
    whole = of(table(values))
    cut = data.draw(st.integers(0, len(values)))
    parts = [table(part) for part in (values[:cut], values[cut:]) if part]
    assert of(concatenate_datasets(parts)) == whole
    assert of(table([*values, *values]).select(range(len(values)))) == whole
    assert of(table(values[::-1]).select(range(len(values) - 1, -1, -1))) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "_BATCH", 2)
        assert of(table(values)) == whole


def test_on_disk_it_is_the_same(tmp_path):
    dataset = table([("a", 1, 0.5), (None, None, None), ("", 0, -1.0)])
    dataset.save_to_disk(str(tmp_path))
    assert of(Dataset.load_from_disk(str(tmp_path))) == of(dataset)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([("ab", 1, 0.5), ("c", 1, 0.5)], [("a", 1, 0.5), ("bc", 1, 0.5)]),
        ([(None, 1, 0.5)], [("", 1, 0.5)]),
        ([("a", None, 0.5)], [("a", 0, 0.5)]),
        ([("a", 1, None)], [("a", 1, 0.0)]),
    ],
)
def test_what_looks_alike_in_flat_arrays_is_told_apart(first: list[tuple], second: list[tuple]):
    assert of(table(first)) != of(table(second))


def test_names_of_tables_and_columns_count():
    dataset = table([("a", 1, 0.5)])
    assert tables_fingerprint({"t": dataset}) != tables_fingerprint({"s": dataset})
    assert of(dataset) != of(dataset.rename_column("text", "texts"))


def test_not_a_number_and_zero_have_one_form_each():
    strange = np.array([np.float32(np.nan), np.float32(0)])
    other = np.array([-np.float32(np.nan), np.float32(-0.0)])
    assert strange.tobytes() != other.tobytes()
    first, second = (Dataset(pa.table({"x": pa.array(values)})) for values in (strange, other))
    assert of(first) == of(second)


def test_of_settings():
    assert settings_fingerprint("a", {"x": 1, "y": 2}) == settings_fingerprint("a", {"y": 2, "x": 1})
    assert settings_fingerprint("a", {"x": 1}) != settings_fingerprint("a", {"x": 2})
    assert len(settings_fingerprint()) == 12
