"""The results of an evaluation: metrics with the protocol they were measured by, baselines beside them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peft_pod.files import write_text

FULL = "full"
"""Candidate set: the whole catalogue."""

CANDIDATES_100 = "candidates-100"
"""Candidate set: the held-out item and 99 items drawn from a seed."""

CANDIDATE_SEED = "candidate_seed"
"""Detail of a protocol: the seed that the candidates are drawn from."""

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "sacrebleu", "rouge_score")


@dataclass(frozen=True)
class Protocol:
    """How a number was measured. Numbers of different protocols can't be compared.

    Attributes:
        part: `"validation"` or `"test"`.
        num_users: how many users were evaluated.
        candidates: what was ranked, such as `"full"` or `"candidates-100"`; `None` for a task that ranks nothing.
        history_excluded: whether the items of a user's history were left out of the ranking; `None` likewise, and for
            lists of candidates that were ranked as they are.
        beams: width of the beam search; `None` where there was none.
        details: whatever else matters, such as the seed of the candidates; texts, numbers and truth values.

    Raises:
        ValueError: `num_users` or `beams` is below 1, or a detail has the name of another attribute.

    Example:
        >>> print(Protocol("test", num_users=22363, candidates="full", history_excluded=True))
        test, full catalogue, history excluded, 22,363 users
    """

    part: str
    num_users: int
    candidates: str | None = None
    history_excluded: bool | None = None
    beams: int | None = None
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_users < 1:
            raise ValueError(f"num_users is {self.num_users}; an evaluation has at least one user")
        if self.beams is not None and self.beams < 1:
            raise ValueError(f"beams is {self.beams}; it must be at least 1, or None where there is no beam search")
        taken = sorted(set(self.details) & set(_PROTOCOL_FIELDS))
        if taken:
            raise ValueError(f"details has {taken}, which are attributes of the protocol; set those")

    def comparable_to(self, other: Protocol) -> bool:
        """Whether both ask the same question of the same users; how it is answered may differ.

        What is asked: the part, the number of users, the candidates and their seed, whether the history is excluded.
        How it is answered: the beams and all other details.
        """
        return self._question() == other._question()

    def _question(self) -> tuple[Any, ...]:
        seed = self.details.get(CANDIDATE_SEED)
        return self.part, self.num_users, self.candidates, seed, self.history_excluded

    def to_dict(self) -> dict[str, Any]:
        """A flat dictionary of what is set, for JSON."""
        values = {name: getattr(self, name) for name in _PROTOCOL_FIELDS}
        return {name: value for name, value in values.items() if value is not None} | dict(self.details)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Protocol:
        """What `to_dict` wrote."""
        _require(values, ("part", "num_users"), "protocol")
        known = {name: values[name] for name in _PROTOCOL_FIELDS if name in values}
        return cls(**known, details={name: value for name, value in values.items() if name not in _PROTOCOL_FIELDS})

    def __str__(self) -> str:
        words = [self.part]
        if self.candidates is not None:
            words.append("full catalogue" if self.candidates == FULL else self.candidates)
        if self.history_excluded is not None:
            words.append("history excluded" if self.history_excluded else "history included")
        if self.beams is not None:
            words.append(f"{self.beams} beams" if self.beams > 1 else "greedy")
        words += [f"{name.replace('_', ' ')} {value}" for name, value in self.details.items()]
        return ", ".join([*words, f"{self.num_users:,} users"])


_PROTOCOL_FIELDS = ("part", "num_users", "candidates", "history_excluded", "beams")


@dataclass(frozen=True)
class TaskResult:
    """The metrics of one model or baseline on one task.

    Attributes:
        protocol: how they were measured.
        metrics: finite numbers by name; larger is better for all of them.

    Raises:
        ValueError: a metric is not a finite number.
    """

    protocol: Protocol
    metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} is {value}; a result holds finite numbers only")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return {
            "protocol": self.protocol.to_dict(),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskResult:
        """What `to_dict` wrote."""
        _require(values, ("protocol", "metrics"), "task result")
        return cls(Protocol.from_dict(values["protocol"]), dict(values["metrics"]))


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
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read a report that `save` wrote.

        Raises:
            ValueError: the file is damaged; the message has its name, and the line where it is not JSON.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is not a report: {error}") from error


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
