"""Timing a few steps and validation batches of a trainer, and the memory they take, before it trains in earnest."""

from __future__ import annotations

import copy
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch.utils.data import Subset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

from peft_pod.processing.collator import IGNORED_LABEL

from .checkpoints import UNFINISHED
from .speed import training_speed

if TYPE_CHECKING:
    from .trainer import PODTrainer
    from .validation import RanksValidation

TIMED_BATCHES = 10
DRAWN_BATCHES = 10
"""Batches of each task that are drawn to count their tokens."""
_VALIDATION_BATCHES = 3
RANKING = "ranking"
_SECONDS_BETWEEN_READINGS = 0.002


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of one task in some batches; prompts are not counted.

    Attributes:
        mean: tokens of a batch on average, padding left out.
        padded: the same with padding.
        longest: tokens of the longest text.
    """

    mean: float
    padded: float
    longest: int

    @classmethod
    def of(cls, masks: Sequence[torch.Tensor]) -> TokenCounts:
        """Count the tokens of batches.

        Args:
            masks: for each batch what is a token and what is padding.

        Example:
            >>> TokenCounts.of([torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([[1]])])
            TokenCounts(mean=3.0, padded=3.5, longest=3)
        """
        return cls(
            mean=float(np.mean([int(mask.sum()) for mask in masks])),
            padded=float(np.mean([mask.numel() for mask in masks])),
            longest=max(int(mask.sum(dim=1).max()) for mask in masks),
        )


def drawn_tokens(trainer: PODTrainer, batches: int = DRAWN_BATCHES) -> dict[str, tuple[TokenCounts, TokenCounts]]:
    """Tokens of the inputs and of the answers of each task's first batches, in the order in which tasks take turns.

    Of batches that mix tasks, those of the task's samples are counted, in batches that have some.

    Args:
        trainer: its training batches are drawn, those of this process.
        batches: how many of each task, or all that an epoch has.
    """
    names = trainer.processor.task_names
    trained = trainer.trained_tasks()
    inputs: dict[int, list[torch.Tensor]] = {task: [] for task in trained}
    answers: dict[int, list[torch.Tensor]] = {task: [] for task in trained}
    for batch in trainer.get_train_dataloader():
        for task in batch["task_id"].unique().tolist():
            if len(inputs[task]) < batches:
                rows = batch["task_id"] == task
                inputs[task].append(batch["attention_mask"][rows] != 0)
                answers[task].append(batch["labels"][rows] != IGNORED_LABEL)
        if all(len(masks) >= batches for masks in inputs.values()):
            break
    return {names[task]: (TokenCounts.of(inputs[task]), TokenCounts.of(answers[task])) for task in trained}


@dataclass(frozen=True)
class StepTimes:
    """What timed steps took.

    Attributes:
        seconds: of a batch of each task on average: drawing it, the loss, gradients, and its share of the update. A
            batch that mixes tasks is one of each.
        batches: how many were timed.
        peak_bytes: the most memory in use, of the accelerator, or of the whole process where there is none.
        activation_bytes: what of it is neither weights, gradients nor the optimizer's state, nor was there before.
        optimizer_bytes: state of the optimizer.
    """

    seconds: dict[str, float]
    batches: int
    peak_bytes: int
    activation_bytes: int
    optimizer_bytes: int


def time_steps(trainer: PODTrainer, order: Sequence[str], batches: int = TIMED_BATCHES) -> StepTimes:
    """Take training steps and time them. **The trainer's model is not what it was afterwards.**

    As many batches as there are tasks go first and are not timed. Nothing is logged, validated or saved.

    Args:
        trainer: that has not trained yet.
        order: names of the tasks in the order in which they take turns.
        batches: how many batches are timed.
    """
    accumulated = trainer.args.gradient_accumulation_steps
    untimed = max(2, len(order))
    clock = _Clock(trainer.args.device)
    with _only(trainer, clock), _PeakMemory(trainer.args.device) as memory:
        trainer.args.max_steps = math.ceil((untimed + batches) / accumulated)
        trainer.train()
    timed = clock.durations()[untimed : untimed + batches]
    taken: dict[str, list[float]] = {name: [] for name in order}
    turns = [list(order)] if trainer.args.batch_tasks == "mixed" else [[name] for name in order]
    for number, seconds in enumerate(timed, start=untimed):
        for name in turns[number % len(turns)]:
            taken[name].append(seconds)
    gradients = sum(size_of(parameter) for parameter in trainer.model.parameters() if parameter.requires_grad)
    optimizer = _optimizer_bytes(trainer.optimizer)
    return StepTimes(
        seconds={name: float(np.mean(seconds)) for name, seconds in taken.items()},
        batches=len(timed),
        peak_bytes=memory.peak,
        activation_bytes=max(0, memory.peak - memory.before - gradients - optimizer),
        optimizer_bytes=optimizer,
    )


def time_validation(trainer: PODTrainer) -> dict[str, float]:
    """The seconds that one validation takes for each task, estimated from a few batches of it, and for `ranking`."""
    seconds: dict[str, float] = {}
    datasets = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {}
    with _only(trainer, None), training_speed(trainer.model, trainer.args):
        for name, dataset in datasets.items():
            size = min(len(dataset), _VALIDATION_BATCHES * trainer.args.eval_batch_size)
            chosen = Subset(dataset, np.linspace(0, len(dataset) - 1, size).round().astype(int).tolist())
            trainer.evaluate({name: Subset(chosen, range(min(size, trainer.args.eval_batch_size)))})
            began = time.perf_counter()
            trainer.evaluate({name: chosen})
            seconds[name] = (time.perf_counter() - began) * len(dataset) / size
        if trainer.rank_validation is not None and datasets:
            seconds[RANKING] = _time_ranking(trainer, trainer.rank_validation)
    return seconds


def _time_ranking(trainer: PODTrainer, rank: RanksValidation) -> float:
    def run(limit: int) -> float:
        began = time.perf_counter()
        rank(trainer.whole_model(), limit)
        return time.perf_counter() - began

    batch = trainer.args.eval_batch_size
    run(1)
    once, few = run(1), min(rank.size, _VALIDATION_BATCHES * batch)
    slope = (run(few) - once) / (few - 1) if few > 1 else 0.0
    return once + max(0.0, slope) * (rank.size - 1)


def time_checkpoint(trainer: PODTrainer) -> float:
    """The seconds that writing a checkpoint takes; it is written where those of the run will be, and removed.

    Args:
        trainer: whose steps were timed, so that its optimizer has a state.
    """
    # What a kill leaves there is removed like a checkpoint that is half written.
    place = Path(str(trainer.args.output_dir)) / UNFINISHED
    place.mkdir(parents=True, exist_ok=True)
    try:
        with _only(trainer, None), tempfile.TemporaryDirectory(dir=place) as folder:
            trainer.args.output_dir, trainer.args.push_to_hub = folder, False
            trainer.writes_checkpoints = True
            began = time.perf_counter()
            trainer._save_checkpoint(trainer.model, None)
            return time.perf_counter() - began
    finally:
        # Another process may still be writing its part.
        with suppress(OSError):
            place.rmdir()


def size_of(tensor: torch.Tensor) -> int:
    """Bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


