"""How well a trained model does its tasks, and the baselines on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from accelerate.utils import gather_object

from peft_pod.corpus import Part, Split
from peft_pod.corpus.split import IntArray
from peft_pod.generation import GenerationEngine
from peft_pod.processing.samples import limited
from peft_pod.tasks import Sample, Task
from peft_pod.training.processes import process_state

from .baselines import available_baselines, load_baseline
from .bootstrap import Bootstrap
from .evaluation import DEFAULT_BOOTSTRAP, evaluate_baseline, ranked_depth, result_of_lists
from .explanation import DEFAULT_CONVENTION, LOWER_IS_BETTER, check_convention
from .protocol import CANDIDATE_SEED, FULL, SENTENCES, TEXT_CONVENTION, Protocol
from .ranking import DEFAULT_KS, DEFAULT_METRICS, check_ks, check_metrics
from .registry import load_metric
from .report import TaskResult

UNIFORM = "uniform"
Answer = TypeVar("Answer")


def evaluate_model(
    engine: GenerationEngine,
    split: Split,
    part: Part = "test",
    *,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
    text_convention: str = DEFAULT_CONVENTION,
) -> dict[str, TaskResult]:
    """Evaluate a model on each of its tasks.

    A task that names items is measured by HR@k, NDCG@k or others, over the sample's candidates where it has some,
    over the full catalogue otherwise. A task that writes text is measured by BLEU, ROUGE and how it names features.

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
        metrics: names of ranking metrics, see `peft_pod.metrics.ranking_scores`.
        bootstrap: how confidence intervals of ranking metrics are made; `None` for none.
        text_convention: how BLEU and ROUGE count, `"standard"` or `"paper"`; see `ExplanationMetric`.

    Returns:
        For each task that has samples in the part its result.

    Raises:
        ValueError: `limit` is not positive, or a task is unknown to the model, or a metric, a cut-off or the convention
            is none; or no task has samples in the part.
    """
    _check(limit, ks, metrics)
    check_convention(text_convention)
    results = {}
    asked = _tasks(engine, tasks)
    for task in asked:
        samples = limited(task.evaluation_samples(split, part, seed), limit, seed)
        if not samples:
            continue
        if task.target == "item":
            depth = ranked_depth(ks)
            lists = _ranked_items(engine, task, samples, depth, exclude_seen)
            protocol = _item_protocol(engine, split, task, samples, part, seed, exclude_seen, depth)
            targets, users = (
                np.array(column, dtype=np.int64)
                for column in zip(*((sample.target_item, sample.user) for sample in samples), strict=True)
            )
            results[task.name] = result_of_lists(
                lists, targets, users, split, protocol, ks=ks, metrics=metrics, bootstrap=bootstrap
            )
        else:
            results[task.name] = _evaluate_text(engine, task, samples, split, part, text_convention)
    if not results:
        raise ValueError(f"{why_nothing_is_asked(asked, split, part, seed)}; evaluate another part")
    return results


def why_nothing_is_asked(tasks: Sequence[Task], split: Split, part: Part, seed: int = 0) -> str:
    """Why no task has a sample in a part of a split, in words; nothing where one has.

    Args:
        tasks: the tasks.
        split: the split corpus.
        part: `"validation"` or `"test"`.
        seed: of the candidates.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.tasks import load_task
        >>> split = load_corpus("embedded", num_users=50).split("leave-one-out-refit")
        >>> why_nothing_is_asked([load_task("sequential")], split, "validation")
        "nobody has a validation item: the split 'leave-one-out-refit' trains on the validation items"
        >>> why_nothing_is_asked([load_task("sequential")], split, "test")
        ''
    """
    if any(len(task.evaluation_samples(split, part, seed)) for task in tasks):
        return ""
    if len(split.evaluated_users(part)):
        return f"the {part} part has no questions of the tasks {[task.name for task in tasks]}"
    return f"nobody has a {part} item: {split.why_nobody(part)}"


def evaluate_baselines(
    tasks: Sequence[Task],
    split: Split,
    part: Part = "test",
    *,
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
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
        metrics: likewise.
        bootstrap: likewise.

    Returns:
        For each task the result of each baseline by its name.

    Raises:
        ValueError: `limit` is not positive, or a metric or a cut-off is none.
    """
    _check(limit, ks, metrics)
    fitted = {name: load_baseline(name).fit(split.train) for name in available_baselines()}
    results: dict[str, dict[str, TaskResult]] = {}
    for task in tasks:
        samples = limited(task.evaluation_samples(split, part, seed), limit, seed)
        if task.target != "item" or not samples:
            continue
        listed = _listed(samples)
        results[task.name] = {
            name: evaluate_baseline(
                baseline,
                split,
                part,
                users=[sample.user for sample in samples],
                exclude_seen=exclude_seen and not listed,
                candidates=_candidates(samples) if listed else None,
                candidate_set=_candidate_set(task, samples),
                ks=ks,
                metrics=metrics,
                bootstrap=bootstrap,
                details={CANDIDATE_SEED: seed} if listed else None,
            )
            for name, baseline in fitted.items()
        }
    return results


