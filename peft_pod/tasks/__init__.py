"""Recommendation tasks as text generation."""

from __future__ import annotations

from typing import Any

from peft_pod.corpus import TrainingPart

from .base import HISTORY, Sample, Task
from .explanation import ExplanationTask
from .on_demand import SamplesOnDemand
from .sequential import SequentialTask
from .template import Field, Template
from .topn import TopNTask

_TASKS: dict[str, type[Task]] = {}


def register_task(task: type[Task]) -> type[Task]:
    """Make a task known by its name; usable as a decorator.

    Raises:
        ValueError: another task has the name.
    """
    registered = _TASKS.setdefault(task.name, task)
    if registered is not task:
        raise ValueError(f"there is already a task {task.name!r}: {registered.__module__}.{registered.__qualname__}")
    return task


def available_tasks() -> list[str]:
    """Names of the tasks that `load_task` knows."""
    return list(_TASKS)


def load_task(name: str, **options: Any) -> Task:
    """Make a task by name.

    Args:
        name: one of `available_tasks()`.
        **options: arguments of the task's class.

    Raises:
        ValueError: no task has the name, or it does not take such options.

    Example:
        >>> load_task("sequential", history_length=10).history_length
        10
    """
    if name not in _TASKS:
        raise ValueError(f"unknown task {name!r}; known are {available_tasks()}. Register your own by register_task")
    try:
        return _TASKS[name](**options)
    except TypeError as error:
        raise ValueError(f"task {name!r} does not take the options {sorted(options)}: {error}") from error


def supported_tasks(train: TrainingPart) -> list[str]:
    """Names of the tasks for which the corpus has samples: explanation needs sentences, for example."""
    return [name for name, task in _TASKS.items() if task().training_size(train) > 0]


for _task in (SequentialTask, TopNTask, ExplanationTask):
    register_task(_task)

__all__ = [
    "ExplanationTask",
    "Field",
    "HISTORY",
    "Sample",
    "SamplesOnDemand",
    "SequentialTask",
    "Task",
    "Template",
    "TopNTask",
    "available_tasks",
    "load_task",
    "register_task",
    "supported_tasks",
]
