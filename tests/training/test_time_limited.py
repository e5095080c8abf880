from __future__ import annotations

import json
import math

import pytest
import torch
from transformers import TrainerCallback, TrainerState

from peft_pod.training import PODTrainer, PODTrainingArguments, last_checkpoint
from peft_pod.training.clock import TrainingClock
from peft_pod.training.time_limit import Costs
from peft_pod.training.time_limited import TimeLimited

from .killed_run import STEPS, differences, ended, make_trainer, run
from .launching import run_in_processes

RATE = 0.02


class Hands:
    """A clock that moves with each step, validation and checkpoint, and by nothing else."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.measured = Costs(step=1.0, validation=5.0, checkpoint=2.0)
        self.steps: dict[int, float] = {}
        """What steps take that take something else than was measured in advance, by their number."""
        self.all_steps: float | None = None
        self.timed = 0

    def step(self, number: int) -> float:
        return self.steps.get(number, self.measured.step if self.all_steps is None else self.all_steps)


@pytest.fixture
def hands(monkeypatch):
    moved = Hands()

    def wrap(name, seconds):
        original = getattr(PODTrainer, name)

        def call(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            moved.now += seconds(self)
            return result

        monkeypatch.setattr(PODTrainer, name, call)

    wrap("training_step", lambda trainer: moved.step(trainer.state.global_step + 1))
    wrap("evaluate", lambda trainer: moved.measured.validation)
    wrap("_save_checkpoint", lambda trainer: moved.measured.checkpoint)

    def costs(self):
        moved.timed += 1
        return moved.measured

    monkeypatch.setattr(TimeLimited, "_agreed_costs", costs)
    monkeypatch.setattr("peft_pod.training.clock.monotonic", lambda: moved.now)
    return moved


EVERY_FOUR = {"eval_steps": 4, "save_steps": 4, "logging_steps": 1}


def validated(trainer):
    return [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]


def ends(trainer):
    return [entry["max_steps"] for entry in trainer.state.log_history if "max_steps" in entry]


def learning_rates(trainer):
    return {entry["step"]: entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry}


def linear(step, total):
    return RATE * (1 - (step - 1) / total)


def test_as_many_steps_as_fit_with_their_validations_and_checkpoints(parts, tmp_path, hands, capfd):
    """Of 30 seconds one keeps 29.1. Nine steps with validations after 4, 8 and 9 take 30; eight take 8 + 2 * 7."""
    trainer = make_trainer(parts, tmp_path, max_minutes=0.5, **EVERY_FOUR)
    asked, began = trainer.args, hands.now
    planned = trainer.plan_length()
    assert (planned.asked, planned.steps, planned.minutes) == (STEPS, 8, 0.5)
    assert (asked.max_steps, trainer.args.max_steps) == (STEPS, 8)
    said = "training: 8 of 14 steps fit into 0.5 minutes (1 s a step, 5 s a validation, 2 s a checkpoint)"
    assert said in capfd.readouterr().err
    trainer.train()
    assert (trainer.state.global_step, trainer.state.max_steps) == (8, 8)
    assert (validated(trainer), ends(trainer)) == ([4, 8], [])
    assert hands.now - began == 22
    assert learning_rates(trainer) == pytest.approx({step: linear(step, 8) for step in range(1, 9)})
    # Once is enough: the plan that was made first is the one that training keeps to.
    assert hands.timed == 1


def test_fractions_are_of_the_steps_that_fit(parts, tmp_path, hands):
    """Of 40 seconds one keeps 38.8. With validations after each third, 17 steps (6, 12, 17) take 17 + 3 * 7;
    18 take a second more.

    A warm-up of 3 steps in 30 is one of 2 in 17.
    """
    changes = {"eval_steps": 0.33, "save_steps": 0.33, "logging_steps": 1, "max_steps": 30, "warmup_steps": 3}
    trainer = make_trainer(parts, tmp_path, max_minutes=40 / 60, **changes)
    trainer.train()
    assert (trainer.state.global_step, validated(trainer)) == (17, [6, 12, 17])
    rates = learning_rates(trainer)
    assert [rates[step] for step in (1, 2, 3)] == [0, RATE / 2, RATE]
    assert rates[17] == pytest.approx(RATE / 15)


def test_never_more_steps_than_are_asked_for(parts, tmp_path, hands):
    trainer = make_trainer(parts, tmp_path, max_minutes=60, max_steps=-1, num_train_epochs=1.5)
    assert trainer.plan_length().steps == 14
    hands.all_steps = 0.01  # and a machine that is faster than it was makes no run longer
    trainer.train()
    assert trainer.state.global_step == 14


def test_a_limit_that_does_not_bind_changes_nothing(parts, undisturbed, tmp_path):
    """With steps, validations and a checkpoint that are really timed before."""
    run(parts, tmp_path, max_minutes=1000)
    assert differences(ended(tmp_path), undisturbed[0]) == []


def test_what_was_planned_makes_the_same_run_without_the_limit(parts, tmp_path, hands):
    changes = {**EVERY_FOUR, "warmup_steps": 5, "eval_steps": 0.4, "save_steps": 0.4}
    trainer = make_trainer(parts, tmp_path / "limited", max_minutes=0.5, **changes)
    trainer.train()
    planned = trainer.plan_length().arguments()
    assert planned["max_minutes"] is None
    assert planned["max_steps"] < STEPS
    run(parts, tmp_path / "again", **{**changes, **planned})
    found, expected = ended(tmp_path / "again"), ended(tmp_path / "limited")
    assert differences(found, expected) == []


@pytest.mark.parametrize("slower", [1.3, 2.0, 4.0])
def test_a_machine_that_is_slower_than_it_was_ends_in_time_with_a_whole_schedule(parts, tmp_path, hands, slower):
    hands.measured = Costs(step=1.0, validation=2.0, checkpoint=0.5)
    hands.all_steps = slower
    changes = {"max_steps": 60, "eval_steps": 10, "save_steps": 10, "logging_steps": 1, "early_stopping_patience": None}
    trainer = make_trainer(parts, tmp_path, max_minutes=80 / 60, **changes)
    # 60 steps, and six validations and checkpoints, take 75 seconds of 77.6.
    assert trainer.plan_length().steps == 60
    began = hands.now
    trainer.train()
    total = trainer.state.global_step
    assert 80 - 4 * slower - 2.5 <= hands.now - began <= 80
    assert trainer.state.max_steps == total == ends(trainer)[-1]
    assert ends(trainer) == sorted(ends(trainer), reverse=True)
    assert total < 60
    assert validated(trainer) == sorted({*range(10, total + 1, 10), total})
    assert last_checkpoint(tmp_path).name == f"checkpoint-{total}"
    # The rate of a step is set when the one before has ended, so it follows a new end by one step.
    moved = {entry["step"]: entry["max_steps"] for entry in trainer.state.log_history if "max_steps" in entry}
    rates, known = learning_rates(trainer), 60
    for step in range(1, total + 1):
        known = moved.get(step - 2, known)
        assert rates[step] == pytest.approx(linear(step, known))
    # The last steps are taken at a low rate, as those of a run of that length.
    assert rates[total] < 0.2 * RATE
    # The best of all validations is what is kept.
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert trainer.state.best_metric == min(losses.values())


def test_an_end_that_creeps_nearer_is_not_said_each_time(parts, tmp_path, hands, capfd):
    hands.measured, hands.all_steps = Costs(step=1.0), 4.0
    changes = {"max_steps": 60, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(parts, tmp_path, max_minutes=80 / 60, early_stopping_patience=None, **changes)
    trainer.train()
    said = [line for line in capfd.readouterr().err.splitlines() if "to keep to" in line]
    assert 1 < len(said) < len(ends(trainer)) / 2
    # Each is a tenth less than the one before.
    numbers = [int(line.split("ends at step ")[1].split()[0]) for line in said]
    assert all(later <= 0.9 * before for before, later in zip([60, *numbers], numbers, strict=False))


def test_a_moment_of_a_busy_machine_costs_about_that_moment(parts, tmp_path, hands):
    hands.measured = Costs(step=1.0)
    hands.steps = {3: 6.0}
    changes = {"max_steps": 100, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(parts, tmp_path, max_minutes=100 / 60, early_stopping_patience=None, **changes)
    assert trainer.plan_length().steps == 97
    trainer.train()
    # Five seconds are lost, of which three were kept free; it is not known at once that they are no more than five.
    assert 87 <= trainer.state.global_step <= 95


def test_time_that_is_suddenly_over_ends_the_run_with_a_validation(parts, tmp_path, hands, capfd):
    hands.steps = {5: 100.0}
    trainer = make_trainer(parts, tmp_path, max_minutes=1, **EVERY_FOUR)
    trainer.train()
    assert (trainer.state.global_step, validated(trainer), ends(trainer)) == (5, [4, 5], [5])
    assert last_checkpoint(tmp_path).name == "checkpoint-5"
    assert "training: step 5: ends at step 5 in place of 14, to keep to 1 minutes" in capfd.readouterr().err


def test_no_step_is_begun_that_leaves_no_time_for_the_last_validation(parts, tmp_path, hands):
    """After step 11 of 14, 44 of 60 seconds are used: enough for a step and a validation, not for another of each."""
    hands.steps = {11: 20.0}
    trainer = make_trainer(parts, tmp_path, max_minutes=1, **EVERY_FOUR)
    began = hands.now
    trainer.train()
    assert hands.now - began == 52
    assert validated(trainer)[-1] == trainer.state.global_step == 12


def test_by_epoch_a_part_of_an_epoch_is_validated_and_saved(parts, tmp_path, hands):
    """An epoch has 9 steps; 5 seconds of steps fit beside the 7 of a validation and its checkpoint."""
    changes = {"eval_strategy": "epoch", "save_strategy": "epoch", "max_steps": 30}
    trainer = make_trainer(parts, tmp_path, max_minutes=12.5 / 60, **changes)
    trainer.train()
    assert (trainer.state.global_step, validated(trainer)) == (5, [5])
    assert trainer.state.best_global_step == 5
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-5")


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_a_run_that_ends_before_its_first_validation_has_one(parts, tmp_path, hands, strategy):
    changes = {"eval_strategy": strategy, "save_strategy": strategy, "eval_delay": 8, "max_steps": 80}
    hands.measured = Costs(step=1.0, validation=0.0, checkpoint=0.0)
    trainer = make_trainer(parts, tmp_path, max_minutes=6.5 / 60, **changes)
    trainer.train()
    assert (trainer.state.global_step, validated(trainer)) == (6, [6])
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-6")


class _Stops(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def stopped(trainer, step):
    trainer.add_callback(_Stops(step))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


LIMITED = {"max_minutes": 80 / 60, "max_steps": 30, "warmup_steps": 4, "early_stopping_patience": 30}
"""At 1 s a step, 5 a validation and 2 a checkpoint, both every second step: 77.6 seconds hold 16 steps."""


def test_a_run_that_goes_on_takes_over_its_length_and_its_time(parts, tmp_path, hands, monkeypatch):
    trainer = make_trainer(parts, tmp_path / "whole", **LIMITED)
    trainer.train()
    assert trainer.state.global_step == trainer.plan_length().steps == 16
    stopped(make_trainer(parts, tmp_path / "cut", **LIMITED), 7)
    hands.now += 10_000  # nobody was at work
    hands.measured = Costs(step=1.0, validation=5.0, checkpoint=2.0)

    def timed(self):
        raise AssertionError("timed anew")

    monkeypatch.setattr(TimeLimited, "_agreed_costs", timed)
    again = make_trainer(parts, tmp_path / "cut", **LIMITED)
    again.train(resume_from_checkpoint=True)
    assert again.plan_length().steps == 16
    assert ends(again) == []
    assert differences(ended(tmp_path / "cut"), ended(tmp_path / "whole")) == []
    saved = TrainerState.load_from_json(str(last_checkpoint(tmp_path / "cut") / "trainer_state.json"))
    kept = TrainingClock.from_state(saved.stateful_callbacks["TrainingClock"])
    # 16 steps, eight validations and eight checkpoints; the last one was not yet written when it was asked.
    assert kept.used == pytest.approx(16 + 8 * 5 + 7 * 2, abs=2)
    # And where training had ended, nothing is done any more.
    hands.steps = {17: 1e9}
    ended_run = make_trainer(parts, tmp_path / "cut", **LIMITED)
    ended_run.train(resume_from_checkpoint=True)
    assert (ended_run.num_saved, ended_run.state.global_step) == (0, 16)


def test_a_run_that_became_shorter_goes_on_as_it_would_have(parts, tmp_path, hands):
    """The end was moved before it was interrupted, and the schedule with it; the warm-up too."""
    hands.steps = {3: 20.0}
    trainer = make_trainer(parts, tmp_path / "whole", **LIMITED)
    trainer.train()
    total = trainer.state.global_step
    assert 7 < total < 16
    stopped(make_trainer(parts, tmp_path / "cut", **LIMITED), 7)
    again = make_trainer(parts, tmp_path / "cut", **LIMITED)
    again.train(resume_from_checkpoint=True)
    assert ends(again) == ends(trainer)
    assert differences(ended(tmp_path / "cut"), ended(tmp_path / "whole")) == []


def test_time_that_was_used_before_an_interruption_counts(parts, tmp_path, hands):
    stopped(make_trainer(parts, tmp_path, **LIMITED), 7)
    # Step 6 was saved after 6 + 3 * 7 - 2 seconds; the next step takes what is left, but for a validation and its save.
    hands.steps = {7: 48.0}
    again = make_trainer(parts, tmp_path, **LIMITED)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 7
    assert validated(again)[-1] == 7


def test_what_cannot_be_limited(parts, tmp_path, hands, monkeypatch):
    for minutes in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"max_minutes must be above 0, or None for no limit; got"):
            PODTrainingArguments(max_minutes=minutes, use_cpu=True)
    with pytest.raises(
        ValueError,
        match=r"max_minutes is 0.1, and a single step with its validation and checkpoint takes about 0.13 min",
    ):
        make_trainer(parts, tmp_path, max_minutes=0.1).train()
    trainer = make_trainer(parts, tmp_path, max_minutes=1)
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(trainer.model.parameters(), lr=1.0))
    with pytest.raises(ValueError, match="a learning rate schedule was given, which cannot be fitted to the time"):
        trainer.train()
    run(parts, tmp_path, max_steps=2)
    with pytest.raises(ValueError, match="max_minutes cannot be given to a run that was begun without it"):
        make_trainer(parts, tmp_path, max_minutes=1).train(resume_from_checkpoint=True)


def test_a_trainer_that_trains_again_has_all_of_its_time_again(parts, tmp_path, hands):
    trainer = make_trainer(parts, tmp_path, max_minutes=0.5, **EVERY_FOUR)
    for _ in range(2):
        trainer.train()
        assert (trainer.state.global_step, ends(trainer), hands.timed) == (8, [], 1)


def test_two_processes_end_at_the_same_step(tmp_path):
    """What was timed was faster, and not the same in both; the first one's clock counts."""
    run_in_processes("tests.training.time_limited_in_processes", [str(tmp_path)])
    first, second = (json.loads((tmp_path / f"seen-{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    seconds = first.pop("seconds"), second.pop("seconds")
    assert first == second
    assert first["steps"] == first["ends"][-1] == first["validated"][-1] < first["planned"] < 10_000
    # Loading the best model is not counted, and takes less than that.
    assert max(seconds) < 6 + 2
