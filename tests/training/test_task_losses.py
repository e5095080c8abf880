from __future__ import annotations

import math

import pytest
import torch
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LabelSmoother

from peft_pod.training import PODTrainer, PODTrainingArguments
from peft_pod.training.task_losses import token_losses

from .killed_run import differences, ended
from .killed_run import make_trainer as make_trainer_of_parts
from .test_trainer import TASKS, make_trainer

MIXED = {"batch_tasks": "mixed", "per_device_train_batch_size": 7}
STILL = {
    **MIXED, "learning_rate": 1e-12, "with_eval": False, "save_strategy": "no", "max_steps": 8, "logging_steps": 4
}  # fmt: skip
"""A model that stays as it is, so that every loss can be taken again."""
QUESTION = ("input_ids", "attention_mask", "whole_word_ids")


@pytest.fixture
def batches(monkeypatch):
    """The batches that a trainer takes steps on."""
    taken = []
    step = PODTrainer.training_step

    def noting(self, model, inputs, *args, **kwargs):
        taken.append({name: tensor.clone() for name, tensor in inputs.items()})
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PODTrainer, "training_step", noting)
    return taken


def logged(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def of_tasks(entry, prefix="loss_"):
    return {name.removeprefix(prefix): value for name, value in entry.items() if name.startswith(prefix)}


def samples(batches):
    """The samples of batches, each as a batch of its own without padding."""
    for batch in batches:
        for row in range(len(batch["labels"])):
            whole = {name: column[row] for name, column in batch.items()}
            alone = {"task_id": whole["task_id"][None], "labels": whole["labels"][whole["labels"] >= 0][None]}
            for name in whole.keys() & {*QUESTION, *(f"bare_{name}" for name in QUESTION)}:
                mask = whole["bare_attention_mask" if name.startswith("bare_") else "attention_mask"]
                alone[name] = whole[name][mask.bool()][None]
            yield alone


def mean_by_task(batches, of_sample):
    """The mean over the tokens of each task's answers of what each sample has by itself."""
    sums = {name: [0.0, 0] for name in TASKS}
    for sample in samples(batches):
        tokens = sample["labels"].numel()
        entry = sums[TASKS[int(sample["task_id"])]]
        entry[0] += of_sample(sample) * tokens
        entry[1] += tokens
    return {name: total / tokens for name, (total, tokens) in sums.items() if tokens}


def mean(batch, of_sample):
    """The mean over all tokens of a batch."""
    tokens = [sample["labels"].numel() for sample in samples([batch])]
    values = [of_sample(sample) for sample in samples([batch])]
    return sum(value * count for value, count in zip(values, tokens, strict=True)) / sum(tokens)


def cross_entropy(model):
    @torch.no_grad()
    def of_sample(sample):
        return model.train()(**{name: sample[name] for name in (*QUESTION, "task_id", "labels")}).loss.item()

    return of_sample


def divergence(model, temperature):
    """T² · KL between the answers after the question and after the bare one."""

    @torch.no_grad()
    def of_sample(sample):
        fixed = {name: sample[name] for name in ("task_id", "labels")}
        teacher = model(**fixed, **{name: sample[name] for name in QUESTION}).logits / temperature
        student = model(**fixed, **{name: sample[f"bare_{name}"] for name in QUESTION}).logits / temperature
        apart = teacher.softmax(-1) * (teacher.log_softmax(-1) - student.log_softmax(-1))
        return temperature**2 * apart.sum(-1).mean().item()

    return of_sample


def test_the_loss_of_a_token_is_that_by_hand():
    rows = [[[1.0, -0.5, 2.0], [0.3, 0.1, 0.0]], [[4.0, 0.0, -4.0], [9.0, 9.0, 0.0]]]
    labels = [[1, 2], [0, -100]]
    expected = torch.zeros(2, 2)
    for row, place in ((0, 0), (0, 1), (1, 0)):
        logits = rows[row][place]
        expected[row, place] = math.log(sum(map(math.exp, logits))) - logits[labels[row][place]]
    torch.testing.assert_close(token_losses(torch.tensor(rows), torch.tensor(labels)), expected)
    in_bf16 = token_losses(torch.tensor(rows).bfloat16(), torch.tensor(labels))
    torch.testing.assert_close(in_bf16, expected, atol=2e-2, rtol=2e-2)


def test_smoothed_losses_are_those_of_the_trainers_smoother():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4, 11), torch.randint(11, (3, 4))
    labels[1, 2:], labels[2, 1:] = -100, -100
    expected = LabelSmoother(epsilon=0.2)({"logits": logits}, labels)
    torch.testing.assert_close(token_losses(logits, labels, 0.2).sum() / 7, expected)


