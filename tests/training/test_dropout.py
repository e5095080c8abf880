from __future__ import annotations

import pytest
import torch
from torch import nn

from peft_pod.training.dropout import dropped, erase_, fast_dropout, faster_dropout, threshold


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_as_many_are_dropped_as_was_said(probability):
    torch.manual_seed(0)
    count = 400_000
    gone = dropped(torch.Size([count]), probability, torch.device("cpu")).double()
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(gone.mean().item() - threshold(probability) / 2**16) <= 4 * deviation
    # The four elements that share a random number are as independent as any others.
    for place in range(4):
        assert abs(gone[place::4].mean().item() - probability) <= 4 * 2 * deviation + 1e-5
    if 0 < probability < 1:
        pairs = torch.corrcoef(gone.view(-1, 4).T)
        assert (pairs - torch.eye(4)).abs().max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_bits_are_erased_where_asked_and_nowhere_else(dtype):
    values = torch.tensor([1.5, -2.0, float("inf"), float("nan"), -0.0, 7.0], dtype=dtype)
    gone = torch.tensor([True, False, True, True, True, False])
    assert erase_(values, gone) is values
    assert values.tolist() == [0.0, -2.0, 0.0, 0.0, 0.0, 7.0]
    # Seen with its axes swapped, it is the same numbers that go.
    table = torch.arange(1.0, 7.0, dtype=dtype).view(2, 3).T
    assert erase_(table, gone.view(3, 2)).tolist() == [[0, 4], [0, 0], [0, 6]]


def test_the_gradient_goes_where_the_values_went():
    torch.manual_seed(0)
    values = torch.ones(1000, requires_grad=True)
    output = fast_dropout(values, 0.25)
    output.sum().backward()
    assert sorted(set(output.tolist())) == pytest.approx([0, 4 / 3])
    assert torch.equal(values.grad, output.detach())
    torch.manual_seed(0)
    assert torch.equal(fast_dropout(values, 0.25), output)
    assert not torch.equal(fast_dropout(values, 0.25), output)


def test_modules_are_as_they_were_afterwards():
    model = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5))
    before = dict(vars(model[1]))
    given = torch.ones(2, 3)
    with faster_dropout(model):
        torch.manual_seed(0)
        first = model(given)
        assert type(first.grad_fn).__name__ == "_DropoutBackward"
        model.eval()
        assert torch.equal(model(given), model[0](given))
        model.train()
    assert vars(model[1]).keys() == before.keys()
    assert type(model(given).grad_fn).__name__ != "_DropoutBackward"


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_a_probability_is_one(probability):
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(probability)
