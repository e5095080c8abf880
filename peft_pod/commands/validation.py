"""What validations of a run measure beside losses, and by what its best model is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from peft_pod.corpus import Split
from peft_pod.generation import GenerationSettings
from peft_pod.metrics import ValidationRanking
from peft_pod.processing import PODProcessor
from peft_pod.tasks import Task
from peft_pod.training import PODTrainingArguments
from peft_pod.training.run_length import strategy_of
from peft_pod.training.validation import MEAN_LOSS, ranking_metric

from .arguments import CorpusArguments

AUTO = "auto"
_MEASURED = ("hr", "ndcg")
_CUTOFF = 10


def validation_limit(arguments: CorpusArguments) -> int | None:
    """How many users a task are validated on while training; `None` for all.

    Example:
        >>> validation_limit(CorpusArguments(validation_limit=4000, evaluation_limit=50))
        4000
        >>> validation_limit(CorpusArguments(evaluation_limit=50))
        50
    """
    return arguments.evaluation_limit if arguments.validation_limit is None else arguments.validation_limit


def choose_metric(arguments: PODTrainingArguments, tasks: Sequence[Task]) -> None:
    """Put a metric in the place of `metric_for_best_model="auto"`: how the first task that names items ranks them.

    Args:
        arguments: of the Trainer; changed in place.
        tasks: of the run.
    """
    if arguments.metric_for_best_model != AUTO:
        return
    ranked = [task.name for task in tasks if task.target == "item"]
    arguments.metric_for_best_model = f"eval_{ranked[0]}_ndcg@{_CUTOFF}" if ranked else MEAN_LOSS
    arguments.greater_is_better = bool(ranked)


def validation_ranking(
    split: Split,
    processor: PODProcessor,
    corpus_arguments: CorpusArguments,
    training_arguments: PODTrainingArguments,
    item_beams: int,
) -> ValidationRanking | None:
    """How items are ranked at validations; `None` where the best model is chosen by a loss, or there are none.

    Args:
        split: the split corpus.
        processor: has the tasks.
        corpus_arguments: how many users a task are validated on.
        training_arguments: by what the best model is chosen.
        item_beams: beams of the searches.

    Raises:
        ValueError: the metric cannot be measured.
    """
    asked = ranking_metric(training_arguments.metric_for_best_model or MEAN_LOSS)
    if asked is None or strategy_of(training_arguments, "eval_strategy") == "no":
        return None
    task, metric, k = asked
    ranked = [one.name for one in processor.tasks if one.target == "item"]
    if task not in ranked:
        name = training_arguments.metric_for_best_model
        raise ValueError(f"--metric_for_best_model is {name!r}, but tasks of this run that rank items are {ranked}")
    return ValidationRanking(
        split,
        processor,
        task,
        settings=GenerationSettings(
            item_beams=item_beams,
            batch_size=training_arguments.per_device_eval_batch_size,
            normaliser="children",
        ),
        metrics=tuple(dict.fromkeys((*_MEASURED, metric))),
        ks=tuple(dict.fromkeys((_CUTOFF, k))),
        seed=training_arguments.seed,
        limit=validation_limit(corpus_arguments),
    )