def test_losses_of_tasks_in_mixed_batches_are_those_of_their_samples_alone(split, processor, tmp_path, batches):
    trainer = make_trainer(split, processor, tmp_path, **STILL)
    trainer.train()
    assert len(batches) == 8
    assert max(len(batch["task_id"].unique()) for batch in batches) == 3
    of_sample = cross_entropy(trainer.model)
    for number, entry in enumerate(logged(trainer)):
        since = batches[4 * number : 4 * number + 4]
        assert of_tasks(entry) == pytest.approx(mean_by_task(since, of_sample), rel=1e-4)
        # What is trained on is the mean over all tokens of a batch, as ever.
        assert entry["loss"] == pytest.approx(sum(mean(batch, of_sample) for batch in since) / 4, rel=1e-4)
    assert number == 1


def test_distillation_is_a_part_of_each_tasks_loss(split, processor, tmp_path, batches):
    distilling = {"distillation_weight": 0.7, "distillation_temperature": 1.5}
    trainer = make_trainer(split, processor, tmp_path, **{**STILL, **distilling, "max_steps": 4})
    with torch.no_grad():  # answers of a model that has learned nothing hardly differ
        trainer.model.get_base_model().shared.weight.mul_(5)
    trainer.train()
    (entry,) = logged(trainer)
    losses = mean_by_task(batches, cross_entropy(trainer.model))
    apart = mean_by_task(batches, divergence(trainer.model, 1.5))
    assert min(apart.values()) > 1e-3
    assert of_tasks(entry, "distillation_") == pytest.approx(apart, rel=1e-3)
    expected = {name: loss + 0.7 * apart[name] for name, loss in losses.items()}
    assert of_tasks(entry) == pytest.approx(expected, rel=1e-4)
    whole = [mean(batch, cross_entropy(trainer.model)) for batch in batches]
    whole_apart = [mean(batch, divergence(trainer.model, 1.5)) for batch in batches]
    assert entry["loss"] == pytest.approx((sum(whole) + 0.7 * sum(whole_apart)) / 4, rel=1e-4)


def test_smoothed_labels_are_smoothed_for_each_task(split, processor, tmp_path, batches):
    trainer = make_trainer(split, processor, tmp_path, **STILL, label_smoothing_factor=0.3)
    trainer.train()

    @torch.no_grad()
    def smoothed(sample):
        labels = sample["labels"][0]
        columns = {name: sample[name] for name in (*QUESTION, "task_id", "labels")}
        lost = -trainer.model(**columns).logits[0].log_softmax(-1)
        return (0.7 * lost[range(len(labels)), labels] + 0.3 * lost.mean(-1)).mean().item()

    for number, entry in enumerate(logged(trainer)):
        since = batches[4 * number : 4 * number + 4]
        assert of_tasks(entry) == pytest.approx(mean_by_task(since, smoothed), rel=1e-4)
        assert entry["loss"] == pytest.approx(sum(mean(batch, smoothed) for batch in since) / 4, rel=1e-4)


def test_only_tasks_that_are_trained_are_mixed(split, processor, tmp_path, batches):
    trainer = make_trainer(split, processor, tmp_path, **{**STILL, "max_steps": 4})
    trainer.model.set_train_tasks(["explanation", "topn"])
    trainer.train()
    assert {task for batch in batches for task in batch["task_id"].tolist()} == {1, 2}
    (entry,) = logged(trainer)
    assert of_tasks(entry).keys() == {"topn", "explanation"}


