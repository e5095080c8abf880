"""`peft-pod pictures`: what a trained model does, for whom, and with which prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from peft_pod.corpus import Corpus, Part, Split
from peft_pod.files import write_text
from peft_pod.generation import Recommender
from peft_pod.generation.prompt_attention import AttentionUnreadableError, prompt_attention
from peft_pod.generation.prompt_meaning import NEAREST, format_prompts, read_prompts
from peft_pod.metrics import Report, software_versions
from peft_pod.metrics.grouped_report import grouped_hit_rates
from peft_pod.processing.samples import limited
from peft_pod.processing.token_names import TokenNames
from peft_pod.training import process_state
from peft_pod.training.prompt_plot import plot_prompts
from peft_pod.training.reading_plots import plot_attention, plot_hit_rates

from .arguments import parse_arguments
from .data import split_of_run
from .run_folder import RunFolder, named_report, report_variant

NUMBERS = "pictures.json"
HIT_RATES, PROMPTS, ATTENTION = "hit_rates.png", "prompts.png", "attention.png"
NO_PROMPTS = (
    "There are no pictures of prompts and of attention to them: the model has no prompts (its num_virtual_tokens is 0)."
)


@dataclass
class PicturesArguments:
    """Arguments of `peft-pod pictures`."""

    run: str = field(
        default="", metadata={"help": "Folder given to `train --output-dir`, or one of the report*.json in it."}
    )
    part: str = field(default="test", metadata={"help": "validation or test.", "choices": ["validation", "test"]})
    output: str | None = field(
        default=None, metadata={"help": "Folder for the pictures; by default pictures/ in the run's folder."}
    )
    k: int | None = field(
        default=None, metadata={"help": "Hit rates are HR@k; 10 by default, or the report's largest cut-off below."}
    )
    limit: int | None = field(default=None, metadata={"help": "The limit that the run was evaluated with."})
    keep_seen: bool = field(default=False, metadata={"help": "The run was evaluated with --keep_seen."})
    questions: int = field(
        default=200, metadata={"help": "Attention is read on at most so many questions a task, drawn from the seed."}
    )
    nearest: int = field(default=NEAREST, metadata={"help": "So many tokens for each prompt vector."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object and nothing else."})


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    (options,) = parse_arguments([PicturesArguments], arguments, "peft-pod pictures")
    _check(options)
    # There is nothing to share, and each process would write the same files.
    if not process_state().is_main_process:
        return
    variant = report_variant(cast(Part, options.part), options.limit, not options.keep_seen)
    folder, variant = named_report(options.run, variant)
    report = _load_report(folder, variant)
    split = split_of_run(Corpus.load_from_disk(folder.corpus), folder.corpus_arguments())
    recommender = Recommender.from_pretrained(folder.model, device=process_state().device)
    numbers = read_run(
        recommender,
        split,
        report,
        seed=folder.seed(),
        k=options.k,
        questions=options.questions,
        nearest=options.nearest,
    )
    output = folder.pictures(variant) if options.output is None else Path(options.output)
    files = draw(numbers, output)
    if options.json:
        print(json.dumps(numbers, ensure_ascii=False))
    else:
        table = [format_prompts(numbers["prompts"])] if numbers["prompts"] else []
        print(*table, *numbers["notes"], sep="\n")
        print("written:", *files, sep="\n  ")


def read_run(
    recommender: Recommender,
    split: Split,
    report: Report,
    *,
    seed: int = 0,
    k: int | None = None,
    questions: int = 200,
    nearest: int = NEAREST,
) -> dict[str, Any]:
    """The numbers of all pictures, in types that JSON knows.

    Args:
        recommender: the trained model.
        split: its split corpus.
        report: of the part that is asked about, with ranks.
        seed: of questions and candidates.
        k: see `grouped_hit_rates`.
        questions: attention is read on at most so many questions a task.
        nearest: so many tokens for each prompt vector.

    Returns:
        By picture, beside what they were made from. Where the model has no prompts, or the base's attention cannot be
        read, `notes` says so.
    """
    part, engine = cast(Part, report.part), recommender.engine
    prompts: dict[str, Any] = {}
    attention: dict[str, Any] = {}
    notes = list(report.notes)
    if engine.model.active_peft_config.num_virtual_tokens:
        names = TokenNames(recommender.processor, recommender.catalogue.titles)
        prompts = read_prompts(engine.model, names, n=nearest, seed=seed)
        try:
            attention = _attention(recommender, split, part, seed=seed, questions=questions)
        except AttentionUnreadableError as error:
            notes.append(f"There is no picture of attention: {error}.")
    else:
        notes.append(NO_PROMPTS)
    return {
        "corpus": dict(report.corpus),
        "part": part,
        "seed": seed,
        "hit_rates": grouped_hit_rates(report, split, k),
        "prompts": prompts,
        "attention": attention,
        "notes": notes,
        "versions": software_versions(),
    }


def _attention(recommender: Recommender, split: Split, part: Part, *, seed: int, questions: int) -> dict[str, Any]:
    found = {}
    for task in recommender.processor.tasks:
        samples = limited(task.evaluation_samples(split, part, seed), questions, seed)
        if samples:
            read = prompt_attention(recommender.engine.model, recommender.processor, list(samples), task.name)
            found[task.name] = read.to_dict()
    return found


def draw(numbers: dict[str, Any], output: Path) -> list[Path]:
    """Draw what `read_run` read, and write the numbers beside the pictures.

    A picture that there is nothing for, such as hit rates of a model that recommends nothing, is left out.

    Returns:
        The files.
    """
    drawn = {HIT_RATES: plot_hit_rates, PROMPTS: plot_prompts, ATTENTION: plot_attention}
    files = []
    for (name, plot), found in zip(
        drawn.items(), (numbers["hit_rates"], numbers["prompts"], numbers["attention"]), strict=True
    ):
        (output / name).unlink(missing_ok=True)
        if found:
            plot(found, output / name)
            files.append(output / name)
    write_text(output / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return [*files, output / NUMBERS]


def _check(options: PicturesArguments) -> None:
    for name in ("questions", "nearest"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.output is not None and Path(options.output).is_file():
        raise NotADirectoryError(f"--output {options.output} is a file; name a folder")


def _load_report(folder: RunFolder, variant: str) -> Report:
    path, ranks = folder.report(variant), folder.ranks(variant)
    if not path.is_file():
        raise FileNotFoundError(
            f"--run {folder.path} has no {path.name}: run `peft-pod evaluate --run {folder.path}` first, with the same "
            "--part, --limit and --keep_seen"
        )
    report = Report.load(path, ranks=ranks if ranks.is_file() else None)
    if not ranks.is_file() and any("@" in metric for result in report.tasks.values() for metric in result.metrics):
        raise FileNotFoundError(
            f"--run {folder.path} has no {ranks.name}, from which hit rates are drawn: run `peft-pod evaluate --run "
            f"{folder.path}` again as it was run for {path.name}, which writes both"
        )
    # A run whose tasks only write texts has no ranks, and no picture of them.
    return report
