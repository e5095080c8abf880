"""Learning curves of runs that were trained: validation losses, and how items were ranked, by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_pod.training.progress import validation_losses, validation_rankings


def curves_of(folder: Path) -> str:
    """The curves of all seeds of a run.

    Args:
        folder: that has a folder for each seed.

    Raises:
        FileNotFoundError: no seed was trained to the end.
    """
    logs = sorted(folder.glob("*/log.json"))
    if not logs:
        raise FileNotFoundError(f"{folder} has no run that was trained to the end; run it first")
    return "\n\n".join(f"{path.parent.name}\n{curve(json.loads(path.read_text(encoding='utf-8')))}" for path in logs)


def curve(log: Sequence[Mapping[str, Any]]) -> str:
    """What validations measured by step, one column each: losses of the tasks, their mean, rankings.

    The best of each column, the least loss or the most of the others, has a `*`.

    Args:
        log: as `log.json` has it.

    Example:
        >>> print(curve([{"step": 5, "loss": 3.0}, {"step": 5, "eval_loss": 2.5}, {"step": 9, "eval_loss": 2.25}]))
          step     mean
             5   2.5000
             9   2.2500*
    """
    validated = [entry for entry in log if "eval_loss" in entry]
    rankings = list(dict.fromkeys(name for entry in validated for name in validation_rankings(entry)))
    rows = {entry["step"]: {**validation_losses(entry), **validation_rankings(entry)} for entry in validated}
    names = list(dict.fromkeys(name for losses in rows.values() for name in losses))
    best = {name: (max if name in rankings else min)(measured[name] for measured in rows.values()) for name in names}
    # The place of the star stays free in the head.
    lines = [("  step" + "".join(f"  {name + ' ':>{_width(name)}}" for name in names)).rstrip()]
    for step, losses in rows.items():
        cells = (f"{losses[name]:.4f}{'*' if losses[name] == best[name] else ' '}" for name in names)
        row = f"{step:>6}" + "".join(f"  {cell:>{_width(name)}}" for cell, name in zip(cells, names, strict=True))
        lines.append(row.rstrip())
    return "\n".join(lines)


def _width(name: str) -> int:
    return max(8, len(name) + 1)
