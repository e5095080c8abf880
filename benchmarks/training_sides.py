"""The two sides of `benchmarks.training`, each in a process of its own that takes one step when it is told to."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging

from peft_pod.processing.collator import IGNORED_LABEL
from peft_pod.training import PODTrainer, PODTrainingArguments

from .training_reference import PlainTraining
from .training_setup import LEARNING_RATE, PROMPTS, SHAPES, VOCABULARY, Material, Setting


@dataclass(frozen=True)
class Step:
    """What a step was: task, loss, seconds, tokens and floating-point operations that the model needs for them."""

    task: str
    loss: float
    seconds: float
    tokens: int
    operations: float


class Side:
    """A process that trains step by step.

    Args:
        setting: what is trained.
        name: `"reference"` or `"ours"`.
        arguments: of `PODTrainingArguments`, for ours.
    """

    def __init__(self, setting: Setting, name: str, arguments: dict[str, Any] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(setting.threads)
        self.process = context.Process(target=_work, args=(other, setting, name, arguments or {}), daemon=True)
        self.process.start()
        other.close()

    def step(self) -> Step:
        """Take a step.

        Raises:
            EOFError: the process ended; it has written why.
        """
        self.connection.send(True)
        step: Step = self.connection.recv()
        return step

    def close(self) -> None:
        """End the process."""
        self.connection.send(False)
        self.process.join()


def _work(connection: Connection, setting: Setting, name: str, arguments: dict[str, Any]) -> None:
    torch.set_num_threads(setting.threads)
    logging.set_verbosity_error()
    material = Material(setting)
    (_reference if name == "reference" else _ours)(connection, material, arguments)


def _reference(connection: Connection, material: Material, _: dict[str, Any]) -> None:
    steps = PlainTraining(material).steps()
    set_seed(material.setting.seed)
    while connection.recv():
        start = _now(material.setting)
        task, loss, batch = next(steps)
        seconds = _now(material.setting) - start
        connection.send(Step(task, loss, seconds, *needs(batch, material.setting)))


class _Turns(TrainerCallback):
    """Waits for the word before each step and tells how long it took."""

    def __init__(self, wait: Callable[[], bool], told: Callable[[], None]) -> None:
        self.wait, self.told = wait, told

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.global_step:
            self._next(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told()
        self._next(control)

    def _next(self, control: Any) -> None:
        if not self.wait():
            control.should_training_stop = True


class _Watched(PODTrainer):
    """Keeps the batch and the loss of the last step."""

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        self.batch = inputs
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.last_loss = loss.detach()
        return loss


def _ours(connection: Connection, material: Material, arguments: dict[str, Any]) -> None:
    setting = material.setting
    start = 0.0

    def wait() -> bool:
        nonlocal start
        go_on: bool = connection.recv()
        start = _now(setting)
        return go_on

    def tell() -> None:
        seconds = _now(setting) - start
        task = material.processor.task_names[int(trainer.batch["task_id"][0])]
        connection.send(Step(task, float(trainer.last_loss), seconds, *needs(trainer.batch, setting)))

    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": folder,
            "per_device_train_batch_size": setting.batch_size,
            "num_train_epochs": 1000,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "use_cpu": setting.device == "cpu",
            "disable_tqdm": True,
            "seed": setting.seed,
            "report_to": "none",
            **arguments,
        }
        trainer = _Watched(
            material.model,
            PODTrainingArguments(**settings),
            processor=material.processor,
            train_dataset=material.samples,
            callbacks=[_Turns(wait, tell)],
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for the JSON alone
        trainer.train()


def _now(setting: Setting) -> float:
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def needs(batch: dict[str, torch.Tensor], setting: Setting) -> tuple[int, float]:
    """Tokens of a batch, and the operations of a forward and a backward pass over them, padding left out.

    A product with a weight takes two operations a number and token forward and four backward, and so do the two
    products of attention for each pair of a query and a key.
    """
    shape = SHAPES[setting.shape]
    width, inner = shape["d_model"], shape["d_kv"] * shape["num_heads"]
    inputs = batch["attention_mask"].sum(1).double() + PROMPTS
    answers = (batch["labels"] != IGNORED_LABEL).sum(1).double()
    attention, feed_forward = 4 * width * inner, 2 * width * shape["d_ff"]
    encoder = inputs * (attention + feed_forward) + 2 * inputs * inputs * inner
    keys_and_values = inputs * 2 * width * inner
    decoder = answers * (attention + 2 * width * inner + feed_forward) + keys_and_values
    decoder = decoder + 2 * answers * (answers + inputs) * inner
    numbers = shape["num_layers"] * (encoder + decoder) + answers * width * VOCABULARY
    return int((inputs + answers).sum()), 6 * float(numbers.sum())
