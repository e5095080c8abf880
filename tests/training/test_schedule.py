from __future__ import annotations

import pytest
from accelerate.scheduler import AcceleratedScheduler

from peft_pod.training import PODTrainingArguments
from peft_pod.training.schedule import shorten_schedule, warmup_as_share

from .killed_run import make_trainer

KINDS = {
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"lr_end": 1e-3, "power": 2.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {},
    "cosine_with_min_lr": {"min_lr": 1e-3},
    "warmup_stable_decay": {"num_decay_steps": 4},
}


def rates(trainer, steps):
    found = []
    for _ in range(steps):
        trainer.lr_scheduler.step()
        found.append([group["lr"] for group in trainer.optimizer.param_groups])
    return found


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "accelerate"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_the_rates_to_come_are_those_of_a_shorter_run(parts, tmp_path, kind, wrapped):
    def made(steps):
        trainer = make_trainer(parts, tmp_path, lr_scheduler_type=kind, lr_scheduler_kwargs=KINDS[kind], warmup_steps=3)
        trainer.create_optimizer_and_scheduler(steps)
        return trainer

    trainer, whole, short = made(30), made(30), made(12)
    assert len(trainer.optimizer.param_groups) == 2
    assert rates(trainer, 5) == rates(whole, 5)
    rates(short, 5)
    if wrapped:
        trainer.lr_scheduler = AcceleratedScheduler(trainer.lr_scheduler, trainer.optimizer, step_with_optimizer=False)
    before = trainer.lr_scheduler
    shorten_schedule(trainer, 12)
    assert trainer.lr_scheduler is before
    left, expected = rates(trainer, 7), rates(short, 7)
    assert left == expected
    if kind not in ("constant", "constant_with_warmup", "inverse_sqrt"):
        assert left != rates(whole, 7)


def test_a_schedule_that_knows_no_end_stays(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, lr_scheduler_type="reduce_lr_on_plateau", metric_for_best_model="eval_loss")
    trainer.create_optimizer_and_scheduler(30)
    before = trainer.lr_scheduler
    shorten_schedule(trainer, 12)
    assert trainer.lr_scheduler is before
    assert trainer.optimizer.param_groups[0]["lr"] == 0.02


def test_a_share_gives_the_same_warm_up_to_the_same_run_and_a_shorter_one_to_a_shorter_run():
    args = PODTrainingArguments(use_cpu=True)
    for warmup in range(1, 60):
        for steps in range(warmup, 200):
            args.warmup_steps = warmup
            args.warmup_steps = warmup_as_share(args, steps)
            assert args.get_warmup_steps(steps) == warmup
            assert abs(args.get_warmup_steps(steps // 2) - warmup / 2) <= 1
    for unchanged in (0.0, 0.1):
        args.warmup_steps = unchanged
        assert warmup_as_share(args, 100) == unchanged
