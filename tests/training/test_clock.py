from __future__ import annotations

import json

import pytest
from transformers import TrainerControl, TrainerState

from peft_pod.training.clock import TrainingClock
from peft_pod.training.time_limit import Costs


@pytest.fixture
def hands(monkeypatch):
    now = [50.0]
    monkeypatch.setattr("peft_pod.training.clock.monotonic", lambda: now[0])
    return now


def tell(clock, event, step=1):
    getattr(clock, event)(None, TrainerState(global_step=step), TrainerControl())


def test_each_event_ends_what_was_done_since_the_one_before(hands):
    clock = TrainingClock()
    tell(clock, "on_train_begin", step=0)
    for event, seconds in (
        ("on_step_end", 2),
        ("on_step_end", 3),
        ("on_evaluate", 7),
        ("on_save", 0.5),
        ("on_step_end", 4),
    ):
        hands[0] += seconds
        tell(clock, event)
    assert clock.costs() == Costs(step=3, validation=7, checkpoint=0.5)
    assert clock.elapsed() == 16.5
    hands[0] += 1
    assert clock.elapsed() == 17.5


def test_what_was_measured_before_counts_and_one_long_step_does_not_make_a_rate(hands):
    clock = TrainingClock()
    clock.add("step", 10.0, 10)
    tell(clock, "on_train_begin", step=0)
    hands[0] += 100
    tell(clock, "on_step_end")
    # It counts as three.
    assert clock.costs().step == 13 / 11
    assert clock.careful_costs().step == 13 / 11
    for _ in range(3):
        hands[0] += 1
        tell(clock, "on_step_end")
    assert clock.costs().step == clock.careful_costs().step == 16 / 14
    # Where all are long, that is what is expected of the next, and the mean goes there.
    for _ in range(40):
        hands[0] += 5
        tell(clock, "on_step_end")
    assert clock.careful_costs().step == 5
    assert 3.5 < clock.costs().step < 5


def test_the_time_used_goes_with_the_checkpoint(hands):
    clock = TrainingClock()
    clock.planned_steps, clock.warmup_steps = 40, 0.25
    clock.add("validation", 3.0)
    tell(clock, "on_train_begin", step=0)
    hands[0] += 6
    tell(clock, "on_step_end")
    kept = json.loads(json.dumps(clock.state()))
    hands[0] += 1000
    again = TrainingClock.from_state(kept)
    assert again.elapsed() == 6
    assert (again.planned_steps, again.warmup_steps) == (40, 0.25)
    tell(again, "on_train_begin", step=1)
    hands[0] += 2
    tell(again, "on_step_end")
    assert again.elapsed() == 8
    assert again.costs() == Costs(step=4, validation=3)
    # A run that begins anew has all of its time.
    tell(again, "on_train_begin", step=0)
    assert again.elapsed() == 0
