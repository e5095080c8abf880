"""A run of the tables, as its YAML file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from peft_pod.commands.arguments import DataArguments
from peft_pod.corpus import Part
from peft_pod.corpus.split import RefitLeaveOneOut

from . import RUNS

HEADLINE = "headline"
TABLES = (HEADLINE, "baselines", "schemes", "ablations", "explanation")
TRAIN, BASELINES, INDEX_RULES = "train", "baselines", "index-rules"
KINDS = (TRAIN, BASELINES, INDEX_RULES)
NESTED, REFIT = "nested", "refit"
PARTS = {
    "validation": "validation",
    NESTED: "the test of the corpus without each user's last item",
    REFIT: "test, validation items trained on",
    "test": "test",
}
"""What a run may be asked, and what the page calls it. `nested` asks as the test does, but for validation items: each
user's last item, which is the test item, is left out before the corpus is split."""
CHOOSING_TABLES = ("schemes", "ablations")
"""Their rows are choices, so they never read the test items."""

_KEYS = {
    "title": str, "table": str, "corpus": str, "data": str, "kind": str, "part": str, "seeds": list, "train": dict,
    "count_weight": float,
}  # fmt: skip
_OPTIONAL = ("data", "train", "count_weight")
_EXTENDS = "extends"
_OURS = {
    "corpus": "is a key of the run itself",
    "data_dir": "comes from `data` and --data-root",
    "evaluation_part": "comes from `part`",
    "split": "comes from `part`",
    "count_weight": "is a key of the run itself: the model is evaluated without counts, too",
    "seed": "comes from `seeds`",
    "output_dir": "comes from --output",
    "overwrite": "is decided by --again",
    "resume_from_checkpoint": "is not used: a run is trained whole",
}
"""Training arguments that a file may not set."""


@dataclass(frozen=True)
class Run:
    """A run of the tables.

    Attributes:
        name: of its file.
        title: of its row.
        table: of the page that it belongs to.
        corpus: as `--corpus` takes it.
        data: folder below the data root; `None` where the corpus needs none.
        kind: `"train"`, `"baselines"`, or `"index-rules"`, which reads nothing but the numbers of the item IDs.
        part: what is asked, of `PARTS`.
        seeds: one model each.
        train: arguments of `peft-pod train`; for the other kinds those of the corpus and the item IDs alone.
        changes: those of them that are its own and not of the run that it extends.
        count_weight: share of counting with which a trained model is evaluated once more; `None` for not.
    """

    name: str
    title: str
    table: str
    corpus: str
    data: str | None
    kind: str
    part: str
    seeds: tuple[int, ...]
    train: Mapping[str, Any]
    changes: Mapping[str, Any]
    count_weight: float | None = None

    @property
    def evaluated(self) -> Part:
        """The part of the split that is evaluated."""
        return "validation" if self.part == "validation" else "test"

    @property
    def arguments(self) -> dict[str, Any]:
        """`train` and what `part` says of the corpus."""
        arguments = dict(self.train)
        if self.part == NESTED:
            arguments["prepare"] = [*self.train.get("prepare", ()), "drop_last=1"]
        if self.part == REFIT:
            arguments["split"] = RefitLeaveOneOut.name
        return arguments

    @property
    def corpus_key(self) -> str:
        """What the page calls the corpus: `beauty` for `amazon-2014/beauty`."""
        return self.corpus.rpartition("/")[2]


def read_run(path: Path) -> Run:
    """Read a run's file.

    Raises:
        FileNotFoundError: there is no such file, or none of the run that it extends.
        ValueError: a key is unknown, missing or has a value that cannot be used; the message names file and key.
    """
    own = _read(path)
    base: dict[str, Any] = {}
    if _EXTENDS in own:
        base_path = path.with_name(f"{own.pop(_EXTENDS)}.yaml")
        base = _read(base_path)
        if _EXTENDS in base:
            raise ValueError(
                f"{path} extends {base_path.stem}, which extends another run itself: only one level is read"
            )
    values = merged(base, own)
    for key, kind in _KEYS.items():
        if key not in values and key not in _OPTIONAL:
            raise ValueError(f"{path} lacks {key!r}, and so does what it extends")
        if key in values and not isinstance(values[key], kind):
            raise ValueError(f"{path} sets {key} to {values[key]!r}; give a {kind.__name__}")
    run = Run(
        name=path.stem,
        title=values["title"],
        table=values["table"],
        corpus=values["corpus"],
        data=values.get("data"),
        kind=values["kind"],
        part=values["part"],
        seeds=tuple(values["seeds"]),
        train=values.get("train", {}),
        changes=own.get("train", {}),
        count_weight=values.get("count_weight"),
    )
    _check(run, path)
    return run


def read_runs(folder: Path = RUNS) -> dict[str, Run]:
    """All runs by name, those without changes of a base first; files that begin with `_` are only extended."""
    runs = [read_run(path) for path in sorted(folder.glob("*.yaml")) if not path.name.startswith("_")]
    return {run.name: run for run in sorted(runs, key=lambda run: (bool(run.changes), run.name))}


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping over another; mappings within them are merged likewise, lists replaced.

    Example:
        >>> merged({"a": 1, "train": {"x": 1, "y": [1]}}, {"train": {"y": [2]}})
        {'a': 1, 'train': {'x': 1, 'y': [2]}}
    """
    values = dict(base)
    for key, value in own.items():
        before = values.get(key)
        values[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return values


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no run {path.stem!r}: {path} does not exist")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold names and values, such as `corpus: embedded`")
    for key in values:
        if key not in (*_KEYS, _EXTENDS):
            raise ValueError(f"{path} sets {key!r}, which is no key of a run; there are {[*_KEYS, _EXTENDS]}")
    return values


def _check(run: Run, path: Path) -> None:
    for key, value, known in (
        ("table", run.table, TABLES),
        ("kind", run.kind, KINDS),
        ("part", run.part, tuple(PARTS)),
    ):
        if value not in known:
            raise ValueError(f"{path} sets {key} to {value!r}; choose one of {list(known)}")
    if run.table in CHOOSING_TABLES and run.part not in ("validation", NESTED):
        raise ValueError(
            f"{path} sets part to {run.part!r}, but rows of {run.table} are choices: set {NESTED!r} or 'validation'"
        )
    if not run.seeds or len(set(run.seeds)) < len(run.seeds) or not all(type(s) is int and s >= 0 for s in run.seeds):
        raise ValueError(f"{path} sets seeds to {list(run.seeds)}; give whole numbers from 0, each once")
    if run.count_weight is not None and (run.kind != TRAIN or not 0 < run.count_weight < 1):
        raise ValueError(
            f"{path} sets count_weight to {run.count_weight}; give a run that trains a share between 0 and 1"
        )
    for key in run.train:
        if key in _OURS:
            raise ValueError(f"{path} sets train: {key}, which {_OURS[key]}")
    if run.kind != TRAIN:
        unknown = sorted(set(run.train) - {one.name for one in fields(DataArguments)})
        if unknown:
            raise ValueError(f"{path} sets train: {unknown[0]}, but {run.kind} takes arguments of corpus and IDs alone")
