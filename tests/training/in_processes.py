"""Short training runs that write down what they saw: called by tests, and run as a module in several processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer, process_state

CASES = [("random", 1, "alternated"), ("prefixes", 2, "alternated"), ("random", 1, "mixed")]
"""Segments of the sequential task, batches that a step accumulates, and whether they mix tasks."""


class WatchedTrainer(PODTrainer):
    """Notes which task each batch has in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tasks_seen: list[list[int]] = []

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if model.training:
            self.tasks_seen.append(sorted(set(inputs["task_id"].tolist())))
        return super().compute_loss(model, inputs, *args, **kwargs)


def make_trainer(
    folder: Path,
    batch_size: int,
    *,
    segments: str = "random",
    accumulated: int = 1,
    pod: dict[str, Any] | None = None,
    **arguments: Any,
) -> WatchedTrainer:
    """A trainer of all three tasks; sentences are of many lengths, so that means of means would be wrong."""
    split = load_corpus("embedded", num_users=21, num_items=40).split()
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [
        load_task("sequential", segments=segments), load_task("topn", num_negatives=9), load_task("explanation")
    ]  # fmt: skip
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    processor = PODProcessor(tokenizer, indexing, tasks)
    adapter = {"num_virtual_tokens": 2, "train_base": True} if pod is None else pod
    model = build_model("scratch:tiny", processor, dropout=0.0, **adapter)
    # Blockwise attention adds in another order where a row is padded to another length, and training amplifies that.
    chosen = {
        "attention": "sdpa",
        "max_steps": 6, "logging_steps": 1, "learning_rate": 2e-3, "eval_strategy": "steps", "eval_steps": 3,
        "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True, "report_to": [], **arguments,
    }  # fmt: skip
    return WatchedTrainer(
        model,
        PODTrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=4,
            gradient_accumulation_steps=accumulated,
            **chosen,
        ),
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor),
    )


def seen_by(trainer: WatchedTrainer) -> dict[str, Any]:
    """What a trainer saw, in numbers as they are: the log on a screen is rounded, the trainer's own is not."""
    measured = [
        {
            name: value
            for name, value in entry.items()
            if "loss" in name or "distillation" in name or name == "grad_norm"
        }
        for entry in trainer.state.log_history
    ]
    return {
        "processes": process_state().num_processes,
        "sizes": {name: len(samples) for name, samples in trainer.eval_dataset.items()},
        "tasks": trainer.tasks_seen,
        "losses": measured,
    }


def agree(found: dict[str, float], expected: dict[str, float]) -> bool:
    """Losses to 1e-5; norms of gradients, which may be of any size, to 1e-5 of theirs."""
    return found.keys() == expected.keys() and all(
        abs(found[name] - value) <= 1e-5 * (value if name == "grad_norm" else 1) for name, value in expected.items()
    )


def train(folder: Path, batch_size: int, distillation_weight: float = 0.0) -> None:
    """Train each case, and write down what this process saw."""
    state = process_state()
    seen = []
    for number, (segments, accumulated, batch_tasks) in enumerate(CASES):
        trainer = make_trainer(
            folder / str(number),
            batch_size,
            segments=segments,
            accumulated=accumulated,
            distillation_weight=distillation_weight,
            batch_tasks=batch_tasks,
        )
        trainer.train()
        weights = trainer.model.get_base_model().get_input_embeddings().weight.detach()
        seen.append({**seen_by(trainer), "weights": weights[::50, :8].tolist()})
    (folder / f"seen-{state.process_index}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
