"""`peft-pod train --dry-run`: what a run would do and take, found out by building it and timing a few steps."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from peft_pod.corpus import Part
from peft_pod.metrics import evaluate_model
from peft_pod.training import PODTrainer, PODTrainingArguments, process_state
from peft_pod.training.precision import bf16_speedup
from peft_pod.training.run_length import run_length
from peft_pod.training.timing import StepTimes, drawn_tokens, size_of, time_steps, time_validation

from .arguments import CorpusArguments, ModelArguments
from .plan_text import plan_text
from .run_record import PLACE_ARGUMENTS, changed_training
from .train import Built, build

_EVALUATED_BATCHES = 2
_PARTS = {"pod_prompts": "prompts", "pod_whole_words": "whole words", "lora_": "LoRA"}
NOT_COUNTED = (
    "checkpoints, baselines and pictures",
    "an early stop",
    "sentences that a trained model ends sooner",
)


@dataclass
class PlanArguments:
    """Whether to plan only."""

    dry_run: bool = field(
        default=False,
        metadata={"help": "Build everything, time ten steps, print what the run would do and take, and write nothing."},
    )
    json: bool = field(default=False, metadata={"help": "With --dry_run, print one JSON object and nothing else."})


def check_plan(arguments: PlanArguments) -> None:
    """Refuse `--json` without `--dry_run`.

    Raises:
        ValueError: it is so.
    """
    if arguments.json and not arguments.dry_run:
        raise ValueError("--json goes with --dry_run; a run that is trained has its numbers in metrics.json")


def dry_run(
    corpus_arguments: CorpusArguments,
    model_arguments: ModelArguments,
    training_arguments: PODTrainingArguments,
    *,
    recipe: str | None = None,
    as_json: bool = False,
) -> dict[str, Any]:
    """Print what `train` would do with these arguments, and what it would take; nothing is written.

    In several processes all must call it; the first one prints, and its times are those of its own share.

    Args:
        corpus_arguments: as for `train`.
        model_arguments: likewise.
        training_arguments: likewise.
        recipe: that the arguments started from.
        as_json: print JSON in place of text.

    Returns:
        The plan.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: as for `train`.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        built = build(corpus_arguments, model_arguments, training_arguments, checkpoints=Path(scratch))
        seconds = time.perf_counter() - began
        plan = make_plan(built, limit=corpus_arguments.evaluation_limit, recipe=recipe, building_seconds=seconds)
    if process_state().is_main_process:
        print(json.dumps(plan, ensure_ascii=False) if as_json else plan_text(plan))
    return plan


def make_plan(built: Built, *, limit: int | None, recipe: str | None, building_seconds: float) -> dict[str, Any]:
    """The plan of a run as a dictionary for JSON. **What was built is used up by the timing.**

    Args:
        built: the run.
        limit: at most so many users a task in the evaluation at the end.
        recipe: that the arguments started from.
        building_seconds: how long building took.
    """
    trainer = built.trainer
    parameters = count_parameters(built.model)
    planned = trainer.plan_length(built.left_by)
    length = {
        **asdict(run_length(trainer)),
        "steps_done": _steps_done(built.left_by),
        "max_minutes": None if planned is None else planned.minutes,
        "asked_steps": None if planned is None else planned.asked,
        "batch_tasks": trainer.args.batch_tasks,
    }
    tokens = drawn_tokens(trainer)
    turns = 1 if trainer.args.batch_tasks == "mixed" else len(tokens)
    times = time_steps(trainer, list(tokens))
    validation = time_validation(trainer)
    weights = sum(size_of(tensor) for tensor in (*built.model.parameters(), *built.model.buffers()))
    evaluation = _time_evaluation(built, limit)
    samples = trainer.train_dataset
    tasks = {
        task.name: {
            "training_samples": samples.sizes[number],
            "validation_samples": len(trainer.eval_dataset.get(task.name, ())),
            "batches_per_epoch": length["batches_per_epoch"] // turns if task.name in tokens else 0,
            **_task_tokens(tokens.get(task.name)),
            "seconds_per_batch": times.seconds.get(task.name),
        }
        for number, task in enumerate(built.processor.tasks)
    }
    return {
        "recipe": recipe,
        "changed_arguments": changed_arguments(built.values),
        "corpus": _corpus(built),
        "item_ids": _item_ids(built),
        "tasks": tasks,
        "model": {"base": built.values["model"]["base_model"], "parameters": parameters},
        "length": length,
        "memory_bytes": _memory(built, weights, times),
        "seconds": _seconds(length, times, validation, evaluation, building_seconds),
        "timed_batches": times.batches,
        "precision": _precision(trainer),
        "evaluation_part": built.evaluated_part(),
        "not_counted": list(NOT_COUNTED),
    }


