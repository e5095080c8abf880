"""`docs/results.md` from the committed results and the hand-written `page.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import PAGE_SOURCE, RESULTS, RUNS
from .results import Entry, mean, read_entries
from .rows import INCLUDED, Row, cell, losses_to_baselines, rows_of, shown_metric
from .settings import BASELINES, HEADLINE, PARTS, TRAIN, Run, read_runs

HEAD = "<!-- Made from benchmarks/quality/page.md by `python -m benchmarks.quality --page`: change that file. -->\n\n"
_PLACEHOLDER = re.compile(r"^\{(table|examples):([^:}]+)(?::([^:}]+))?\}$", re.MULTILINE)
_RANKING = ("hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", f"{INCLUDED}hr@10", f"{INCLUDED}ndcg@10")
_TEXT = ("bleu-1", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "distinct-1", "distinct-2", "usr", "fmr", "fcr")


def page(source: Path = PAGE_SOURCE, runs: Path = RUNS, results: Path = RESULTS) -> str:
    """The page, with its placeholders filled.

    `{table:headline:beauty}` is the table of the runs of that table on that corpus, a block for each part and task, and
    the baselines on the same part; `{examples:RUN}` the explanations that a run keeps.

    Args:
        source: the hand-written page.
        runs: folder of the runs.
        results: folder of the results.

    Raises:
        ValueError: a placeholder names no run, or no table and corpus that a run has.
    """
    known = read_runs(runs)
    entries = {name: read_entries(name, results) for name in known}

    def filled(match: re.Match[str]) -> str:
        kind, first, second = match.groups()
        if kind == "examples":
            if first not in known:
                raise ValueError(f"{source} names {match[0]}, but there is no run {first!r}; there are {list(known)}")
            return examples(entries[first])
        return table(known, entries, first, second)

    return HEAD + _PLACEHOLDER.sub(filled, source.read_text(encoding="utf-8"))


def table(runs: Mapping[str, Run], entries: Mapping[str, Sequence[Entry]], name: str, corpus: str) -> str:
    """A table of the page: for each task a block, then how its rows were made, what is not run yet, and the command.

    Args:
        runs: all runs by name.
        entries: their results.
        name: of the table.
        corpus: its key, see `Run.corpus_key`.

    Raises:
        ValueError: no run belongs to the table.
    """
    own = [run for run in runs.values() if run.table == name and run.corpus_key == corpus]
    if not own:
        there = sorted({f"{run.table}:{run.corpus_key}" for run in runs.values()})
        raise ValueError(f"the page names the table {name}:{corpus}, which no run belongs to; there are {there}")
    parts = {run.part for run in own}
    others = [
        run
        for run in runs.values()
        if run.kind == BASELINES and run not in own and run.corpus_key == corpus and run.part in parts
    ]
    shown = [*own, *others]
    done = [run for run in shown if entries[run.name]]
    tasks = _tasks(own, entries) or _tasks(others, entries)
    notes: dict[str, str] = {}
    blocks = []
    for part in (part for part in reversed(PARTS) if part in parts):
        for task in tasks:
            rows = [row for run in done if run.part == part for row in rows_of(run, entries[run.name], task)]
            if rows:
                blocks.append(_block(f"`{task}`, {PARTS[part]}", rows, notes, told=name == HEADLINE))
    waiting = [run.title for run in own if not entries[run.name]]
    if waiting:
        blocks.append(f"Not run yet: {'; '.join(waiting)}.")
    if notes:
        blocks.append("\n".join(f"- {mark}: {note}." for note, mark in notes.items()))
    options = " --data-root DIR" if any(run.data is not None for run in shown) else ""
    blocks.append(f"Made by `python -m benchmarks.quality {' '.join(run.name for run in shown)}{options}`.")
    return "\n\n".join(blocks)


def examples(entries: Sequence[Entry]) -> str:
    """The good and bad explanations of the first seed, as a list; a sentence where there are none yet."""
    if not entries:
        return "Not run yet."
    lines = []
    for title, kind in (("Closest to what the user wrote", "good"), ("Farthest from it", "bad")):
        lines.append(f"{title} (seed {entries[0]['seed']}):\n")
        for one in entries[0]["examples"][kind]:
            feature = f" (feature: {one['feature']})" if one["feature"] else ""
            lines.append(f"- written: “{_inline(one['written'])}”; the user{feature}: “{_inline(one['truth'])}”")
        lines.append("")
    return "\n".join(lines).rstrip()


def _tasks(runs: Sequence[Run], entries: Mapping[str, Sequence[Entry]]) -> list[str]:
    return list(dict.fromkeys(task for run in runs for entry in entries[run.name] for task in entry["tasks"]))


def _block(title: str, rows: Sequence[Row], notes: dict[str, str], *, told: bool) -> str:
    metrics = [name for name in (*_RANKING, *_TEXT) if any(name in row.values for row in rows)]
    trained = any(row.kind == TRAIN for row in rows)
    head = [title, "item IDs", *(shown_metric(name) for name in metrics)]
    head += ["minutes", "parameters trained"] if trained else []
    head += ["seeds", "audit", "made as"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.title, row.indexing or "–", *(cell(row.values.get(name), name) for name in metrics)]
        if trained:
            cells += [f"{mean(row.minutes):.1f}" if row.minutes else "–", _count(row.trained)]
        mark = notes.setdefault(row.note, _mark(len(notes)))
        cells += [", ".join(map(str, row.seeds)), "LEAK" if row.leaks else "no leak", mark]
        lines.append(cells)
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    lost = losses_to_baselines(rows) if told else []
    return f"{text}\n\n{' '.join(lost)}" if lost else text


def _count(values: Sequence[int]) -> str:
    return " to ".join(f"{value:,}" for value in sorted({min(values), max(values)})) if values else "–"


def _mark(place: int) -> str:
    """`a`, `b`, …, `z`, `aa`, …

    Example:
        >>> _mark(0), _mark(25), _mark(26)
        ('a', 'z', 'aa')
    """
    return ("" if place < 26 else _mark(place // 26 - 1)) + chr(ord("a") + place % 26)


def _inline(text: str) -> str:
    """A sentence in which Markdown finds nothing to do."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))