def _check(limit: int | None, ks: Sequence[int], metrics: Sequence[str]) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or left out to evaluate all users; got {limit}")
    check_ks(ks)
    check_metrics(metrics)


def _tasks(engine: GenerationEngine, names: Sequence[str] | None) -> list[Task]:
    return [engine.processor.task(name) for name in (engine.processor.task_names if names is None else names)]


def _candidate_set(task: Task, samples: Sequence[Sample]) -> str:
    """The protocol's name of what is ranked; how negatives are drawn is part of it, unless it is the paper's way."""
    if not _listed(samples):
        return FULL
    negatives = task.options().get("negatives", UNIFORM)
    drawn = "" if negatives == UNIFORM else f"-{negatives}"
    return f"candidates-{max(map(len, _candidates(samples)))}{drawn}"


def _listed(samples: Sequence[Sample]) -> bool:
    """Whether the samples of a task, which are all alike in this, say what to choose among."""
    return samples[0].candidates is not None


def _candidates(samples: Sequence[Sample]) -> list[IntArray]:
    return [np.array(sample.candidates) for sample in samples]


def _ranked_items(
    engine: GenerationEngine, task: Task, samples: Sequence[Sample], k: int, exclude_seen: bool
) -> IntArray:
    """The k best items of each sample, −1 beyond the last; shape `(len(samples), k)`.

    Where histories are excluded, nothing is left for a user who took the whole catalogue: the list is empty.
    """
    exclude = exclude_seen and not _listed(samples)

    def ranked(share: Sequence[Sample]) -> list[list[int]]:
        lists = np.full((len(share), k), -1, dtype=np.int64)
        rows = [row for row, sample in enumerate(share) if not (exclude and _excludes_all(sample, engine))]
        lists[rows] = engine.find_items([share[row] for row in rows], task.name, k=k, exclude=exclude).items
        found: list[list[int]] = lists.tolist()
        return found

    return np.array(_over_processes(samples, ranked), dtype=np.int64)


def _excludes_all(sample: Sample, engine: GenerationEngine) -> bool:
    items = engine.trie.num_items
    return len(sample.exclude) >= items and len(set(sample.exclude)) >= items


def _item_protocol(
    engine: GenerationEngine,
    split: Split,
    task: Task,
    samples: Sequence[Sample],
    part: Part,
    seed: int,
    exclude_seen: bool,
    k: int,
) -> Protocol:
    listed, mixed = _listed(samples), _mixed(engine)
    return Protocol(
        part,
        len(samples),
        _candidate_set(task, samples),
        None if listed else exclude_seen,
        # To be mixed with counts, all candidates are scored.
        beams=None if listed and mixed else engine.item_beams(k),
        split=split.name,
        fingerprint=split.fingerprint,
        details={**({CANDIDATE_SEED: seed, **_answered(task)} if listed else {}), **mixed},
    )


def _mixed(engine: GenerationEngine) -> dict[str, float]:
    """The share of counting, where there is one: how questions are answered, not what is asked."""
    weight = engine.settings.count_weight
    return {"count_weight": weight} if weight else {}


def _answered(task: Task) -> dict[str, str | int]:
    """How a model answers questions with candidates, unless it is the paper's way: what is asked is the same."""
    options = task.options()
    found: dict[str, str | int] = {}
    if options.get("candidates_in", "prompt") != "prompt":
        found["candidates_in"] = options["candidates_in"]
    if options.get("history_length", 0):
        found["history_length"] = options["history_length"]
    return found


def _evaluate_text(
    engine: GenerationEngine, task: Task, samples: Sequence[Sample], split: Split, part: Part, convention: str
) -> TaskResult:
    scores = load_metric("explanation").compute(
        predictions=_over_processes(samples, lambda share: engine.write_text(share, task.name)),
        references=[sample.target_text for sample in samples],
        features=[sample.target_feature or "" for sample in samples],
        convention=convention,
    )
    num_users = len({sample.user for sample in samples})
    several = {SENTENCES: len(samples)} if len(samples) > num_users else {}
    protocol = Protocol(
        part,
        num_users,
        beams=engine.settings.text_beams,
        split=split.name,
        fingerprint=split.fingerprint,
        details={TEXT_CONVENTION: convention, **several},
    )
    metrics = {name: value for name, value in scores.items() if name not in LOWER_IS_BETTER}
    return TaskResult(protocol, metrics, statistics={name: scores[name] for name in LOWER_IS_BETTER if name in scores})


def _over_processes(samples: Sequence[Sample], answer: Callable[[Sequence[Sample]], list[Answer]]) -> list[Answer]:
    """Have each process answer its share of the samples; all of them get all answers, in the samples' order."""
    state = process_state()
    shares = [range(len(samples))[rank :: state.num_processes] for rank in range(state.num_processes)]
    own = answer([samples[position] for position in shares[state.process_index]])
    gathered = gather_object(own)
    answers = dict(zip((position for share in shares for position in share), gathered, strict=True))
    return [answers[position] for position in range(len(samples))]
