"""A run with a time limit that the clock cuts short, in several processes: run as a module by a test."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from peft_pod.training import process_state

from .in_processes import make_trainer


class Slows(TrainerCallback):
    """Makes each step slower than the steps that were timed, and otherwise in each process."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        time.sleep(0.1 + 0.02 * process_state().process_index)


def train(folder: Path) -> None:
    """Train, and write down how the run ended in this process."""
    trainer = make_trainer(
        folder / "run",
        4,
        max_steps=10_000,
        max_minutes=0.1,
        save_strategy="steps",
        eval_steps=0.5,
        save_steps=0.5,
        load_best_model_at_end=True,
    )
    planned = trainer.plan_length()
    trainer.add_callback(Slows())
    began = time.monotonic()
    trainer.train()
    seen = {
        "seconds": time.monotonic() - began,
        "planned": None if planned is None else planned.steps,
        "steps": trainer.state.global_step,
        "ends": [entry["max_steps"] for entry in trainer.state.log_history if "max_steps" in entry],
        "validated": [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry],
        "rate": trainer.optimizer.param_groups[0]["lr"],
        "weights": trainer.model.get_base_model().get_input_embeddings().weight.detach()[::50, :8].tolist(),
    }
    (folder / f"seen-{process_state().process_index}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
