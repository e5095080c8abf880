from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from peft_pod.training.states import load_state, random_state, save_state, set_random_state

from .killed_run import same


def test_states_come_back_bit_by_bit(tmp_path):
    state = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(3, 2)}, 7: {}},
        "groups": [{"betas": (0.9, 0.1 + 0.2), "fused": None, "on": True, "params": [0, 7], "lr": 5e-324}],
        "empty": [(), {}, torch.empty(0)],
        "kinds": [torch.arange(3), torch.tensor([1, 2], dtype=torch.bfloat16), np.arange(3, dtype=np.uint32)],
        "words": {"dict": 1, "tensor": "0", "tuple": ["x"]},
        "large": [2**80, -1, math.inf],
    }
    save_state(tmp_path / "state.safetensors", state)
    found = load_state(tmp_path / "state.safetensors")
    assert same(found, state)
    assert list(found["state"]) == [0, 7]
    assert isinstance(found["groups"][0]["betas"], tuple)
    assert found["kinds"][2].dtype == np.uint32
    assert found["kinds"][1].dtype == torch.bfloat16


def test_what_only_pickle_could_save_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"a function at \['lr_lambdas'\]\[1\] of a state cannot be saved without pickle"
    ):
        save_state(tmp_path / "state.safetensors", {"lr_lambdas": [None, random_state]})
    assert not list(tmp_path.iterdir())


def test_other_files_of_tensors_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds tensors, but not the state of an optimizer"):
        load_state(tmp_path / "model.safetensors")


def test_random_generators_go_on_where_they_were(tmp_path):
    device = torch.device("cpu")
    random.gauss(0, 1)  # the generators of Python and numpy keep a second normal number
    np.random.standard_normal(3)
    save_state(tmp_path / "state.safetensors", random_state(device))

    def drawn():
        return (random.gauss(0, 1), random.random(), np.random.standard_normal(3), np.random.rand(2), torch.randn(3))

    first = drawn()
    assert not same(drawn(), first)
    set_random_state(load_state(tmp_path / "state.safetensors"), device)
    assert same(drawn(), first)


def test_an_optimizer_goes_on_where_it_was(tmp_path):
    def made():
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
        return parameter, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)

    def step(parameter, optimizer, scheduler):
        (parameter * torch.tensor([1.0, 2.0, 3.0])).square().sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()

    first = made()
    for _ in range(3):
        step(*first)
    for name, part in zip(("optimizer", "scheduler"), first[1:], strict=True):
        save_state(tmp_path / name, part.state_dict())
    second = made()
    second[0].data.copy_(first[0].data)
    for name, part in zip(("optimizer", "scheduler"), second[1:], strict=True):
        part.load_state_dict(load_state(tmp_path / name))
    for _ in range(2):
        step(*first)
        step(*second)
    assert torch.equal(first[0], second[0])
    assert same(first[1].state_dict(), second[1].state_dict())
