from __future__ import annotations

import copy

import pytest
import torch

from peft_pod.training.rehearsal import put_back
from peft_pod.training.states import random_state
from peft_pod.training.timing import drawn_tokens, time_checkpoint, time_steps, time_validation

from .killed_run import differences, ended, make_trainer, same


def rehearse(trainer):
    with put_back(trainer):
        time_steps(trainer, list(drawn_tokens(trainer, batches=1)))
        time_checkpoint(trainer)
        time_validation(trainer)


def test_a_run_after_a_rehearsal_is_the_run_without_it(parts, undisturbed, tmp_path):
    """Bit by bit: weights, optimizer, schedule, random numbers, losses, and what is written."""
    trainer = make_trainer(parts, tmp_path)
    rehearse(trainer)
    assert list(tmp_path.iterdir()) == []
    trainer.train()
    assert differences(ended(tmp_path), undisturbed[0]) == []
    without = make_trainer(parts, tmp_path / "without")
    without.train()
    assert trainer.seen() == without.seen()
    logs = [
        [{name: value for name, value in entry.items() if "loss" in name} for entry in one.state.log_history]
        for one in (trainer, without)
    ]
    assert logs[0] == logs[1]
    assert trainer.state.total_flos == without.state.total_flos


@pytest.mark.parametrize("fails", [False, True])
def test_everything_that_a_trainer_holds_is_as_before(parts, tmp_path, fails):
    trainer = make_trainer(parts, tmp_path)
    trainer.model.eval()
    weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    held, state, random = dict(vars(trainer)), copy.deepcopy(trainer.state), random_state(trainer.args.device)
    try:
        with put_back(trainer):
            trainer.train()
            assert any(not torch.equal(trainer.model.state_dict()[name], value) for name, value in weights.items())
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert vars(trainer).keys() == held.keys()
    assert [name for name, value in held.items() if vars(trainer)[name] is not value] == []
    assert same(trainer.model.state_dict(), weights)
    assert same(random_state(trainer.args.device), random)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert not any(module.training for module in trainer.model.modules())
    assert (trainer.state.global_step, trainer.state.log_history) == (state.global_step, state.log_history)
    assert not trainer.control.should_training_stop


def test_an_optimizer_of_the_caller_takes_its_steps_back(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path)
    trainer.optimizer = optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=0.01)
    before = copy.deepcopy(optimizer.state_dict())
    rehearse(trainer)
    assert trainer.optimizer is optimizer
    assert optimizer.state_dict() == before


def test_a_signal_while_steps_are_timed_leaves_no_checkpoint(parts, tmp_path):
    """Else a run would go on from steps that are none of its own."""
    trainer = make_trainer(parts, tmp_path / "run")
    trainer._is_asked_to_stop = lambda: trainer.state.global_step == 3
    with pytest.raises(SystemExit) as ended_by:
        rehearse(trainer)
    assert ended_by.value.code == 143
    assert trainer.num_saved == 0
    assert list((tmp_path / "run").iterdir()) == []
