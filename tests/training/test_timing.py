from __future__ import annotations

import copy

import pytest
import torch

from peft_pod.processing import PODProcessor
from peft_pod.training import PODTrainer
from peft_pod.training.timing import drawn_tokens, time_steps, time_validation

from .test_trainer import TASKS, make_trainer


@pytest.fixture
def batches(monkeypatch):
    """The batches that a trainer takes steps on, as lists."""
    taken = []
    step = PODTrainer.training_step

    def noting(self, model, inputs, *args, **kwargs):
        taken.append({name: tensor.tolist() for name, tensor in inputs.items()})
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PODTrainer, "training_step", noting)
    return taken


def counted_by_hand(batches: list, task: int, name: str, padding: int) -> tuple[float, float, int]:
    texts = [batch[name] for batch in batches if batch["task_id"][0] == task]
    sizes = [[sum(token != padding for token in text) for text in batch] for batch in texts]
    padded = [sum(len(text) for text in batch) for batch in texts]
    return (
        sum(map(sum, sizes)) / len(sizes),
        sum(padded) / len(padded),
        max(size for batch in sizes for size in batch),
    )


def test_token_counts_are_those_of_the_batches_that_training_takes(split, processor, tmp_path, batches):
    trainer = make_trainer(split, processor, tmp_path, with_eval=False, num_train_epochs=1)
    counts = drawn_tokens(trainer, batches=100)
    assert not batches
    make_trainer(split, processor, tmp_path, with_eval=False, num_train_epochs=1).train()
    assert list(counts) == list(TASKS)
    for number, name in enumerate(TASKS):
        for found, column, padding in zip(counts[name], ("attention_mask", "labels"), (0, -100), strict=True):
            expected = counted_by_hand(batches, number, column, padding)
            assert (found.mean, found.padded, found.longest) == expected


def test_only_as_many_batches_as_asked_for(split, processor, tmp_path, batches):
    counts = drawn_tokens(make_trainer(split, processor, tmp_path, with_eval=False), batches=1)
    make_trainer(split, processor, tmp_path, with_eval=False, max_steps=3).train()
    assert [counts[name][0].mean for name in TASKS] == [
        counted_by_hand(batches, number, "attention_mask", 0)[0] for number in range(len(TASKS))
    ]


def test_token_counts_of_mixed_batches_are_those_of_each_tasks_samples(split, processor, tmp_path, batches):
    options = {"with_eval": False, "batch_tasks": "mixed", "per_device_train_batch_size": 4}
    counts = drawn_tokens(make_trainer(split, processor, tmp_path, **options), batches=2)
    make_trainer(split, processor, tmp_path, **options, max_steps=6).train()
    assert list(counts) == list(TASKS)
    for task, name in enumerate(TASKS):
        for found, column, padding in zip(counts[name], ("attention_mask", "labels"), (0, -100), strict=True):
            rows = [
                [text for text, number in zip(batch[column], batch["task_id"], strict=True) if number == task]
                for batch in batches
            ]
            first, second = [texts for texts in rows if texts][:2]
            sizes = [[sum(token != padding for token in text) for text in texts] for texts in (first, second)]
            assert found.mean == sum(map(sum, sizes)) / 2
            # As wide as the longest of all tasks in the batch.
            assert found.padded == (len(first) * len(first[0]) + len(second) * len(second[0])) / 2
            assert found.longest == max(map(max, sizes))


def test_tokens_of_a_task_that_the_first_mixed_batches_lack_are_counted_too(split, processor, tmp_path, batches):
    """In batches of one sample, the second of which is of the first one's task."""
    options = {"with_eval": False, "batch_tasks": "mixed", "per_device_train_batch_size": 1, "seed": 1}
    make_trainer(split, processor, tmp_path, **options, max_steps=3).train()
    assert len({batch["task_id"][0] for batch in batches}) < 3
    counts = drawn_tokens(make_trainer(split, processor, tmp_path, **options), batches=1)
    assert list(counts) == list(TASKS)