def test_validation_of_a_model_does_not_depend_on_its_batches(split, processor, tmp_path):
    """And a loss that is taken in evaluation is not logged as one of training."""
    alternated, mixed = (
        make_trainer(split, processor, tmp_path, batch_tasks=kind, per_device_eval_batch_size=2)
        for kind in ("alternated", "mixed")
    )
    found, expected = mixed.evaluate(), alternated.evaluate()
    assert {name: value for name, value in found.items() if name.endswith("loss")} == {
        name: value for name, value in expected.items() if name.endswith("loss")
    }
    mixed.log(logs := {"loss": 1.0})
    assert of_tasks(logs) == {}


class _Stops(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_a_mixed_run_that_goes_on_in_the_middle_of_an_epoch_is_the_run_without_interruption(parts, tmp_path, batches):
    """An epoch has 9 steps; the run is ended after step 5 and goes on from step 4."""
    options = {"batch_tasks": "mixed", "max_steps": 11, "eval_steps": 4, "save_steps": 4}
    whole = make_trainer_of_parts(parts, tmp_path / "whole", **options)
    whole.train()
    undisturbed = [batch["task_id"].tolist() for batch in batches]
    assert undisturbed[:9] != [[0], [1], [2]] * 3
    batches.clear()
    cut = make_trainer_of_parts(parts, tmp_path / "cut", **options)
    cut.add_callback(_Stops())
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = make_trainer_of_parts(parts, tmp_path / "cut", **options)
    again.train(resume_from_checkpoint=True)
    assert [batch["task_id"].tolist() for batch in batches[5:]] == undisturbed[4:]
    assert differences(ended(tmp_path / "cut"), ended(tmp_path / "whole")) == []
    assert [of_tasks(entry) for entry in logged(again)] == [of_tasks(entry) for entry in logged(whole)]


def test_a_time_limit_that_does_not_bind_changes_nothing_for_mixed_batches(parts, tmp_path):
    """With steps, validations and a checkpoint that are really timed before."""
    options = {"batch_tasks": "mixed", "per_device_train_batch_size": 3, "max_steps": 2}
    limited = make_trainer_of_parts(parts, tmp_path / "limited", max_minutes=1000, **options)
    limited.train()
    free = make_trainer_of_parts(parts, tmp_path / "free", **options)
    free.train()
    assert differences(ended(tmp_path / "limited"), ended(tmp_path / "free")) == []
    assert [of_tasks(entry) for entry in logged(limited)] == [of_tasks(entry) for entry in logged(free)]
    assert len(logged(free)[0]) > 2


def test_a_time_limit_that_binds_ends_a_run_of_mixed_batches(parts, tmp_path):
    options = {"batch_tasks": "mixed", "max_steps": 100_000, "save_strategy": "no", "eval_strategy": "no"}
    options |= {"load_best_model_at_end": False, "early_stopping_patience": None}
    trainer = make_trainer_of_parts(parts, tmp_path, max_minutes=2 / 60, **options)
    planned = trainer.plan_length().steps
    trainer.train()
    assert 0 < trainer.state.global_step <= planned < 100_000
    assert trainer.state.log_history[-1]["train_runtime"] < 10


def test_the_kind_of_batches_is_checked():
    with pytest.raises(ValueError, match=r"batch_tasks must be one of \['alternated', 'mixed'\], got 'both'"):
        PODTrainingArguments(batch_tasks="both", use_cpu=True)


def test_validation_smooths_labels_as_training_does(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, label_smoothing_factor=0.3, per_device_eval_batch_size=64)
    measured = trainer.evaluate()
    trainer.args.label_smoothing_factor, trainer.label_smoother = 0.0, None
    sharp = trainer.evaluate()
    samples = trainer.eval_dataset["sequential"]
    batch = trainer.data_collator([samples[index] for index in range(len(samples))])
    with torch.no_grad():
        lost = -trainer.model.eval()(**batch).logits.log_softmax(-1)
    counted = batch["labels"] != -100
    expected = 0.7 * sharp["eval_sequential_loss"] + 0.3 * lost.mean(-1)[counted].mean().item()
    assert measured["eval_sequential_loss"] == pytest.approx(expected, rel=1e-4)
