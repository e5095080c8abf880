"""A short training run that writes down what it saw: called by a test, and run as a module in several processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer, process_state


def train(folder: Path, batch_size: int, distillation_weight: float = 0.0) -> None:
    """Six steps of two tasks; answers of the second are of many lengths, so that means of means would be wrong."""
    split = load_corpus("embedded", num_users=21, num_items=40).split()
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [load_task("sequential"), load_task("explanation")]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, dropout=0.0, num_virtual_tokens=2, train_base=True)
    arguments = PODTrainingArguments(
        output_dir=str(folder / "checkpoints"), max_steps=6, per_device_train_batch_size=batch_size, logging_steps=1,
        per_device_eval_batch_size=4, learning_rate=2e-3, eval_strategy="steps", eval_steps=3, save_strategy="no",
        load_best_model_at_end=False, disable_tqdm=True, distillation_weight=distillation_weight,
    )  # fmt: skip
    trainer = PODTrainer(
        model,
        arguments,
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        weight = model.get_base_model().get_input_embeddings().weight.detach()
        seen = {
            "processes": process_state().num_processes,
            "sizes": {name: len(samples) for name, samples in trainer.eval_dataset.items()},
            "losses": [
                {name: value for name, value in entry.items() if "loss" in name or "distillation" in name}
                for entry in trainer.state.log_history
                if "train_loss" not in entry
            ],
            "weights": weight[::50, :8].tolist(),
        }
        (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