@contextmanager
def _only(trainer: PODTrainer, callback: TrainerCallback | None) -> Iterator[None]:
    """Run a trainer with copies of its arguments and with no callbacks that show, report, stop or save."""
    arguments, handler, state = trainer.args, trainer.callback_handler, trainer.state
    writes = trainer.writes_checkpoints
    trainer.args = copy.copy(arguments)
    trainer.args.eval_strategy = trainer.args.save_strategy = trainer.args.logging_strategy = "no"
    trainer.args.load_best_model_at_end = trainer.args.eval_on_start = False
    # Its steps are those that are timed for it.
    trainer.args.max_minutes = None
    trainer.writes_checkpoints = False
    callbacks: list[Any] = [DefaultFlowCallback()] + ([callback] if callback is not None else [])
    trainer.callback_handler = CallbackHandler(
        callbacks, trainer.model, trainer.processing_class, trainer.optimizer, trainer.lr_scheduler
    )
    trainer.state = copy.deepcopy(state)
    try:
        yield
    finally:
        trainer.args, trainer.callback_handler, trainer.state = arguments, handler, state
        trainer.writes_checkpoints = writes


class _Clock(TrainerCallback):
    """Notes when each batch of training ended, with whatever an accelerator still had to do."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ends: list[float] = []

    def durations(self) -> list[float]:
        return np.diff(self.ends).tolist()

    def _note(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        self.ends.append(time.perf_counter())

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        if not self.ends:
            self._note()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._note()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._note()


class _PeakMemory:
    """The most memory in use while a block runs, and what was in use before it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = self.peak = 0

    def __enter__(self) -> _PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return self
        self._process = psutil.Process()
        self.before = self.peak = self._process.memory_info().rss
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)
            return
        self._ended.set()
        self._reader.join()

    def _read(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_READINGS):
            self.peak = max(self.peak, self._process.memory_info().rss)


def _optimizer_bytes(optimizer: Any) -> int:
    states = optimizer.state.values()
    return sum(size_of(value) for state in states for value in state.values() if isinstance(value, torch.Tensor))
