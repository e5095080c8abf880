"""Runs without training: the baselines, and the rules that count on from the numbers in item IDs."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from peft_pod.audit import Audit
from peft_pod.commands.arguments import DataArguments
from peft_pod.commands.data import audit_of, fit_indexing, read_corpus, split_corpus
from peft_pod.commands.run_record import environment
from peft_pod.corpus import Split
from peft_pod.indexing import Indexing
from peft_pod.metrics import TaskResult, evaluate_baseline, evaluate_baselines, load_baseline
from peft_pod.metrics.baselines import available_index_rules
from peft_pod.tasks import SequentialTask, load_task, supported_tasks

from .results import Entry, system_result, with_provenance
from .settings import BASELINES, Run

Results = dict[str, dict[str, TaskResult]]


def evaluate(run: Run, seed: int, data_dir: str | None) -> Entry:
    """Evaluate what the run names on its part, with the history excluded and included.

    Args:
        run: of the kind `"baselines"` or `"index-rules"`.
        seed: of the item IDs and of the candidates of the top-N task.
        data_dir: folder of the corpus' files.
    """
    arguments = replace(DataArguments(**run.arguments), corpus=run.corpus, data_dir=data_dir)
    corpus = read_corpus(arguments)
    split = split_corpus(corpus, arguments)
    indexing = fit_indexing(split, arguments, seed)
    audit: Audit = audit_of(corpus, split, indexing, seed)
    of_kind = _baselines if run.kind == BASELINES else _index_rules
    excluded, included = (of_kind(run, split, indexing, seed, exclude_seen=exclude) for exclude in (True, False))
    tasks = {
        task: {name: system_result(result, included[task][name]) for name, result in systems.items()}
        for task, systems in excluded.items()
    }
    entry: dict[str, Any] = {
        "seed": seed,
        "part": run.part,
        "arguments": dict(run.train),
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "indexing": indexing.name},
        "audit": {"leaks": audit.leaks, "verdict": audit.note()},
        "tasks": tasks,
    }
    return with_provenance(entry, environment(), datetime.date.today().isoformat())


def _baselines(run: Run, split: Split, indexing: Indexing, seed: int, *, exclude_seen: bool) -> Results:
    tasks = [load_task(name) for name in supported_tasks(split.train)]
    return evaluate_baselines(tasks, split, run.evaluated, seed=seed, exclude_seen=exclude_seen, bootstrap=None)


def _index_rules(run: Run, split: Split, indexing: Indexing, seed: int, *, exclude_seen: bool) -> Results:
    return {
        SequentialTask.name: {
            name: evaluate_baseline(
                load_baseline(name, indexing=indexing).fit(split.train),
                split,
                run.evaluated,
                exclude_seen=exclude_seen,
                bootstrap=None,
            )
            for name in available_index_rules()
        }
    }
