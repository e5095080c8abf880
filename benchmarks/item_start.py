"""What it is worth to start the embeddings of items from collaborative vectors.

    python -m benchmarks.item_start [--corpus embedded] [--data-dir DIR] [--steps 600] [--seeds 0 1 2]

Trains the sequential task alone from each start, with the same seed, steps and batches, and prints one JSON object with
the validation losses and metrics of each run. The test part is not read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

from transformers import PrinterCallback, set_seed

from peft_pod.corpus import LeaveOneOut, load_corpus
from peft_pod.generation import GenerationEngine, GenerationSettings
from peft_pod.indexing import load_indexing
from peft_pod.metrics import evaluate_model, software_versions
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer
from peft_pod.training.setup import ItemStart

BASE = "scratch:tiny"
STARTS: tuple[ItemStart, ...] = ("random", "collaborative")


def main() -> None:
    """Train and evaluate each start with each seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", default="embedded")
    parser.add_argument("--data-dir")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--limit", type=int, default=2000, help="at most so many validation users")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    corpus = load_corpus(options.corpus, options.data_dir)
    split = corpus.split()
    runs = [
        {"item_start": start, "seed": seed, **run(split, start, seed, options.steps, options.limit)}
        for seed in options.seeds
        for start in STARTS
    ]
    settings = {"corpus": corpus.name, "fingerprint": corpus.fingerprint, "base": BASE, "steps": options.steps}
    print(json.dumps({**settings, "runs": runs, "versions": software_versions()}, indent=2))


def run(split: LeaveOneOut, start: ItemStart, seed: int, steps: int, limit: int) -> dict[str, Any]:
    """Train from one start and take the validation metrics."""
    set_seed(seed)
    indexing = load_indexing("random").fit(split.train, seed=seed)
    tasks = [load_task("sequential", segments="prefixes", bare_probability=0.5)]
    processor = PODProcessor(build_tokenizer(BASE, split.train, indexing, tasks), indexing, tasks)
    model = build_model(
        BASE,
        processor,
        train=split.train,
        item_start=start,
        seed=seed,
        dropout=0.0,
        num_virtual_tokens=5,
        train_base=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = PODTrainingArguments(
            output_dir=folder,
            max_steps=steps,
            learning_rate=1e-3,
            warmup_steps=50,
            lr_scheduler_type="cosine",
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
            seed=seed,
        )
        validation = EvaluationSamples.of_part(split, "validation", processor, seed=0, limit=limit)
        trainer = PODTrainer(
            model,
            arguments,
            processor=processor,
            train_dataset=TrainingSamples(split.train, processor, seed=seed),
            eval_dataset=validation,
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for the JSON alone
        trainer.train()
        loss = trainer.evaluate()["eval_loss"]
    engine = GenerationEngine(model.eval(), processor, GenerationSettings(item_beams=10))
    result = evaluate_model(engine, split, "validation", seed=0, limit=limit)["sequential"]
    return {"validation_loss": loss, **result.metrics, "protocol": str(result.protocol)}


if __name__ == "__main__":
    main()
