"""Two stages: a run that adds tasks to the model of another run and trains their prompts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, TypeVar

from peft import PeftConfig, PeftModel

from peft_pod.generation import Recommender
from peft_pod.processing import PODProcessor
from peft_pod.tasks import SequentialTask, Task, TopNTask

from .arguments import CorpusArguments, ModelArguments
from .run_folder import RunFolder

STARTS = ("uniform", "vocabulary")

_OWN = frozenset(
    {
        "tasks",
        "bare_probability",
        "overwrite",
        "evaluation_limit",
        "evaluation_part",
        "validation_limit",
        "add_tasks_to",
        "new_task_start",
    }
)
"""What such a run says for itself."""
_BEAMS = frozenset({"item_beams", "text_beams", "count_weight"})
"""What it may say; if it does not, it is as in the other run."""
_OF_TASK = {
    SequentialTask.name: ("history_length", "segments"),
    TopNTask.name: ("num_negatives", "candidates_in", "topn_history_length"),
}
"""Options of tasks: its own where the task is new."""

_Arguments = TypeVar("_Arguments", CorpusArguments, ModelArguments)


@dataclass(frozen=True)
class FirstStage:
    """The run whose model gets more tasks.

    Attributes:
        run: its folder.
        new_tasks: names of the tasks that are added.
        start: how their prompts start.
    """

    run: RunFolder
    new_tasks: tuple[str, ...]
    start: str

    @classmethod
    def of(cls, corpus_arguments: CorpusArguments, model_arguments: ModelArguments) -> FirstStage | None:
        """The run that the arguments name; `None` where they name none.

        Raises:
            ValueError: no new tasks are named, one twice, or one that the run has; the start is none, or given without
                a run; the run's model has no prompts.
            FileNotFoundError: there is no such run, or it has no model.
        """
        path, start = model_arguments.add_tasks_to, model_arguments.new_task_start
        if path is None:
            if start != STARTS[0]:
                raise ValueError(f"--new_task_start {start} needs --add_tasks_to, the run that gets new tasks")
            return None
        run = RunFolder.existing(path, "--add_tasks_to")
        if not run.model_arguments()["num_virtual_tokens"]:
            raise ValueError(
                f"--add_tasks_to {path} was made with --num_virtual_tokens 0: a new task is learned by prompts alone, "
                "and its model has none. Train one model on all tasks, or add them to one with prompts"
            )
        new, old = corpus_arguments.tasks, task_names(run)
        if not new or len(set(new)) != len(new):
            raise ValueError(f"--add_tasks_to needs --tasks: those to add, each once; got {new or 'none'}")
        there = sorted(set(new) & set(old))
        if there:
            raise ValueError(f"--tasks names {there}, which the run in {path} has already; it has {old}")
        if start not in (*STARTS, *old):
            raise ValueError(f"--new_task_start must be one of {[*STARTS, *old]}, got {start!r}")
        return cls(run, tuple(new), start)

    def arguments(
        self, corpus_arguments: CorpusArguments, model_arguments: ModelArguments
    ) -> tuple[CorpusArguments, ModelArguments]:
        """The arguments of the new run: those of the first, all tasks, and what is said anew.

        An argument that has its default counts as one that is not given.

        Raises:
            ValueError: an argument is given that contradicts the first run.
        """
        own = _OWN | {name for task in self.new_tasks for name in _OF_TASK.get(task, ())}
        corpus = self._merged(corpus_arguments, self.run.corpus_arguments(), own)
        model = self._merged(model_arguments, self.run.model_arguments(), own)
        return replace(corpus, tasks=[*task_names(self.run), *self.new_tasks]), model

    def _merged(self, given: _Arguments, before: dict[str, Any], own: frozenset[str] | set[str]) -> _Arguments:
        values: dict[str, Any] = {}
        for item in fields(given):
            name, value = item.name, getattr(given, item.name)
            default = item.default if item.default_factory is MISSING else item.default_factory()
            if name in own or (name in _BEAMS and value != default):
                continue
            if value not in (default, before[name]):
                raise ValueError(
                    f"--{name} is {value!r}, but the run in {self.run.path}, which gets new tasks, was made with "
                    f"{before[name]!r}: leave it out"
                )
            values[name] = before[name]
        return replace(given, **values)

    def grow(self, tasks: Sequence[Task], most_ids: int) -> tuple[PeftModel, PODProcessor]:
        """The run's model with the new tasks, of which nothing but their prompts is trained.

        Args:
            tasks: the new tasks.
            most_ids: the most IDs that an input holds.

        Raises:
            ValueError: the model's whole-word embeddings are too few for the inputs of a new task.
        """
        recommender = Recommender.from_pretrained(self.run.model)
        model: PeftModel = recommender.model
        config = model.active_peft_config
        if config.whole_word_embedding and config.max_whole_words < most_ids:
            raise ValueError(
                f"inputs of {list(self.new_tasks)} may hold {most_ids} IDs, and the model in {self.run.path} has "
                f"whole-word embeddings for {config.max_whole_words}: shorten the history, or take fewer negatives"
            )
        for task in tasks:
            model.add_task(task.name, init=self.start)
        model.set_train_tasks([task.name for task in tasks])
        return model, recommender.processor.with_tasks(tasks)


def task_names(run: RunFolder) -> list[str]:
    """The tasks of a run's model.

    Raises:
        ValueError: its adapter does not name them.
    """
    names = getattr(PeftConfig.from_pretrained(str(run.model)), "tasks", None)
    if not names:
        raise ValueError(f"the adapter in {run.model} names no tasks, so none can be added to it")
    return list(names)
