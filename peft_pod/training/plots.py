"""Pictures of a training run: losses by step, and how the result compares with the baselines."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .drawing import BASELINE_COLOURS, BLUE, HATCHES, VERMILION, panels, shared_legend, write_figure

_ALL_TASKS = "all tasks"
_LOSS_PREFIX = "loss_"
_COMPARED = ("part", "candidates", "candidate_seed", "history_excluded", "num_users")
_Z_95 = 1.96

Points = dict[int, float]


def plot_losses(log_history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw the loss of each task by step, in training and in evaluation, one panel a task.

    Args:
        log_history: `state.log_history` of a Trainer. Entries of training have `step`, `loss` and `loss_<task>`,
            entries of evaluation `step`, `eval_loss` and `eval_<task>_loss`; other entries and keys are ignored. Of
            two entries for one step the later counts.
        path: the PNG file to write; it is replaced only when the new one is complete.

    Raises:
        ValueError: the log has no losses.

    Example:
        >>> import tempfile
        >>> log = [{"step": 1, "loss": 2.0, "loss_topn": 2.0}, {"step": 2, "eval_topn_loss": 1.5}]
        >>> plot_losses(log, f"{tempfile.mkdtemp()}/losses.png")
    """
    training, evaluation = _loss_curves(log_history)
    titles = list(dict.fromkeys([*training, *evaluation]))
    if not titles:
        raise ValueError("log_history has no losses; train for at least logging_steps steps before drawing them")
    # With a single task the curve of all tasks says the same again.
    if len(titles) == 2 and _ALL_TASKS in titles:
        titles.remove(_ALL_TASKS)
    titles.sort(key=lambda title: title == _ALL_TASKS)

    figure, axes = panels(len(titles))
    for axis, title in zip(axes, titles, strict=True):
        _draw_curve(axis, training.get(title, {}), "training", BLUE, "-", "")
        _draw_curve(axis, evaluation.get(title, {}), "validation", VERMILION, "--", "o")
        axis.set_title(title)
        axis.set_xlabel("training step")
        axis.set_ylabel("loss (nats per target token)")
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
    shared_legend(figure, axes)
    write_figure(figure, path)


def _loss_curves(log_history: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Points], dict[str, Points]]:
    training: dict[str, Points] = {}
    evaluation: dict[str, Points] = {}
    for entry in log_history:
        if "step" not in entry:
            continue
        for key, value in entry.items():
            if key == "loss" or key.startswith(_LOSS_PREFIX):
                training.setdefault(key.removeprefix(_LOSS_PREFIX) if key != "loss" else _ALL_TASKS, {})[
                    int(entry["step"])
                ] = float(value)
            elif key == "eval_loss" or (key.startswith("eval_") and key.endswith("_loss")):
                task = key.removeprefix("eval_").removesuffix("_loss") if key != "eval_loss" else _ALL_TASKS
                evaluation.setdefault(task, {})[int(entry["step"])] = float(value)
    return training, evaluation


def _draw_curve(axis: Axes, points: Points, label: str, colour: str, line: str, marker: str) -> None:
    if not points:
        return
    steps = sorted(points)
    # A single point has no line to be seen by.
    marker = marker or ("o" if len(steps) == 1 else "")
    axis.plot(steps, [points[step] for step in steps], line, color=colour, marker=marker, markersize=4, label=label)


