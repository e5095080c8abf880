"""A short run with everything that a kill could lose; called by tests in forked processes, and run as a module."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import TrainerState, set_seed

from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer, last_checkpoint
from peft_pod.training.states import load_state

from ..corpora import hand_made_corpus

STEPS = 14
_OPERATIONS = ("open", "os.mkdir", "os.rename", "shutil.rmtree")


class Parts(NamedTuple):
    """What a run is made of, that no run changes."""

    split: Any
    processor: PODProcessor


def make_parts() -> Parts:
    split = hand_made_corpus().split()
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [
        load_task("sequential", segments="random"),
        load_task("topn", num_negatives=2),
        load_task("explanation"),
    ]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    return Parts(split, PODProcessor(tokenizer, indexing, tasks))


def make_trainer(parts: Parts, folder: Path, cls: type[PODTrainer] = PODTrainer, **changes: Any) -> PODTrainer:
    """With dropout, three tasks, random segments, a checkpoint every 2 steps, and losses taken in the middle of epochs.

    An epoch has 9 steps, and the learning rate is high enough that the validation loss goes up as well as down.
    """
    set_seed(3)
    model = build_model("scratch:tiny", parts.processor, dropout=0.1, num_virtual_tokens=2, train_base=True, seed=3)
    settings: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": STEPS, "per_device_train_batch_size": 1, "learning_rate": 0.02,
        "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2,
        "save_total_limit": 2, "early_stopping_patience": 6, "per_device_eval_batch_size": 16, "seed": 3,
        "disable_tqdm": True, "use_cpu": True, "report_to": "none",
    }  # fmt: skip
    return cls(
        model,
        PODTrainingArguments(**{**settings, **changes}),
        processor=parts.processor,
        train_dataset=TrainingSamples(parts.split.train, parts.processor, seed=3),
        eval_dataset=EvaluationSamples.of_part(parts.split, "validation", parts.processor, seed=3, limit=8),
    )


def run(parts: Parts, folder: Path, **changes: Any) -> PODTrainer:
    """Begin, or go on from the last checkpoint where there is one."""
    trainer = make_trainer(parts, folder, **changes)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) is not None)
    return trainer


def ended(folder: Path) -> dict[str, Any]:
    """All that a run ended with: weights, optimizer, scheduler, random generators, and what the Trainer knows."""
    checkpoint = last_checkpoint(folder)
    assert checkpoint is not None
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return {
        "weights": load_file(checkpoint / "adapter_model.safetensors"),
        **{
            name: load_state(checkpoint / f"{name}.safetensors")
            for name in ("optimizer", "scheduler", "random_state_0")
        },
        "step": state.global_step,
        "best": (state.best_global_step, state.best_metric),
        "waited": state.stateful_callbacks["EarlyStoppingCallback"],
        "validation": [
            {name: value for name, value in entry.items() if name.endswith("_loss")}
            for entry in state.log_history
            if "eval_loss" in entry
        ],
        "kept": sorted(path.name for path in folder.iterdir()),
    }


def in_child(action: Callable[[], object], meanwhile: Callable[[int], None] | None = None) -> int:
    """Do something in a forked process, and say how that ended: its exit status, or the signal as a negative number.

    Args:
        action: what the child does.
        meanwhile: called here with the child's id.
    """
    child = os.fork()
    if child == 0:
        status = 99
        try:
            action()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if meanwhile is not None:
        meanwhile(child)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_at_file_operation(number: int, folder: Path, calls: Sequence[tuple[Any, str]] = ()) -> None:
    """Kill this process right before it opens, makes, renames or removes something in a folder for the n-th time.

    Args:
        number: which time, from 1.
        folder: the folder.
        calls: methods, each by its class and name, that count as well: libraries of their own write files unseen.
    """
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        # The removal of a tree names files by their last names alone.
        if event in ("os.remove", "os.rmdir") or (event in _OPERATIONS and str(folder) in str(arguments[0])):
            count()

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count()
            return method(*arguments, **named)

        return call

    for owner, name in calls:
        setattr(owner, name, counted(getattr(owner, name)))
    sys.addaudithook(watch)  # there is no removing it: only for processes that end


def same(first: Any, second: Any) -> bool:
    """Whether nested values are equal bit by bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return bool(first == second)


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What two runs ended with differently."""
    return [name for name in first if not same(first[name], second[name])]


if __name__ == "__main__":
    parts = make_parts()
    print("begun", flush=True)
    run(parts, Path(sys.argv[1]), max_steps=int(sys.argv[2]))
