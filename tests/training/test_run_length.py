from __future__ import annotations

import random

import pytest

from peft_pod.training import PODTrainingArguments
from peft_pod.training.run_length import Cadence, cadences_of, count_validations, run_length

from .killed_run import make_trainer


def test_a_cadence_counts_what_a_loop_over_the_steps_counts():
    drawn = random.Random(0)
    for _ in range(500):
        every, delay, last = drawn.randint(1, 7), drawn.choice([0, 2.5, 9]), drawn.randint(1, 20)
        first = drawn.randint(0, last)
        steps = [step for step in range(1, last + 1) if (step % every == 0 or step == last) and step >= delay]
        assert Cadence(every, delay).count(first, last) == len([step for step in steps if step >= first])
    assert Cadence(None).count(1, 100) == 0


@pytest.mark.parametrize(
    ("changes", "validations", "checkpoints"),
    [
        # After steps 9 and 18, and the last.
        ({"eval_strategy": "epoch", "save_strategy": "epoch"}, 3, 3),
        ({"eval_strategy": "epoch", "save_strategy": "epoch", "eval_delay": 1.5}, 2, 3),
        # 20 / 0.3 is 6: after 6, 12 and 18, and the last.
        ({"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 0.3, "save_steps": 0.3}, 4, 4),
        ({"eval_strategy": "steps", "save_strategy": "best", "eval_steps": 10}, 2, 2),
        ({"eval_strategy": "no", "save_strategy": "no"}, 0, 0),
    ],
    ids=["epoch", "delay", "fraction", "best", "none"],
)
def test_validations_and_checkpoints_of_twenty_steps(changes, validations, checkpoints):
    args = PODTrainingArguments(
        load_best_model_at_end=False, early_stopping_patience=None, use_cpu=True, **changes
    )  # fmt: skip
    found = cadences_of(args, 20, 9)
    assert [cadence.count(1, 20) for cadence in found] == [validations, checkpoints]
    assert count_validations(args, 20, 9) == validations


def test_the_length_is_that_of_the_run_that_follows(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, max_steps=-1, num_train_epochs=1.5, gradient_accumulation_steps=2)
    length = run_length(trainer)
    # Nine batches an epoch.
    assert (length.batches_per_epoch, length.batches_per_step, length.steps_per_epoch) == (9, 2, 5)
    assert (length.samples_per_step, length.steps, length.epochs) == (2, 8, 1.6)
    trainer.train()
    assert trainer.state.global_step == 8
    assert len([entry for entry in trainer.state.log_history if "eval_loss" in entry]) == length.validations == 4
