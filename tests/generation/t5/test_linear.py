from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from peft_pod.generation.t5.linear import Dense, filled_up

from ...training.launching import ROOT, environment

MEMORY = """
import torch
from peft_pod.generation.t5.linear import Dense

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

dense, rows = Dense(torch.randn(64, 64)), torch.randn(2000, 64)
dense(rows)
before = resident()
for count in range(1, 2001):
    dense(rows[:count])
print(resident() - before)
"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (33,), (67, 3), (5, 9, 11), (0,), (2, 0)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_products_are_those_of_a_linear_layer(bias, shape, dtype, tolerance):
    torch.manual_seed(0)
    layer = nn.Linear(12, 7, bias=bias, dtype=dtype)
    rows = torch.randn(*shape, 12)
    with torch.no_grad():
        found = Dense(layer.weight, layer.bias)(rows)
        expected = layer(rows.to(dtype))
    assert (found.shape, found.dtype) == ((*shape, 7), dtype)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_a_processor_without_bfloat16_in_its_matrix_library_gets_it_from_pytorch(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    weight, rows = torch.randn(7, 12, dtype=torch.bfloat16), torch.randn(5, 12)
    dense = Dense(weight)
    assert not dense.is_packed
    torch.testing.assert_close(dense(rows), rows.bfloat16() @ weight.T)


def test_few_numbers_of_rows_and_little_in_vain():
    numbers = range(1, 5000)
    filled = [filled_up(number) for number in numbers]
    assert all(number <= more <= number * 17 / 16 for number, more in zip(numbers, filled, strict=True))
    assert filled == sorted(filled)
    assert len(set(filled)) < 160
    assert [filled_up(number) for number in filled] == filled


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which is Linux's")
def test_many_numbers_of_rows_take_little_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200  # MiB; near 800 where every number has a program of its own
