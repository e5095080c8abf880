"""A plan of `peft-pod train --dry-run` as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan as people read it.

    Args:
        plan: see `peft_pod.commands.plan.make_plan`.
    """
    corpus, ids, length = plan["corpus"], plan["item_ids"], plan["length"]
    seconds, memory = plan["seconds"], plan["memory_bytes"]
    evaluation = ", ".join(f"{name} {_clock(taken)}" for name, taken in seconds["evaluation"].items())
    changed = "\n".join(f"  {name}: {value}" for name, value in plan["changed_arguments"].items()) or "  none"
    recipe = f" (recipe {plan['recipe']})" if plan["recipe"] else ""
    return "\n".join(
        [
            f"arguments that differ from the defaults{recipe}",
            changed,
            "",
            f"corpus      {corpus['name']}: {corpus['users']:,} users, {corpus['items']:,} items, "
            f"{corpus['interactions']:,} interactions, fingerprint {corpus['fingerprint']}",
            f"            {corpus['audit']}",
            f"item IDs    {ids['indexing']}: {_tokens_of_an_id(ids['tokens'])}",
            f"model       {plan['model']['base']}",
            *_table(_parameter_rows(plan["model"]["parameters"])),
            "tasks",
            *_table(_task_rows(plan["tasks"], mixed=_is_mixed(length))),
            f"length      {length['steps']:,} steps of {length['samples_per_step']:,} samples, "
            f"{'tasks mixed' if _is_mixed(length) else 'one task each'}"
            f"{_accumulated(length)}{_done(length)}{_limited(length)}; "
            f"{length['steps_per_epoch']:,} an epoch, {length['epochs']:.3g} epochs, "
            f"{_counted(length['validations'], 'validation')}",
            f"memory      peak {_bytes(memory['peak'])} while {plan['timed_batches']} batches were timed: weights "
            f"{_bytes(memory['weights'])}, gradients {_bytes(memory['gradients'])}, optimizer "
            f"{_bytes(memory['optimizer'])}, activations about {_bytes(memory['activations'])}, and the rest what the "
            "process had before",
            f"precision   {plan['precision']['used']}; a matrix product in bf16 (--bf16) is "
            f"{plan['precision']['bf16_speedup']:.2g} times as fast as in float32 here",
            f"time        about {_clock(seconds['total'])}: building {_clock(seconds['building'])}, training "
            f"{_clock(seconds['training'])} ({seconds['step']:.3g} s a step, {_clock(seconds['one_validation'])} a "
            f"validation), {_questions(plan['evaluation_part'], evaluation)}",
            f"            not counted: {'; '.join(plan['not_counted'])}",
            "Nothing was written.",
        ]
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _tokens_of_an_id(tokens: Mapping[str, float]) -> str:
    if tokens["fewest"] == tokens["most"]:
        return f"{_counted(int(tokens['most']), 'token')} each"
    return f"{tokens['fewest']} to {tokens['most']} tokens each, {tokens['mean']:.3g} on average"


def _accumulated(length: Mapping[str, Any]) -> str:
    return f", {length['batches_per_step']} batches a step" if length["batches_per_step"] > 1 else ""


def _done(length: Mapping[str, Any]) -> str:
    return f", {length['steps_done']:,} of them done" if length["steps_done"] else ""


def _is_mixed(length: Mapping[str, Any]) -> bool:
    return bool(length["batch_tasks"] == "mixed")


def _limited(length: Mapping[str, Any]) -> str:
    if length["max_minutes"] is None:
        return ""
    return f", of {length['asked_steps']:,} that are asked for, fitted to {length['max_minutes']:g} minutes"


def _questions(part: str | None, evaluation: str) -> str:
    return "no evaluation" if part is None else f"{part} questions {evaluation or 'none'}"


def _parameter_rows(parameters: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    rows = [["", "trained", "total"]]
    return rows + [[name, f"{count['trained']:,}", f"{count['total']:,}"] for name, count in parameters.items()]


def _task_rows(tasks: Mapping[str, Mapping[str, Any]], *, mixed: bool) -> list[list[str]]:
    rows = [
        ["", "samples", "validation", "batches/epoch", "input tokens", "longest", "answer tokens", "longest", "s/batch"]
    ]
    for name, task in tasks.items():
        row = [
            name,
            f"{task['training_samples']:,}",
            f"{task['validation_samples']:,}",
            f"{task['batches_per_epoch']:,}",
        ]
        if task["batches_per_epoch"]:
            for what in ("input", "answer"):
                counts = task[f"{what}_tokens_per_batch"]
                row += [f"{counts['mean']:,.0f} ({counts['padded']:,.0f})", str(counts["longest"])]
            row.append(f"{task['seconds_per_batch']:.3g}")
        rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    counted = "a task's samples in a batch" if mixed else "a batch"
    return [*rows, [f"tokens are those of {counted} on average, with padding in brackets; prompts are not counted"]]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in full) for column in range(len(full[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("            " + "  ".join([row[0].ljust(widths[0]) if cells else row[0], *cells]).rstrip())
    return lines


def _bytes(count: float) -> str:
    """A number of bytes in the largest unit of which it is at least one.

    Example:
        >>> _bytes(3 * 2**20), _bytes(100)
        ('3 MiB', '100 B')
    """
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"


def _clock(seconds: float) -> str:
    """A duration, in seconds where it is short.

    Example:
        >>> _clock(2.345), _clock(3700)
        ('2.3 s', '1:01:40')
    """
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
