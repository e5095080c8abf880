"""`peft-pod compare`: whether one run is better than another, or than a baseline, or only luckier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from peft_pod.corpus import Part
from peft_pod.metrics import Comparison, Report, compare_runs, format_comparison

from .arguments import parse_arguments
from .run_folder import named_report, report_variant


@dataclass
class CompareArguments:
    """Arguments of `peft-pod compare`; the runs may also be named without a flag, in front of the other arguments."""

    first: str = field(default="", metadata={"help": "Folder of a run that was evaluated, or one of its report*.json."})
    second: str = field(default="", metadata={"help": "Another run or report, or the same for one of its baselines."})
    baseline: str = field(
        default="", metadata={"help": "Compare with this baseline of the second run, or of the first if it is alone."}
    )
    part: str = field(default="test", metadata={"help": "validation or test.", "choices": ["validation", "test"]})
    limit: int | None = field(default=None, metadata={"help": "The limit that the runs were evaluated with."})
    keep_seen: bool = field(default=False, metadata={"help": "The runs were evaluated with --keep_seen."})
    seed: int | None = field(default=None, metadata={"help": "The --seed that the runs were evaluated with."})
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Tasks to compare; by default all that rank items in both runs."}
    )
    json: bool = field(default=False, metadata={"help": "Print one JSON object and nothing else."})


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    runs = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    if len(runs) > 2:
        raise ValueError(f"compare takes two runs, got {len(runs)}: {' '.join(runs)}")
    flags = [part for name, path in zip(("--first", "--second"), runs, strict=False) for part in (name, path)]
    (options,) = parse_arguments([CompareArguments], [*flags, *arguments[len(runs) :]], "peft-pod compare")
    comparisons = _compare(options)
    if options.json:
        print(json.dumps({task: comparison.to_dict() for task, comparison in comparisons.items()}))
    else:
        print(format_comparison(comparisons, "first", options.baseline or "second"))


def _compare(options: CompareArguments) -> dict[str, Comparison]:
    if not options.first:
        raise ValueError("no run is named: peft-pod compare RUN_A RUN_B, or RUN_A --baseline NAME")
    if not options.second and not options.baseline:
        raise ValueError("nothing to compare with: name a second run, or a baseline of the first with --baseline")
    part: Part = "validation" if options.part == "validation" else "test"
    variant = report_variant(part, options.limit, not options.keep_seen, seed=options.seed)
    first = _load(options.first, variant)
    second = _load(options.second, variant) if options.second else first
    second = _as_baseline(second, options.baseline) if options.baseline else second
    return compare_runs(first, second, tasks=options.tasks or None)


def _load(path: str, variant: str) -> Report:
    folder, variant = named_report(path, variant)
    for file in (folder.report(variant), folder.ranks(variant)):
        if not file.is_file():
            raise FileNotFoundError(
                f"{folder.path} has no {file.name}; run `peft-pod evaluate --run {folder.path}` with the same --part, "
                "--limit, --keep_seen and --seed"
            )
    return Report.load(folder.report(variant), ranks=folder.ranks(variant))


def _as_baseline(report: Report, name: str) -> Report:
    """The report, with the results of a baseline in the model's place."""
    found = {task: rows[name] for task, rows in report.baselines.items() if name in rows}
    if not found:
        known = sorted({baseline for rows in report.baselines.values() for baseline in rows})
        raise ValueError(f"the report has no baseline {name!r}; it has {known}")
    return replace(report, tasks=found)
