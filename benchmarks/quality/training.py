"""Runs that train: by the public command line, in a process of their own."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from peft_pod.commands.run_folder import RunFolder, report_variant
from peft_pod.files import write_text
from peft_pod.metrics import Report
from peft_pod.tasks import ExplanationTask

from . import ROOT
from .examples import explanation_examples
from .results import MIXED, MODEL, Entry, system_result, with_provenance
from .settings import Run

Start = Callable[[Sequence[str], Path, int], None]
"""Runs `peft-pod` with arguments, a file for what it prints, and a number of threads."""


def train(
    run: Run, seed: int, data_dir: str | None, folder: Path, *, threads: int, again: bool, start: Start | None = None
) -> Entry:
    """Train and evaluate one seed of a run.

    A run that was trained to the end with the same arguments, and whose evaluation failed, is not trained again.

    Args:
        run: of the kind `"train"`.
        seed: of everything drawn.
        data_dir: folder of the corpus' files.
        folder: of the trained run.
        threads: that the processes may use.
        again: whether to train in any case.
        start: how the command line is run; in a process of its own by default.

    Raises:
        RuntimeError: a command failed; the message names the file that has what it printed.
    """
    start = start_process if start is None else start
    config, log = (folder.parent / f"{folder.name}.{ending}" for ending in ("yaml", "log"))
    asked = yaml.safe_dump(train_arguments(run, seed, data_dir), sort_keys=False, allow_unicode=True)
    ran = config.is_file() and config.read_text(encoding="utf-8") == asked
    if again or not (ran and (folder / "metrics.json").is_file()):
        write_text(config, asked)
        start(["train", "--config", str(config), "--output_dir", str(folder), "--overwrite"], log, threads)
    excluded = Report.load(_report(folder, run))
    ranked = [task for task, result in excluded.tasks.items() if result.protocol.candidates is not None]
    # Where candidates are listed, the history makes no difference.
    open_ended = [task for task in ranked if excluded.tasks[task].protocol.history_excluded is not None]

    def again_with(tasks: Sequence[str], *, exclude_seen: bool, count_weight: float | None = None) -> Report | None:
        if not tasks:
            return None
        limit = run.train.get("evaluation_limit")
        options = ["--part", run.evaluated, *(["--limit", str(limit)] if limit is not None else [])]
        options += [] if exclude_seen else ["--keep_seen"]
        options += [] if count_weight is None else ["--count_weight", str(count_weight)]
        start(["evaluate", "--run", str(folder), "--tasks", *tasks, *options], log, threads)
        variant = report_variant(
            run.evaluated, limit, exclude_seen=exclude_seen, tasks=tasks, count_weight=count_weight
        )
        return Report.load(RunFolder(folder).report(variant))

    reports = {MODEL: (excluded, again_with(open_ended, exclude_seen=False))}
    if run.count_weight is not None:
        mixed = again_with(ranked, exclude_seen=True, count_weight=run.count_weight)
        if mixed is not None:
            included = again_with(open_ended, exclude_seen=False, count_weight=run.count_weight)
            reports[MIXED] = (mixed, included)
    return _entry(run, seed, folder, reports)


def train_arguments(run: Run, seed: int, data_dir: str | None) -> dict[str, Any]:
    """What `--config` of the training gets."""
    arguments = {**run.arguments, "corpus": run.corpus, "seed": seed}
    if data_dir is not None:
        arguments["data_dir"] = data_dir
    if run.evaluated != "test":
        arguments["evaluation_part"] = run.evaluated
    return arguments


def start_process(arguments: Sequence[str], log: Path, threads: int) -> None:
    """Run `peft-pod` in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        command = [sys.executable, "-m", "peft_pod", *arguments]
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"peft-pod {arguments[0]} ended with {done.returncode}; {log} has what it printed")


def _report(folder: Path, run: Run) -> Path:
    """The report that training left: of the part that it was told to evaluate."""
    paths = [
        RunFolder(folder).report(variant) for variant in (report_variant(run.evaluated, None, exclude_seen=True), "")
    ]
    for path in paths:
        if path.is_file() and Report.load(path).part == run.evaluated:
            return path
    raise RuntimeError(
        f"{folder} has no report on the {run.evaluated} part; looked for {[path.name for path in paths]}"
    )


def _entry(run: Run, seed: int, folder: Path, reports: Mapping[str, tuple[Report, Report | None]]) -> Entry:
    files = RunFolder(folder)
    numbers = _json(files.metrics)
    excluded = reports[MODEL][0]
    tasks = {
        task: {
            system: system_result(own.tasks[task], None if included is None else included.tasks.get(task))
            for system, (own, included) in reports.items()
            if task in own.tasks
        }
        for task in excluded.tasks
    }
    seconds = numbers["training/seconds"]
    config = yaml.safe_load(files.config.read_text(encoding="utf-8"))
    entry: Entry = {
        "seed": seed,
        "part": run.part,
        "arguments": dict(run.train),
        # The folder's place says nothing of the run, and much of the machine.
        "config": {name: value for name, value in config.items() if name != "data_dir"},
        "corpus": dict(excluded.corpus),
        "audit": {"leaks": numbers["audit/leaks"], "verdict": numbers["audit/verdict"]},
        "tasks": tasks,
        "validation": {name: value for name, value in numbers.items() if _is_validation_loss(name)},
        "training": {
            "minutes": seconds / 60 if seconds else None,
            **{name.partition("/")[2]: value for name, value in numbers.items() if name.startswith("training/")},
        },
        "parameters": {name: numbers[f"parameters/{name}"] for name in ("trained", "total")},
    }
    if ExplanationTask.name in tasks:
        entry["examples"] = explanation_examples(folder, run.evaluated, seed)
    return with_provenance(entry, _json(files.environment), datetime.date.today().isoformat())


def _is_validation_loss(name: str) -> bool:
    # Metrics of a run that is evaluated on that part begin alike.
    return name.startswith("validation/") and name.endswith("/loss")


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
