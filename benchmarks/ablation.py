"""What each choice of `--recipe best` is worth, at equal training time.

    python -m benchmarks.ablation --corpus movielens-100k --data-dir DIR [--minutes 3] [--seeds 0 1] \
        [--variants recipe random-segments ...] [--results FILE.jsonl]

A variant is the recipe with one thing changed. The CPU time of its step is measured first, and it is trained for as
many steps as the minutes allow, its whole schedule included; time is that of the process on one thread, so that other
work on the machine counts little. Metrics are those of the validation part; the test part is not read. Each run adds a
line to the results, and what is there already is not run again.

    python -m benchmarks.ablation --results FILE.jsonl --table

prints a table of what the file holds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, set_seed

from peft_pod.corpus import Split, load_corpus
from peft_pod.generation import GenerationEngine, GenerationSettings
from peft_pod.indexing import load_indexing
from peft_pod.metrics import evaluate_model, software_versions
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer

BASE = "scratch:tiny"
WARM_UP, TIMED = 8, 40
METRICS = ("hr@10", "ndcg@10")


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe.

    Attributes:
        options: of each task, by its name.
        tasks: that are trained.
        training: further training arguments.
        model: further arguments of `build_model`.
    """

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tasks: Sequence[str] = ("sequential", "topn")
    training: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)


def _bare(probability: float | None) -> Variant:
    return Variant({name: {"bare_probability": probability} for name in ("sequential", "topn")})


VARIANTS = {
    "recipe": Variant(),
    "candidates-in-prompt": Variant({"topn": {"candidates_in": "prompt"}}),
    "no-topn-history": Variant({"topn": {"history_length": 0}}),
    "paper-topn": Variant({"topn": {"candidates_in": "prompt", "history_length": 0}}),
    "random-segments": Variant({"sequential": {"segments": "random"}}),
    "bare-0": _bare(0.0),
    "bare-as-any-other": _bare(None),
    "bare-1": _bare(1.0),
    "distillation": Variant(training={"distillation_weight": 1.0}),
    "distillation-bare-0": Variant(_bare(0.0).options, training={"distillation_weight": 1.0}),
    "distillation-temperature-2": Variant(training={"distillation_weight": 1.0, "distillation_temperature": 2.0}),
    "length-bucketing": Variant(training={"length_bucketing": True}),
    "mixed-batches": Variant(training={"batch_tasks": "mixed"}),
    "sequential-alone": Variant(tasks=("sequential",)),
}


def main() -> None:
    """Train and evaluate each variant with each seed, or print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", default="embedded")
    parser.add_argument("--data-dir")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--limit", type=int, help="at most so many validation users a task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--results", type=Path, default=Path("runs/ablation.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print what the results hold")
    options = parser.parse_args()
    if options.table:
        print(table(_lines(options.results)))
        return
    torch.set_num_threads(1)
    corpus = load_corpus(options.corpus, options.data_dir)
    split = corpus.split()
    for seed in options.seeds:
        for name in options.variants:
            what = {"corpus": corpus.name, "variant": name, "seed": seed, "minutes": options.minutes}
            if any(what.items() <= line.items() for line in _lines(options.results)):
                continue
            found = run(split, VARIANTS[name], seed, options.minutes * 60, options.limit)
            line = {**what, "fingerprint": corpus.fingerprint, **found, "versions": software_versions()}
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps({**what, **found["metrics"]}), flush=True)


def run(split: Split, variant: Variant, seed: int, seconds: float, limit: int | None) -> dict[str, Any]:
    """Train a variant for a time and take the validation metrics.

    Args:
        split: the split corpus.
        variant: what differs from the recipe.
        seed: of everything drawn.
        seconds: of CPU time that training may take.
        limit: at most so many validation users a task.
    """
    with tempfile.TemporaryDirectory() as folder:
        timer = _StepTimer()
        _trainer(split, variant, seed, folder, WARM_UP + TIMED, timer).train()
        steps = max(1, round(seconds / timer.seconds_a_step()))
        trainer = _trainer(split, variant, seed, folder, steps)
        begun = time.process_time()
        trainer.train()
        took = time.process_time() - begun
        samples = EvaluationSamples.of_part(split, "validation", trainer.processor, limit=limit)
        losses = trainer.evaluate(samples)
    engine = GenerationEngine(trainer.model.eval(), trainer.processor, GenerationSettings(item_beams=10))
    results = evaluate_model(engine, split, "validation", seed=0, limit=limit)
    metrics = {
        **{f"{task}_{name}": result.metrics[name] for task, result in results.items() for name in METRICS},
        **{f"{task}_loss": losses[f"eval_{task}_loss"] for task in results},
    }
    return {
        "steps": steps,
        "cpu_seconds": took,
        "metrics": metrics,
        "protocols": {task: str(result.protocol) for task, result in results.items()},
    }


def _trainer(
    split: Split, variant: Variant, seed: int, folder: str, steps: int, *callbacks: TrainerCallback
) -> PODTrainer:
    set_seed(seed)
    options: dict[str, dict[str, Any]] = {
        "sequential": {"segments": "prefixes", "bare_probability": 0.5},
        "topn": {"candidates_in": "trie", "history_length": 20, "bare_probability": 0.5},
    }
    tasks = [load_task(name, **{**options[name], **variant.options.get(name, {})}) for name in variant.tasks]
    indexing = load_indexing("random").fit(split.train, seed=seed)
    processor = PODProcessor(build_tokenizer(BASE, split.train, indexing, tasks), indexing, tasks)
    model: dict[str, Any] = {"item_start": "collaborative", "dropout": 0.0, "num_virtual_tokens": 5, **variant.model}
    arguments: dict[str, Any] = {
        "max_steps": steps,
        "learning_rate": 1e-3,
        "warmup_steps": min(50, steps // 4),
        "lr_scheduler_type": "cosine",
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "early_stopping_patience": None,
        "per_device_eval_batch_size": 256,
        "disable_tqdm": True,
        "report_to": "none",
        "seed": seed,
        **variant.training,
    }
    trainer = PODTrainer(
        build_model(BASE, processor, train=split.train, seed=seed, train_base=True, **model),
        PODTrainingArguments(output_dir=folder, **arguments),
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor, seed=seed),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for the results
    return trainer


class _StepTimer(TrainerCallback):
    """CPU time of steps, those of the warm-up left out."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.process_time())

    def seconds_a_step(self) -> float:
        return (self.ends[-1] - self.ends[WARM_UP - 1]) / TIMED


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The mean over seeds of each variant of each corpus, as a Markdown table."""
    names = list(dict.fromkeys(name for line in lines for name in line["metrics"]))
    rows = [["corpus", "variant", "minutes", "seeds", "steps", *names]]
    keys = dict.fromkeys((line["corpus"], line["variant"], line["minutes"]) for line in lines)
    for key in keys:
        runs = [line for line in lines if (line["corpus"], line["variant"], line["minutes"]) == key]
        steps = sum(run["steps"] for run in runs) / len(runs)
        cells = [_mean([run["metrics"][name] for run in runs if name in run["metrics"]]) for name in names]
        rows.append([*map(str, key), str(len(runs)), f"{steps:,.0f}", *cells])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = sum(values) / len(values)
    return f"{mean:.4f}" if mean < 1 else f"{mean:.3f}"


if __name__ == "__main__":
    main()
