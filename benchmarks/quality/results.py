"""Results of the runs: one JSON file a run, one entry a seed."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_pod.files import write_text
from peft_pod.metrics import TaskResult

from . import RESULTS
from .settings import Run

Entry = dict[str, Any]
MODEL = "model"
"""The system of a trained run; baselines have their own names."""
MIXED = "model and counts"
"""The same model, mixed with counts."""


def read_entries(name: str, folder: Path = RESULTS) -> list[Entry]:
    """The entries of a run, by seed; none where it has no results.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return []
    try:
        entries: list[Entry] = json.loads(path.read_text(encoding="utf-8"))["entries"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}; restore it, or remove it and run {name!r} again") from error
    return entries


def add_entry(name: str, entry: Entry, folder: Path = RESULTS) -> None:
    """Write the entry of a seed in the place of an older one; those of other seeds stay."""
    others = [older for older in read_entries(name, folder) if older["seed"] != entry["seed"]]
    entries = sorted([*others, entry], key=lambda one: one["seed"])
    text = json.dumps({"run": name, "entries": entries}, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{name}.json", text + "\n")


def outdated(run: Run, entries: Sequence[Entry]) -> list[int]:
    """Seeds whose results were made with other arguments or on another part than the run's file now says."""
    wanted = {"arguments": json.loads(json.dumps(run.train)), "part": run.part}
    return [entry["seed"] for entry in entries if any(entry[key] != value for key, value in wanted.items())]


def system_result(result: TaskResult, included: TaskResult | None) -> dict[str, Any]:
    """What an entry keeps of a system on a task: protocol and metrics, and those with the history not excluded."""
    kept = {"protocol": str(result.protocol), "metrics": dict(result.metrics)}
    if result.statistics:
        kept["statistics"] = dict(result.statistics)
    if included is not None and result.protocol.history_excluded is not None:
        kept["history_included"] = {"protocol": str(included.protocol), "metrics": dict(included.metrics)}
    return kept


def mean(values: Sequence[float]) -> float:
    """The mean.

    Example:
        >>> mean([1.0, 2.0])
        1.5
    """
    return statistics.fmean(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean over seeds: sample standard deviation over √n; `None` for a single value.

    Example:
        >>> standard_error([1.0, 2.0, 3.0]) == 1 / 3**0.5, standard_error([1.0])
        (True, None)
    """
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def with_provenance(entry: Mapping[str, Any], environment: Mapping[str, Any], date: str) -> Entry:
    """An entry with what it was made on and when."""
    machine = {key: environment[key] for key in ("cpu", "threads", "accelerator", "python")}
    return {**entry, "machine": machine, "versions": environment["packages"], "date": date}