def test_what_training_has_seen(split, processor, tmp_path, batches):
    trainer = make_trainer(split, processor, tmp_path, num_train_epochs=1, gradient_accumulation_steps=2)
    trainer.train()
    seen = trainer.seen()
    assert seen.samples == sum(len(batch["labels"]) for batch in batches)
    assert seen.input_tokens == sum(sum(map(sum, batch["attention_mask"])) for batch in batches)
    assert seen.answer_tokens == sum(token != -100 for batch in batches for text in batch["labels"] for token in text)


@pytest.mark.parametrize("accumulated", [1, 2, 3])
def test_ten_batches_are_timed_after_one_of_each_task(split, processor, tmp_path, monkeypatch, batches, accumulated):
    """A clock that moves by one with each batch, and by more with the first of each task."""
    trainer = make_trainer(split, processor, tmp_path, gradient_accumulation_steps=accumulated)

    def now():
        first = min(len(batches), len(TASKS))
        by_task = {0: 1.0, 1: 2.0, 2: 5.0}
        return 1000.0 * first + sum(by_task[batch["task_id"][0]] for batch in batches)

    monkeypatch.setattr("peft_pod.training.timing.time.perf_counter", now)
    times = time_steps(trainer, list(TASKS))
    assert times.batches == 10
    assert len(batches) >= 13
    assert times.seconds == {"sequential": 1.0, "topn": 2.0, "explanation": 5.0}


def test_a_mixed_batch_is_one_of_each_task(split, processor, tmp_path, monkeypatch, batches):
    """A clock that moves by one with each batch, and by a thousand with each of the first three."""
    trainer = make_trainer(split, processor, tmp_path, batch_tasks="mixed")
    monkeypatch.setattr(
        "peft_pod.training.timing.time.perf_counter",
        lambda: 1000.0 * min(len(batches), 3) + sum(range(len(batches) + 1)),
    )
    times = time_steps(trainer, list(TASKS))
    assert times.batches == 10
    assert times.seconds == dict.fromkeys(TASKS, sum(range(4, 14)) / 10)


def test_memory_of_the_optimizer_is_two_numbers_for_each_that_is_trained(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    times = time_steps(trainer, list(TASKS))
    # Adam keeps two moments of each number and a count of steps for each parameter.
    assert times.optimizer_bytes == sum(2 * 4 * parameter.numel() + 4 for parameter in trained)
    weights = sum(4 * parameter.numel() for parameter in trainer.model.parameters())
    assert times.peak_bytes > weights + times.optimizer_bytes


def test_timing_writes_and_reports_nothing(split, processor, tmp_path, capfd):
    trainer = make_trainer(
        split, processor, tmp_path / "run", save_strategy="steps", save_steps=1, eval_strategy="steps"
    )
    state, arguments = copy.deepcopy(trainer.state), trainer.args.to_dict()
    time_steps(trainer, list(TASKS))
    time_validation(trainer)
    assert capfd.readouterr() == ("", "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (trainer.state.log_history, trainer.state.global_step) == (state.log_history, state.global_step)
    assert trainer.args.to_dict() == arguments


def test_validation_is_estimated_for_all_samples(split, processor, tmp_path, monkeypatch):
    """A clock that moves by one with each sample that is validated."""
    trainer = make_trainer(split, processor, tmp_path, per_device_eval_batch_size=1)
    validated = []
    step = trainer.prediction_step

    def noting(model, inputs, *args, **kwargs):
        validated.extend(inputs["task_id"].tolist())
        return step(model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer, "prediction_step", noting)
    monkeypatch.setattr("peft_pod.training.timing.time.perf_counter", lambda: float(len(validated)))
    for name in TASKS:
        # Many samples, so that only some of them are run.
        trainer.eval_dataset[name].samples = [*trainer.eval_dataset[name].samples] * 10
    sizes = {name: len(samples) for name, samples in trainer.eval_dataset.items()}
    assert time_validation(trainer) == pytest.approx(sizes)
    assert len(validated) < sum(sizes.values())
    assert isinstance(processor, PODProcessor)
    assert torch.is_grad_enabled()