def _steps_done(checkpoint: str | None) -> int:
    if checkpoint is None:
        return 0
    return int(TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME)).global_step)


def changed_arguments(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of a run, given by section, that are not at their defaults; where it goes is left out."""
    defaults = {"corpus": asdict(CorpusArguments()), "model": asdict(ModelArguments())}
    changed: dict[str, Any] = {
        name: value
        for section, known in defaults.items()
        for name, value in values[section].items()
        if value != known[name]
    }
    changed = {**changed, **changed_training(values["training"])}
    return {name: value for name, value in changed.items() if name not in PLACE_ARGUMENTS}


def count_parameters(model: Any) -> dict[str, dict[str, int]]:
    """How many parameters are trained, and how many there are, in all and by part.

    Args:
        model: a PEFT model with a POD adapter.
    """
    parts: dict[str, dict[str, int]] = {name: {"trained": 0, "total": 0} for name in ("all", "base")}
    for name, parameter in model.named_parameters():
        part = next((part for key, part in _PARTS.items() if key in name), "base")
        for counted in ("all", part):
            count = parts.setdefault(counted, {"trained": 0, "total": 0})
            count["total"] += parameter.numel()
            count["trained"] += parameter.numel() if parameter.requires_grad else 0
    return parts


def _task_tokens(counts: Any) -> dict[str, Any]:
    if counts is None:
        return {}
    return {"input_tokens_per_batch": asdict(counts[0]), "answer_tokens_per_batch": asdict(counts[1])}


def _corpus(built: Built) -> dict[str, Any]:
    corpus = built.corpus
    return {
        "name": corpus.name,
        "users": built.split.train.num_users,
        "items": len(built.processor.indexing.item_words),
        "interactions": len(corpus.interactions),
        "fingerprint": corpus.fingerprint,
        "audit": built.audit.note(),
    }


def _item_ids(built: Built) -> dict[str, Any]:
    lengths = [len(tokens) for tokens in built.processor.item_tokens()]
    return {
        "indexing": built.processor.indexing.name,
        "tokens": {"mean": float(np.mean(lengths)), "fewest": min(lengths), "most": max(lengths)},
    }


def _memory(built: Built, weights: int, times: StepTimes) -> dict[str, int]:
    trained = sum(size_of(parameter) for parameter in built.model.parameters() if parameter.requires_grad)
    return {
        "weights": weights,
        "gradients": trained,
        "optimizer": times.optimizer_bytes,
        "activations": times.activation_bytes,
        "peak": times.peak_bytes,
    }


def _precision(trainer: PODTrainer) -> dict[str, Any]:
    base: Any = trainer.model.get_base_model()
    width = base.get_input_embeddings().weight.shape[-1]
    used = "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "float32"
    return {"used": used, "bf16_speedup": bf16_speedup(width, 4 * width, trainer.args.device)}


def _time_evaluation(built: Built, limit: int | None) -> dict[str, float]:
    """The seconds of the beam searches at the end for each task, estimated from a few batches."""
    part = built.evaluated_part()
    if part is None:
        return {}
    seed = built.trainer.args.seed
    engine = built.recommender(show_progress=False).engine
    seconds: dict[str, float] = {}
    for task in built.processor.tasks:
        size = len(task.evaluation_samples(built.split, part, seed))
        size = size if limit is None else min(size, limit)
        if not size:
            continue

        def run(few: int, name: str = task.name, part: Part = part) -> float:
            began = time.perf_counter()
            evaluate_model(engine, built.split, part, tasks=[name], seed=seed, limit=few, bootstrap=None)
            return time.perf_counter() - began

        run(1)
        once = run(1)
        few = min(size, _EVALUATED_BATCHES * built.settings.batch_size)
        slope = (run(few) - once) / (few - 1) if few > 1 else 0.0
        seconds[task.name] = once + max(0.0, slope) * (size - 1)
    return seconds


def _seconds(
    length: Mapping[str, Any],
    times: StepTimes,
    validation: Mapping[str, float],
    evaluation: Mapping[str, float],
    building: float,
) -> dict[str, Any]:
    batch = float(np.mean(list(times.seconds.values())))
    step = batch * length["batches_per_step"]
    one = sum(validation.values())
    left = 1 - length["steps_done"] / length["steps"]
    training = left * (step * length["steps"] + one * length["validations"])
    final = sum(evaluation.values())
    return {
        "building": building,
        "step": step,
        "one_validation": one,
        "training": training,
        "evaluation": dict(evaluation),
        "total": building + training + final,
    }
