"""`peft-pod evaluate`: metrics of a saved run, baselines beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peft_pod.corpus import Corpus, LeaveOneOut, Part
from peft_pod.generation import Recommender
from peft_pod.metrics import Report, evaluate_baselines, evaluate_model, format_table, software_versions
from peft_pod.training import process_state
from peft_pod.training.plots import plot_ranking

from .arguments import parse_arguments
from .run_folder import RunFolder, report_variant


@dataclass
class EvaluateArguments:
    """Arguments of `peft-pod evaluate`."""

    run: str = field(default="", metadata={"help": "Folder of the run, as given to `train --output-dir`."})
    part: str = field(default="test", metadata={"help": "validation or test.", "choices": ["validation", "test"]})
    limit: int | None = field(default=None, metadata={"help": "At most so many users a task, drawn from the seed."})
    keep_seen: bool = field(default=False, metadata={"help": "Rank the items of a user's history too."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object and nothing else."})


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    (options,) = parse_arguments([EvaluateArguments], arguments, "peft-pod evaluate")
    folder = RunFolder.existing(options.run)
    state = process_state()
    seed = folder.seed()
    recommender = Recommender.from_pretrained(
        folder.model, device=state.device, show_progress=state.is_main_process and not options.json
    )
    corpus = Corpus.load_from_disk(folder.corpus)
    evaluate_and_report(
        folder,
        recommender,
        corpus,
        corpus.split(),
        part=options.part,
        seed=seed,
        limit=options.limit,
        exclude_seen=not options.keep_seen,
        variant=report_variant(options.part, options.limit, not options.keep_seen),
        as_json=options.json,
    )


def evaluate_and_report(
    folder: RunFolder,
    recommender: Recommender,
    corpus: Corpus,
    split: LeaveOneOut,
    *,
    part: Part = "test",
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    variant: str = "",
    as_json: bool = False,
) -> Report:
    """Evaluate model and baselines, print the report, and write it and its picture into the run's folder.

    In several processes all of them must call it; the first one prints and writes. There is no picture where no task
    names items.

    Args:
        folder: of the run.
        recommender: the trained model.
        corpus: what it was trained on.
        split: its split.
        part: `"validation"` or `"test"`.
        seed: of the candidates.
        limit: at most so many samples a task.
        exclude_seen: whether histories are left out of rankings.
        variant: added to the names of the two files, so that they don't replace those of another question.
        as_json: print JSON in place of a table.
    """
    how: dict[str, Any] = {"seed": seed, "limit": limit, "exclude_seen": exclude_seen}
    report = Report(
        corpus={
            "name": corpus.name,
            "fingerprint": corpus.fingerprint,
            "indexing": recommender.processor.indexing.name,
        },
        part=part,
        tasks=evaluate_model(recommender.engine, split, part, **how),
        baselines=evaluate_baselines(recommender.processor.tasks, split, part, **how),
        versions=software_versions(),
        seed=seed,
    )
    if process_state().is_main_process:
        report.save(folder.report(variant))
        if any(metric.startswith("hr@") for result in report.tasks.values() for metric in result.metrics):
            plot_ranking(report.to_dict(), folder.ranking_plot(variant))
        print(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else format_table(report))
    return report
