from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from peft_pod.training import NonFiniteLossError, PODTrainer
from peft_pod.training.checkpoints import checkpoints

from .killed_run import make_trainer


def spoiled(trainer, step, spoil):
    """Have the loss of a step be another."""

    def hook(model, arguments, output):
        if model.training and trainer.state.global_step == step - 1:
            output.loss = spoil(output.loss)
        return output

    trainer.model.register_forward_hook(hook)
    return trainer


def infinite_gradient(loss):
    """The same loss, whose gradient is that of a square root at zero."""
    return loss + (loss - loss.detach()).sqrt()


@pytest.mark.parametrize(
    ("spoil", "what", "value"),
    [
        (lambda loss: loss * math.nan, "loss", "nan"),
        (lambda loss: loss + math.inf, "loss", "inf"),
        (infinite_gradient, "gradient norm", "nan"),
    ],
    ids=["nan", "infinite", "gradient"],
)
def test_training_stops_before_the_weights_change(parts, tmp_path, spoil, what, value):
    four = make_trainer(parts, tmp_path / "four", max_steps=14, save_strategy="no", eval_strategy="no",
                        load_best_model_at_end=False, early_stopping_patience=None)  # fmt: skip
    trainer = spoiled(make_trainer(parts, tmp_path / "run"), 5, spoil)
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-2", "checkpoint-4"]
    kept = load_file(tmp_path / "run" / "checkpoint-4" / "adapter_model.safetensors")
    found = trainer.model.state_dict()
    assert all(torch.equal(tensor, found[full_name(name, found)]) for name, tensor in kept.items())

    path = tmp_path / "run" / "non_finite" / "step-5-process-0.json"
    text = str(caught.value)
    assert f"the {what} of step 5 (task 'topn') is {value}" in text
    assert f"the batch is in {path}: lower --learning_rate (0.02 now)" in text
    said = json.loads(path.read_text())
    assert (said["step"], said["tasks"], said["what"]) == (5, ["topn"], what)
    assert said["learning_rate"] == pytest.approx(0.02 * 10 / 14)  # linear decay, after four of fourteen steps
    # The batch itself, as the sampler deals it out: the fifth of the first epoch.
    batches = list(four.get_train_dataloader())
    saved = load_file(path.with_suffix(".safetensors"))
    assert all(torch.equal(saved[name], tensor) for name, tensor in batches[4].items())
    tokenizer = parts.processor.tokenizer
    assert said["inputs"] == tokenizer.batch_decode(batches[4]["input_ids"], skip_special_tokens=True)
    assert "item_" in said["inputs"][0]
    assert said["answers"][0].startswith("item_")


def test_a_mixed_batch_is_named_by_all_of_its_tasks(parts, tmp_path):
    mixed = {"batch_tasks": "mixed", "per_device_train_batch_size": 6}
    trainer = spoiled(make_trainer(parts, tmp_path, **mixed), 1, lambda loss: loss * math.nan)
    first = next(iter(trainer.get_train_dataloader()))
    tasks = [parts.processor.task_names[task] for task in first["task_id"].tolist()]
    named = list(dict.fromkeys(tasks))
    assert len(named) > 1
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train()
    assert f"the loss of step 1 (tasks {', '.join(map(repr, named))}) is nan" in str(caught.value)
    said = json.loads((tmp_path / "non_finite" / "step-1-process-0.json").read_text())
    assert said["tasks"] == tasks
    # Each beside its question and its answer.
    assert len(said["inputs"]) == len(said["answers"]) == len(tasks)
    assert [answer.startswith("item_") for answer in said["answers"]] == [name != "explanation" for name in tasks]


def full_name(name, state):
    """The name in the model of what PEFT saves without the adapter's name."""
    (found,) = [full for full in state if full.replace(".default", "") == name]
    return found


class Waiting(PODTrainer):
    """Looks as seldom as where the model is on an accelerator."""

    def _looks_at_once(self):
        return False


def test_where_looking_is_dear_nothing_spoiled_is_saved(parts, tmp_path):
    trainer = spoiled(make_trainer(parts, tmp_path, Waiting), 5, lambda loss: loss * math.nan)
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 5 \(task 'topn'\) is nan"):
        trainer.train()
    assert trainer.state.global_step == 6
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-4"]
    assert (tmp_path / "non_finite" / "step-5-process-0.safetensors").is_file()


def test_where_looking_is_dear_it_is_done_after_sixteen_steps(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, Waiting, max_steps=40, save_strategy="no", eval_strategy="no",
                           load_best_model_at_end=False, early_stopping_patience=None, logging_steps=100)  # fmt: skip
    with pytest.raises(NonFiniteLossError, match=r"the gradient norm of step 2 \(task 'topn'\) is nan"):
        spoiled(trainer, 2, infinite_gradient).train()
    assert trainer.state.global_step == 16


def test_a_validation_loss_that_is_not_finite_stops_training(parts, tmp_path):
    class Broken(PODTrainer):
        def evaluate(self, *args, **kwargs):
            return {"eval_topn_loss": math.nan, "eval_loss": math.nan}

    with pytest.raises(NonFiniteLossError, match="eval_topn_loss is nan after step 2"):
        make_trainer(parts, tmp_path, Broken).train()
    assert checkpoints(tmp_path) == []
