from __future__ import annotations

import numpy as np
import pytest
import torch

from peft_pod.generation.index_table import IndexTable, smallest_type


@pytest.mark.parametrize(
    ("largest", "size"), [(0, 2), (2**15 - 1, 2), (2**15, 4), (2**31 - 1, 4), (2**31, 8), (2**63 - 1, 8)]
)
def test_numbers_take_as_few_bytes_as_they_need_and_come_back_as_they_were(largest: int, size: int) -> None:
    values = np.array([largest, -1, 0, largest // 2])
    table = IndexTable(values)
    assert np.dtype(smallest_type(largest)).itemsize == size
    assert (table.nbytes, len(table)) == (4 * size, 4)
    assert table.tolist() == values.tolist()
    for index in (torch.tensor([[2, 0], [1, 1]]), slice(1, 3), torch.tensor(3)):
        found = table[index]
        assert found.dtype == torch.int64
        assert torch.equal(found, torch.from_numpy(values)[index])


def test_a_table_moves_and_the_original_stays() -> None:
    table = IndexTable(np.arange(5))
    assert (table.to("meta").values.device.type, table.values.device.type) == ("meta", "cpu")


def test_an_empty_table_is_one() -> None:
    assert len(IndexTable(np.array([], dtype=np.int64))) == 0
