"""Rows of the tables: the mean over seeds of what a system reached on a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .results import MIXED, MODEL, Entry, mean, standard_error
from .settings import BASELINES, TRAIN, Run

INCLUDED = "history included: "
"""In front of the names of metrics that were taken with the history not excluded."""


@dataclass(frozen=True)
class Row:
    """A system on a task.

    Attributes:
        title: of the row.
        kind: of its run.
        indexing: scheme of the item IDs; empty where the system does not read them.
        values: of each metric, one a seed.
        seeds: of the entries.
        leaks: whether the audit found a leak.
        note: how the numbers were made, all that the row itself does not say.
        minutes: of training, one a seed.
        trained: parameters that were trained, likewise.
    """

    title: str
    kind: str
    indexing: str
    values: Mapping[str, Sequence[float]]
    seeds: tuple[int, ...]
    leaks: bool
    note: str
    minutes: Sequence[float] = ()
    trained: Sequence[int] = ()

    @property
    def is_model(self) -> bool:
        """Whether it was trained."""
        return self.kind == TRAIN

    @property
    def is_baseline(self) -> bool:
        """Whether a model is to be compared with it: one that reads IDs which leak is not."""
        return self.kind == BASELINES


def rows_of(run: Run, entries: Sequence[Entry], task: str) -> list[Row]:
    """The rows of a run on a task: one a system, none where it has no such task.

    Args:
        run: that the results belong to.
        entries: one a seed.
        task: a task's name.
    """
    systems = dict.fromkeys(name for entry in entries for name in entry["tasks"].get(task, {}))
    return [
        _row(run, [entry for entry in entries if name in entry["tasks"].get(task, {})], task, name) for name in systems
    ]


def _row(run: Run, entries: Sequence[Entry], task: str, system: str) -> Row:
    found = [entry["tasks"][task][system] for entry in entries]
    values = {name: [one["metrics"][name] for one in found] for name in found[0]["metrics"]}
    if all("history_included" in one for one in found):
        metrics = found[0]["history_included"]["metrics"]
        values |= {INCLUDED + name: [one["history_included"]["metrics"][name] for one in found] for name in metrics}
    trained = system in (MODEL, MIXED)
    return Row(
        title={MODEL: run.title, MIXED: f"{run.title}, mixed with counts"}.get(system, f"`{system}`"),
        kind=run.kind,
        indexing="" if run.kind == BASELINES else entries[0]["corpus"]["indexing"],
        values=values,
        seeds=tuple(entry["seed"] for entry in entries),
        leaks=any(entry["audit"]["leaks"] for entry in entries),
        note=note_of(run, entries, task, system),
        minutes=[entry["training"]["minutes"] for entry in entries if entry["training"]["minutes"]] if trained else (),
        trained=[entry["parameters"]["trained"] for entry in entries] if trained else (),
    )


def note_of(run: Run, entries: Sequence[Entry], task: str, system: str) -> str:
    """Protocol, corpus, audit, machine and versions of a row; what differs by seed is listed.

    Args:
        run: that the results belong to.
        entries: one a seed.
        task: a task's name.
        system: whose protocol it is.
    """
    corpus, machine = entries[0]["corpus"], entries[0]["machine"]
    protocols = _distinct(entry["tasks"][task][system]["protocol"] for entry in entries)
    packages = ", ".join(f"{name} {version}" for name, version in entries[0]["versions"].items())
    verdicts = _distinct(_verdict(entry["audit"]) for entry in entries)
    parts = [
        protocols,
        f"corpus {corpus['name']}, fingerprint {corpus['fingerprint']}",
        f"item IDs {corpus['indexing']}: {verdicts}",
        f"{machine['cpu']}, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}",
        f"Python {machine['python']}, {packages}",
        _distinct(entry["date"] for entry in entries),
    ]
    return "; ".join(parts)


def _verdict(audit: Mapping[str, Any]) -> str:
    """The verdict without what the note says already."""
    return str(audit["verdict"].partition(": ")[2]).rstrip(".")


def _distinct(texts: Any) -> str:
    return " | ".join(dict.fromkeys(texts))


def losses_to_baselines(rows: Sequence[Row]) -> list[str]:
    """For each model that is worse than a baseline a sentence that says so.

    Args:
        rows: of one task.
    """
    sentences = []
    for row in (row for row in rows if row.is_model):
        lost: dict[str, list[str]] = {}
        for name, values in row.values.items():
            others = [other for other in rows if other.is_baseline and name in other.values]
            best = max(others, key=lambda other: mean(other.values[name]), default=None)
            if best is not None and mean(best.values[name]) > mean(values):
                lost.setdefault(best.title, []).append(shown_metric(name))
        if lost:
            told = " and ".join(f"{title} on {', '.join(names)}" for title, names in lost.items())
            sentences.append(f"{row.title} loses to {told}.")
    return sentences


def shown_metric(name: str) -> str:
    """What a metric is called on the page.

    Example:
        >>> shown_metric("hr@10"), shown_metric(INCLUDED + "hr@10")
        ('HR@10', 'history included: HR@10')
    """
    prefix = INCLUDED if name.startswith(INCLUDED) else ""
    return prefix + name.removeprefix(INCLUDED).upper()


def cell(values: Sequence[float] | None, metric: str) -> str:
    """Mean and standard error of a metric over seeds; the error is left out where there is none.

    Example:
        >>> cell([0.05, 0.07], "hr@10"), cell([12.5], "bleu-1"), cell([0.25, 0.25], "fmr"), cell(None, "hr@1")
        ('.0600 ± .0100', '12.50', '.2500', '–')
    """
    if not values:
        return "–"
    error = standard_error(values)
    shown = [mean(values), *([error] if error else [])]
    if metric.startswith(("bleu", "rouge")):
        return " ± ".join(f"{value:.2f}" for value in shown)
    return " ± ".join(f"{value:.4f}".removeprefix("0") if value < 1 else f"{value:.4f}" for value in shown)
