"""The results of an evaluation: metrics with the protocol they were measured by, baselines beside them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peft_pod.files import write_text

from .bootstrap import Bootstrap
from .protocol import Protocol
from .ranking import ranking_scores
from .user_ranks import UserRanks, load_ranks, save_ranks

MODEL = "model"
"""The system that is not a baseline, in files of ranks and in tables."""

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "sacrebleu", "rouge_score")


@dataclass(frozen=True)
class TaskResult:
    """The metrics of one model or baseline on one task.

    Attributes:
        protocol: how they were measured.
        metrics: finite numbers by name; larger is better for all of them.
        intervals: lower and upper end of the confidence interval of a metric, for those that have one.
        bootstrap: how the intervals were made.
        statistics: numbers that describe the answers and don't judge them, such as `coverage@10`; larger is not better.
        ranks: where each user's right item was ranked; not part of the JSON form, and two results are equal whatever
            theirs are.

    Raises:
        ValueError: a number is not finite, or an interval belongs to no metric.
    """

    protocol: Protocol
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bootstrap: Bootstrap | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    ranks: UserRanks | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in (*self.metrics.items(), *self.statistics.items()):
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} is {value}; a result holds finite numbers only")
        for name, interval in self.intervals.items():
            if name not in self.metrics or not all(map(math.isfinite, interval)):
                raise ValueError(f"the interval of {name!r} is {interval}; it must belong to a metric and be finite")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON; what is empty is left out."""
        values: dict[str, Any] = {
            "protocol": self.protocol.to_dict(),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
        }
        if self.intervals:
            values["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        if self.bootstrap is not None:
            values["bootstrap"] = self.bootstrap.to_dict()
        if self.statistics:
            values["statistics"] = {name: float(value) for name, value in self.statistics.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskResult:
        """What `to_dict` wrote."""
        _require(values, ("protocol", "metrics"), "task result")
        bootstrap = values.get("bootstrap")
        return cls(
            Protocol.from_dict(values["protocol"]),
            dict(values["metrics"]),
            intervals={name: (low, high) for name, (low, high) in values.get("intervals", {}).items()},
            bootstrap=None if bootstrap is None else Bootstrap.from_dict(bootstrap),
            statistics=dict(values.get("statistics", {})),
        )


@dataclass(frozen=True)
class Report:
    """All results of one evaluation, with what is needed to compare them with others.

    Attributes:
        corpus: `name`, `fingerprint` and whatever else describes the data; values that JSON can hold.
        part: the part of the corpus that was evaluated.
        tasks: the model's result for each task.
        baselines: for each task the result of each baseline.
        versions: versions of the software, see `software_versions`.
        seed: the seed of the run.
        notes: sentences that must be read with the numbers, such as the verdict of the leak audit.

    Example:
        >>> protocol = Protocol("test", 100, "full", True)
        >>> report = Report(
        ...     corpus={"name": "embedded", "fingerprint": "0123456789ab"},
        ...     part="test",
        ...     tasks={"sequential": TaskResult(protocol, {"hr@10": 0.08})},
        ...     baselines={"sequential": {"popularity": TaskResult(protocol, {"hr@10": 0.02})}},
        ... )
        >>> Report.from_json(report.to_json()) == report
        True
    """

    corpus: Mapping[str, Any]
    part: str
    tasks: Mapping[str, TaskResult]
    baselines: Mapping[str, Mapping[str, TaskResult]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    notes: tuple[str, ...] = ()

    def lost_to(self, task: str) -> dict[str, list[str]]:
        """The baselines that beat the model on a task under a comparable protocol, with the metrics they win."""
        if task not in self.tasks:
            return {}
        model = self.tasks[task]
        lost: dict[str, list[str]] = {}
        for name, baseline in self.baselines.get(task, {}).items():
            if not baseline.protocol.comparable_to(model.protocol):
                continue
            won = [m for m, value in baseline.metrics.items() if m in model.metrics and value > model.metrics[m]]
            if won:
                lost[name] = won
        return lost

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        values: dict[str, Any] = {
            "corpus": dict(self.corpus),
            "part": self.part,
            "tasks": {task: result.to_dict() for task, result in self.tasks.items()},
            "baselines": {
                task: {name: result.to_dict() for name, result in results.items()}
                for task, results in self.baselines.items()
            },
            "versions": dict(self.versions),
            "seed": self.seed,
        }
        return values | ({"notes": list(self.notes)} if self.notes else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """What `to_dict` wrote.

        Raises:
            ValueError: a key is missing.
        """
        _require(values, ("corpus", "part", "tasks", "baselines", "versions", "seed"), "report")
        return cls(
            corpus=dict(values["corpus"]),
            part=values["part"],
            tasks={task: TaskResult.from_dict(result) for task, result in values["tasks"].items()},
            baselines={
                task: {name: TaskResult.from_dict(result) for name, result in results.items()}
                for task, results in values["baselines"].items()
            },
            versions=dict(values["versions"]),
            seed=values["seed"],
            notes=tuple(values.get("notes", ())),
        )

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What `to_json` wrote.

        Raises:
            ValueError: it is not JSON, or a key is missing.
        """
        return cls.from_dict(json.loads(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as a JSON file."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str], ranks: str | os.PathLike[str] | None = None) -> Report:
        """Read a report that `save` wrote.

        Args:
            path: of the report.
            ranks: of the file that `save_ranks` wrote of the same report; without it the results have no ranks.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is damaged, or the ranks belong to another report; the message has the file's name, and
                the line where it is not JSON.
        """
        try:
            report = cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is not a report: {error}") from error
        return report if ranks is None else report._with_ranks(load_ranks(ranks), os.fspath(ranks))

    def save_ranks(self, path: str | os.PathLike[str]) -> None:
        """Write the ranks of all results that have them to a Parquet file, see `peft_pod.metrics.user_ranks`."""
        results = {(task, MODEL): result for task, result in self.tasks.items()}
        results |= {(task, name): result for task, rows in self.baselines.items() for name, result in rows.items()}
        save_ranks(path, {key: result.ranks for key, result in results.items() if result.ranks is not None})

    def _with_ranks(self, ranks: Mapping[tuple[str, str], UserRanks], source: str) -> Report:
        def joined(task: str, system: str, result: TaskResult) -> TaskResult:
            found = ranks.get((task, system))
            if found is not None and not _belongs(found, result):
                raise ValueError(
                    f"{source} has other ranks of {system!r} on {task!r} than the report was made from; "
                    "evaluate again, which writes both files"
                )
            return replace(result, ranks=found)

        return replace(
            self,
            tasks={task: joined(task, MODEL, result) for task, result in self.tasks.items()},
            baselines={
                task: {name: joined(task, name, result) for name, result in rows.items()}
                for task, rows in self.baselines.items()
            },
        )


def _belongs(ranks: UserRanks, result: TaskResult) -> bool:
    """Whether the ranks give the ranking metrics of the result."""
    if len(ranks.ranks) != result.protocol.num_users:
        return False
    for name, value in result.metrics.items():
        metric, k = name.split("@")
        found = ranking_scores(ranks.ranks, [int(k)], [metric])[name]
        if not math.isclose(value, found, abs_tol=1e-12):
            return False
    return True


def software_versions() -> dict[str, str]:
    """Versions of this package and of the libraries that results depend on; those not installed are left out."""
    from peft_pod.version import __version__

    versions = {"peft-pod": __version__}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _require(values: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    missing = [key for key in keys if key not in values]
    if missing:
        raise ValueError(f"the {what} lacks {missing}; it has {sorted(values)}")