def plot_ranking(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw HR@k of the model and of the baselines, one panel a task, with 95 % confidence intervals over users.

    The intervals are HR ± 1.96 √(HR (1 − HR) / users), the normal approximation. A baseline measured by another
    protocol than the model's is named so in the legend.

    Args:
        report: `Report.to_dict()` of `peft_pod.metrics`.
        path: the PNG file to write; it is replaced only when the new one is complete.

    Raises:
        ValueError: no task of the report has a hit rate.

    Example:
        >>> import tempfile
        >>> protocol = {"part": "test", "num_users": 100, "candidates": "full", "history_excluded": True}
        >>> tasks = {"sequential": {"protocol": protocol, "metrics": {"hr@1": 0.02, "hr@10": 0.08}}}
        >>> plot_ranking({"tasks": tasks, "baselines": {}}, f"{tempfile.mkdtemp()}/ranking.png")
    """
    tasks = _ranking_rows(report)
    if not tasks:
        raise ValueError("no task of the report has a metric hr@k; there is no ranking to draw")
    baselines = list(dict.fromkeys(name for rows in tasks.values() for name in rows if name != "model"))
    figure, axes = panels(len(tasks))
    for axis, (task, rows) in zip(axes, tasks.items(), strict=True):
        _draw_bars(axis, rows, baselines)
        axis.set_title(f"{task}\n{_describe(next(iter(rows.values()))['protocol'])}", fontsize=10)
        axis.set_xlabel("whiskers: 95 % confidence interval over users", fontsize=8)
    for axis in axes:
        axis.set_ylabel("hit rate (share of users)")
    shared_legend(figure, axes)
    write_figure(figure, path)


def _ranking_rows(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each task with hit rates the rows to draw, the model first."""
    tasks: dict[str, dict[str, Any]] = {}
    baselines = report.get("baselines", {})
    for task in dict.fromkeys([*report.get("tasks", {}), *baselines]):
        rows = {"model": report["tasks"][task]} if task in report.get("tasks", {}) else {}
        rows |= baselines.get(task, {})
        rows = {name: row for name, row in rows.items() if _cutoffs(row)}
        if rows:
            tasks[task] = rows
    return tasks


def _cutoffs(row: Mapping[str, Any]) -> list[int]:
    return sorted(int(name.removeprefix("hr@")) for name in row["metrics"] if name.startswith("hr@"))


def _draw_bars(axis: Axes, rows: Mapping[str, Any], baselines: Sequence[str]) -> None:
    cutoffs = sorted({k for row in rows.values() for k in _cutoffs(row)})
    protocol = next(iter(rows.values()))["protocol"]
    width = 0.84 / len(rows)
    top = 0.0
    for place, (name, row) in enumerate(rows.items()):
        users = row["protocol"]["num_users"]
        drawn = [(x, row["metrics"][f"hr@{k}"]) for x, k in enumerate(cutoffs) if f"hr@{k}" in row["metrics"]]
        heights = [rate for _, rate in drawn]
        centres = [x + (place - (len(rows) - 1) / 2) * width for x, _ in drawn]
        errors = [_Z_95 * math.sqrt(rate * (1 - rate) / users) for rate in heights]
        top = max([top, *(sum(pair) for pair in zip(heights, errors, strict=True))])
        rank = -1 if name == "model" else baselines.index(name)
        axis.bar(
            centres,
            heights,
            0.92 * width,
            # The normal approximation reaches below 0 for rare hits; a share of users does not.
            yerr=[[min(pair) for pair in zip(errors, heights, strict=True)], errors],
            error_kw={"linewidth": 0.9, "capsize": 2, "ecolor": "#333333"},
            color=BLUE if rank < 0 else BASELINE_COLOURS[rank % len(BASELINE_COLOURS)],
            hatch="" if rank < 0 else HATCHES[rank % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            label=name if _same_question(protocol, row["protocol"]) else f"{name} (other protocol)",
        )
        for x, height, error in zip(centres, heights, errors, strict=True):
            axis.annotate(
                f"{100 * height:.{1 if height >= 0.01 else 2}f}",
                (x, height + error),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7,
            )
    axis.set_xticks(range(len(cutoffs)), [f"HR@{k}" for k in cutoffs])
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axis.set_ylim(0, 1.12 * top if top > 0 else 1)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)


def _same_question(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in _COMPARED)


def _describe(protocol: Mapping[str, Any]) -> str:
    words = [str(protocol[key]) for key in ("part", "candidates") if key in protocol]
    words = ["full catalogue" if word == "full" else word for word in words]
    if "history_excluded" in protocol:
        words.append("history excluded" if protocol["history_excluded"] else "history included")
    return ", ".join([*words, f"{protocol['num_users']:,} users"])
