"""A report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .report import MODEL, Report, TaskResult

_ROW_MARK = "†"
_PERCENT_PREFIXES = ("bleu", "rouge")


def format_table(report: Report, *, intervals: bool = False, statistics: bool = False) -> str:
    """A table of a report, one block a task: rows are the model and the baselines, columns the metrics.

    The best of each column has a `*`, where there is something to compare; equally good rows all have one. A row
    measured by another protocol than the block's title says has a dagger and its own protocol below the block, and
    can't be the best. Scores between 0 and 1 have four decimals, BLEU and ROUGE (0 to 100) two. Below a block stands
    which baselines beat the model.

    Args:
        report: the results.
        intervals: show below each row the confidence intervals of its metrics.
        statistics: show more columns, of numbers that don't judge (see `TaskResult`); none of them is the best.

    Example:
        >>> from peft_pod.metrics import Protocol, Report, TaskResult
        >>> protocol = Protocol("test", 100, "full", True)
        >>> report = Report(
        ...     corpus={"name": "embedded", "fingerprint": "0123456789ab"},
        ...     part="test",
        ...     tasks={"sequential": TaskResult(protocol, {"hr@1": 0.02, "hr@10": 0.08})},
        ...     baselines={"sequential": {"popularity": TaskResult(protocol, {"hr@1": 0.03, "hr@10": 0.04})}},
        ... )
        >>> print(format_table(report))
        embedded (fingerprint 0123456789ab), seed 0
        <BLANKLINE>
        sequential: test, full catalogue, history excluded, 100 users
                      hr@1    hr@10
        ----------------------------
        model       0.0200   0.0800*
        popularity  0.0300*  0.0400
        The model loses to popularity on hr@1.
    """
    described = [str(report.corpus.get("name", "corpus"))]
    if "fingerprint" in report.corpus:
        described.append(f"(fingerprint {report.corpus['fingerprint']})")
    blocks = [f"{' '.join(described)}, seed {report.seed}"]
    names = [*report.tasks, *(task for task in report.baselines if task not in report.tasks)]
    blocks += [_block(report, task, intervals, statistics) for task in names]
    if report.notes:
        blocks.append("\n".join(report.notes))
    return "\n\n".join(blocks)


def _block(report: Report, task: str, intervals: bool, statistics: bool) -> str:
    rows = {MODEL: report.tasks[task]} if task in report.tasks else {}
    for name, row in report.baselines.get(task, {}).items():
        rows[f"{name} (baseline)" if name == MODEL else name] = row
    if not rows:
        return f"{task}: no results"
    title = next(iter(rows.values())).protocol
    strange = [name for name, row in rows.items() if not row.protocol.comparable_to(title)]
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row.metrics))
    described = list(dict.fromkeys(name for row in rows.values() for name in row.statistics)) if statistics else []
    compared = {name: row for name, row in rows.items() if name not in strange}
    best = _best(compared, columns) if len(compared) > 1 else {}

    lines_of_rows: list[tuple[str, list[str]]] = []
    for name, row in rows.items():
        marks = {} if name in strange else best
        cells = [_cell(row, metric, marks.get(metric)) for metric in columns]
        cells += [f"{row.statistics[other]:.4g} " if other in row.statistics else "- " for other in described]
        lines_of_rows.append((f"{name} {_ROW_MARK}" if name in strange else name, cells))
        if intervals and row.intervals:
            lines_of_rows.append(("", [_interval(row, metric) for metric in columns] + [""] * len(described)))
    lines = [f"{task}: {title}", *_grid([*columns, *described], lines_of_rows)]
    if intervals:
        lines += _legend(rows.values())
    lines += [f"{_ROW_MARK} {name}: {rows[name].protocol}; can't be compared with the others" for name in strange]
    lines += [f"The model loses to {name} on {', '.join(won)}." for name, won in report.lost_to(task).items()]
    return "\n".join(lines)


def _best(rows: Mapping[str, TaskResult], columns: Sequence[str]) -> dict[str, float]:
    values = {metric: [row.metrics[metric] for row in rows.values() if metric in row.metrics] for metric in columns}
    return {metric: max(column) for metric, column in values.items() if column}


def _cell(row: TaskResult, metric: str, best: float | None) -> str:
    if metric not in row.metrics:
        return "- "
    value = row.metrics[metric]
    decimals = 2 if metric.startswith(_PERCENT_PREFIXES) else 4
    return f"{value:.{decimals}f}{'*' if value == best else ' '}"


def _interval(row: TaskResult, metric: str) -> str:
    if metric not in row.intervals:
        return ""
    low, high = row.intervals[metric]
    return f"{low:.4f}-{high:.4f} "


def _legend(rows: Iterable[TaskResult]) -> list[str]:
    bootstraps = {row.bootstrap for row in rows if row.bootstrap is not None}
    return [
        f"Below each row: {100 * bootstrap.confidence:g} % intervals, {bootstrap.resamples:,} resamples of the users"
        for bootstrap in bootstraps
    ]


def _grid(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    first = max(len(label) for label, _ in rows)
    # The last character of a cell is the place of the mark, so headings end one character before it.
    headings = [f"{metric} " for metric in columns]
    widths = [max(len(heading), *(len(cells[i]) for _, cells in rows)) for i, heading in enumerate(headings)]
    lines = [
        "  ".join([label.ljust(first), *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))]).rstrip()
        for label, row in [("", headings), *rows]
    ]
    return [lines[0], "-" * (first + sum(widths) + 2 * len(widths)), *lines[1:]]
