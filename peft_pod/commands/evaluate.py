"""`peft-pod evaluate`: metrics of a saved run, baselines beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peft_pod.audit import Audit
from peft_pod.corpus import Corpus, Part, Split
from peft_pod.generation import Recommender
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.metrics import Report, evaluate_baselines, evaluate_model, format_table, software_versions
from peft_pod.metrics.explanation import CONVENTIONS, DEFAULT_CONVENTION
from peft_pod.metrics.ranking import DEFAULT_KS, DEFAULT_METRICS
from peft_pod.training import process_state
from peft_pod.training.plots import plot_ranking
from peft_pod.training.progress import shows_bars

from .arguments import check_seed, parse_arguments
from .data import audit_of, split_of_run
from .run_folder import RunFolder, report_variant


@dataclass
class EvaluateArguments:
    """Arguments of `peft-pod evaluate`."""

    run: str = field(default="", metadata={"help": "Folder of the run, as given to `train --output-dir`."})
    part: str = field(default="test", metadata={"help": "validation or test.", "choices": ["validation", "test"]})
    tasks: list[str] = field(default_factory=list, metadata={"help": "Evaluate these tasks alone; by default all."})
    limit: int | None = field(default=None, metadata={"help": "At most so many users a task, drawn from the seed."})
    keep_seen: bool = field(default=False, metadata={"help": "Rank the items of a user's history too."})
    seed: int | None = field(
        default=None,
        metadata={
            "help": "Of the candidates of the top-N task and of what --limit keeps; that of the run by default. Runs "
            "that are to be compared need the same one."
        },
    )
    count_weight: float | None = field(
        default=None,
        metadata={
            "help": "The share that counting which items stand near each other has in what is recommended; that of the "
            "run by default."
        },
    )
    ks: list[int] = field(default_factory=lambda: list(DEFAULT_KS), metadata={"help": "Cut-offs of the rankings."})
    metrics: list[str] = field(
        default_factory=lambda: list(DEFAULT_METRICS),
        metadata={"help": "Metrics of the rankings: hr, ndcg, mrr, recall, precision."},
    )
    text_convention: str = field(
        default=DEFAULT_CONVENTION,
        metadata={
            "help": "How BLEU and ROUGE count tokens: paper, or standard (sacrebleu, rouge_score).",
            "choices": list(CONVENTIONS),
        },
    )
    intervals: bool = field(default=False, metadata={"help": "Show confidence intervals in the table."})
    statistics: bool = field(
        default=False, metadata={"help": "Show coverage, novelty and popularity of what is recommended in the table."}
    )
    json: bool = field(default=False, metadata={"help": "Print one JSON object and nothing else."})


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    (options,) = parse_arguments([EvaluateArguments], arguments, "peft-pod evaluate")
    check_seed(options.seed)
    folder = RunFolder.existing(options.run)
    state = process_state()
    seed = folder.seed() if options.seed is None else options.seed
    recommender = Recommender.from_pretrained(
        folder.model, device=state.device, show_progress=state.is_main_process and shows_bars(options.json)
    )
    corpus = Corpus.load_from_disk(folder.corpus)
    split = split_of_run(corpus, folder.corpus_arguments())
    if options.count_weight is not None:
        recommender = _with_counts(recommender, options.count_weight, split)
    evaluate_and_report(
        folder,
        recommender,
        corpus,
        split,
        audit_of(corpus, split, recommender.processor.indexing, folder.seed()),
        part=options.part,
        tasks=options.tasks,
        seed=seed,
        limit=options.limit,
        exclude_seen=not options.keep_seen,
        ks=options.ks,
        metrics=options.metrics,
        text_convention=options.text_convention,
        variant=report_variant(
            options.part,
            options.limit,
            not options.keep_seen,
            options.text_convention,
            options.seed,
            options.tasks,
            options.count_weight,
            options.ks,
            options.metrics,
        ),
        intervals=options.intervals,
        statistics=options.statistics,
        as_json=options.json,
    )


def _with_counts(recommender: Recommender, weight: float, split: Split) -> Recommender:
    """The same model with another share of counting."""
    settings = replace(recommender.settings, count_weight=weight)
    return Recommender(
        recommender.model,
        recommender.processor,
        recommender.catalogue,
        settings,
        adapter=recommender.adapter,
        counts=NeighbourCounts.fit(split.train) if weight else None,
        show_progress=recommender.engine.show_progress,
    )


def evaluate_and_report(
    folder: RunFolder,
    recommender: Recommender,
    corpus: Corpus,
    split: Split,
    audit: Audit,
    *,
    part: Part = "test",
    tasks: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    exclude_seen: bool = True,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    text_convention: str = DEFAULT_CONVENTION,
    variant: str = "",
    intervals: bool = False,
    statistics: bool = False,
    as_json: bool = False,
) -> Report:
    """Evaluate model and baselines, print the report, and write it, its ranks and its picture into the run's folder.

    In several processes all of them must call it; the first one prints and writes. There is no picture where no task
    names items.

    Args:
        folder: of the run.
        recommender: the trained model.
        corpus: what it was trained on.
        split: its split.
        audit: of corpus, split and item IDs: its verdict stands beside the numbers.
        part: `"validation"` or `"test"`.
        tasks: names of those that are evaluated; all of the model's where there are none.
        seed: of the candidates.
        limit: at most so many samples a task.
        exclude_seen: whether histories are left out of rankings.
        ks: cut-offs of the rankings.
        metrics: of the rankings.
        text_convention: how BLEU and ROUGE count.
        variant: added to the names of the files, so that they don't replace those of another question.
        intervals: print confidence intervals in the table.
        statistics: print statistics of the lists in the table.
        as_json: print JSON in place of a table.
    """
    asked = [recommender.processor.task(name) for name in tasks or recommender.processor.task_names]
    how: dict[str, Any] = {
        "seed": seed,
        "limit": limit,
        "exclude_seen": exclude_seen,
        "ks": tuple(ks),
        "metrics": tuple(metrics),
    }
    report = Report(
        corpus={
            "name": corpus.name,
            "fingerprint": corpus.fingerprint,
            "indexing": recommender.processor.indexing.name,
        },
        part=part,
        tasks=evaluate_model(
            recommender.engine,
            split,
            part,
            tasks=[task.name for task in asked],
            text_convention=text_convention,
            **how,
        ),
        baselines=evaluate_baselines(asked, split, part, **how),
        versions=software_versions(),
        seed=seed,
        notes=(audit.note(),),
    )
    if process_state().is_main_process:
        if any(result.ranks is not None for result in report.tasks.values()):
            report.save_ranks(folder.ranks(variant))
        report.save(folder.report(variant))
        if any(metric.startswith("hr@") for result in report.tasks.values() for metric in result.metrics):
            plot_ranking(report.to_dict(), folder.ranking_plot(variant))
        else:
            # An earlier version may have drawn another report of this name.
            folder.ranking_plot(variant).unlink(missing_ok=True)
        if as_json:
            print(json.dumps(report.to_dict(), ensure_ascii=False))
        else:
            print(format_table(report, intervals=intervals, statistics=statistics))
    return report
