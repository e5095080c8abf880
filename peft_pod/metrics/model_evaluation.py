"""How well a trained model does its tasks, and the baselines on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from accelerate.utils import gather_object

from peft_pod.corpus import LeaveOneOut, Part
from peft_pod.generation import GenerationEngine
from peft_pod.processing.samples import limited
from peft_pod.tasks import Sample, Task
from peft_pod.training.processes import process_state

from .baselines import available_baselines, load_baseline
from .evaluation import evaluate_baseline
from .ranking import DEFAULT_KS, ranking_scores
from .registry import load_metric
from .report import CANDIDATE_SEED, FULL, Protocol, TaskResult

CANDIDATES = "candidates"
Answer = TypeVar("Answer")


def evaluate_model(
    engine: GenerationEngine,
    split: LeaveOneOut,
    part: Part = "test",
    *,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    ks: Sequence[int] = DEFAULT_KS,
) -> dict[str, TaskResult]:
    """Evaluate a model on each of its tasks.

    A task that names items is measured by HR@k and NDCG@k, over the sample's candidates where it lists some, over the
    full catalogue otherwise. A task that writes text is measured by BLEU, ROUGE and how often the feature is mentioned.

    In several processes (`accelerate launch`) each answers its share of the samples; every sample counts once, and all
    processes return the same results, which are those of a single process.

    Args:
        engine: runs the model.
        split: the split corpus.
        part: `"validation"` or `"test"`.
        tasks: names of the tasks; all of the model's where left out.
        seed: of the candidates, and of what `limit` keeps.
        limit: evaluate at most so many samples of each task; all of them where left out.
        exclude_seen: whether the history's items are left out of the ranking, where nothing lists candidates.
        ks: the cut-offs.

    Returns:
        For each task that has samples in the part its result.

    Raises:
        ValueError: `limit` is not positive, or a task is unknown to the model.
    """
    _check_limit(limit)
    results = {}
    for task in _tasks(engine, tasks):
        samples = limited(task.evaluation_samples(split, part, seed), limit, seed)
        if not samples:
            continue
        if task.target == "item":
            results[task.name] = _evaluate_items(engine, task, samples, part, seed, exclude_seen, ks)
        else:
            results[task.name] = _evaluate_text(engine, task, samples, part)
    return results


def evaluate_baselines(
    tasks: Sequence[Task],
    split: LeaveOneOut,
    part: Part = "test",
    *,
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    ks: Sequence[int] = DEFAULT_KS,
) -> dict[str, dict[str, TaskResult]]:
    """Evaluate every baseline on the samples on which `evaluate_model` evaluates a model.

    Args:
        tasks: tasks; those that write text have no baselines.
        split: the split corpus.
        part: see `evaluate_model`, as the other arguments.
        seed: likewise.
        limit: likewise.
        exclude_seen: likewise.
        ks: likewise.

    Returns:
        For each task the result of each baseline by its name.

    Raises:
        ValueError: `limit` is not positive.
    """
    _check_limit(limit)
    fitted = {name: load_baseline(name).fit(split.train) for name in available_baselines()}
    results: dict[str, dict[str, TaskResult]] = {}
    for task in tasks:
        samples = limited(task.evaluation_samples(split, part, seed), limit, seed)
        if task.target != "item" or not samples:
            continue
        listed = CANDIDATES in samples[0].items
        results[task.name] = {
            name: evaluate_baseline(
                baseline,
                split,
                part,
                users=[sample.user for sample in samples],
                exclude_seen=exclude_seen and not listed,
                candidates=[np.array(sample.items[CANDIDATES]) for sample in samples] if listed else None,
                candidate_set=_candidate_set(samples),
                ks=ks,
                details={CANDIDATE_SEED: seed} if listed else None,
            )
            for name, baseline in fitted.items()
        }
    return results


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or left out to evaluate all users; got {limit}")


def _tasks(engine: GenerationEngine, names: Sequence[str] | None) -> list[Task]:
    return [engine.processor.task(name) for name in (engine.processor.task_names if names is None else names)]


def _candidate_set(samples: Sequence[Sample]) -> str:
    if CANDIDATES not in samples[0].items:
        return FULL
    return f"candidates-{max(len(sample.items[CANDIDATES]) for sample in samples)}"


def _evaluate_items(
    engine: GenerationEngine,
    task: Task,
    samples: Sequence[Sample],
    part: Part,
    seed: int,
    exclude_seen: bool,
    ks: Sequence[int],
) -> TaskResult:
    listed = CANDIDATES in samples[0].items

    def ranks(share: Sequence[Sample]) -> list[int]:
        found = engine.find_items(share, task.name, k=max(ks), exclude=exclude_seen and not listed)
        hits = found.items == np.array([sample.target_item for sample in share], dtype=np.int64)[:, None]
        return [int(rank) for rank in np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)]

    protocol = Protocol(
        part,
        len(samples),
        _candidate_set(samples),
        None if listed else exclude_seen,
        beams=engine.item_beams(max(ks)),
        details={CANDIDATE_SEED: seed} if listed else {},
    )
    return TaskResult(protocol, ranking_scores(_over_processes(samples, ranks), ks))


def _evaluate_text(engine: GenerationEngine, task: Task, samples: Sequence[Sample], part: Part) -> TaskResult:
    metrics = load_metric("explanation").compute(
        predictions=_over_processes(samples, lambda share: engine.write_text(share, task.name)),
        references=[sample.target_text for sample in samples],
        features=[sample.target_feature or "" for sample in samples],
    )
    return TaskResult(Protocol(part, len(samples), beams=engine.settings.text_beams), metrics)


def _over_processes(samples: Sequence[Sample], answer: Callable[[Sequence[Sample]], list[Answer]]) -> list[Answer]:
    """Have each process answer its share of the samples; all of them get all answers, in the samples' order."""
    state = process_state()
    shares = [range(len(samples))[rank :: state.num_processes] for rank in range(state.num_processes)]
    own = answer([samples[position] for position in shares[state.process_index]])
    gathered = gather_object(own)
    answers = dict(zip((position for share in shares for position in share), gathered, strict=True))
    return [answers[position] for position in range(len(samples))]
