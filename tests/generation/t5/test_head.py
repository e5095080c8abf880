"""Logits and their sums in parts, against the whole product."""

from __future__ import annotations

import pytest
import torch

from peft_pod.generation.t5 import head as head_module
from peft_pod.generation.t5.head import Head


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(head_module, "_PART_TOKENS", 8)
    monkeypatch.setattr(head_module, "_BLOCK_STATES", 3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("vocabulary", [1, 8, 9, 30])
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_parts_are_those_of_the_whole(count, vocabulary, dtype, tolerance):
    generator = torch.Generator().manual_seed(count)
    rows, states = torch.randn(vocabulary, 5, generator=generator), torch.randn(count, 5, generator=generator)
    head = Head(rows, dtype)
    logits = states @ rows.T
    assert (head(states).dtype, head.log_sums(states).dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(head(states), logits, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(head.log_sums(states), logits.logsumexp(1), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_sums_of_large_logits_are_finite(size):
    # One part has the largest, whichever comes first.
    rows = torch.linspace(-1, 1, 24)[:, None]
    states = torch.tensor([[size]])
    torch.testing.assert_close(Head(rows, torch.float32).log_sums(states), (states @ rows.T).logsumexp(1))
