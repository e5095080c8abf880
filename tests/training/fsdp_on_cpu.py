"""FSDP2 without an accelerator, for tests: run as a module in two processes.

PyTorch shards on the CPU, over gloo, and so does all of Accelerate's code for FSDP2. Only the choice of it is left out:
`AcceleratorState` looks at `ACCELERATE_USE_FSDP` where processes have accelerators, and not under `MULTI_CPU`. So here
the choice is made in its place, and what then runs is Accelerate's and the Trainer's own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.training import process_state

from .in_processes import make_trainer, seen_by

ENVIRONMENT = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "T5Block",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
ADAPTERS: dict[str, dict[str, Any]] = {
    "full": {"num_virtual_tokens": 2, "train_base": True},
    "lora": {"num_virtual_tokens": 2, "r": 4},
}
SAVING = {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": True}


def choose_fsdp() -> None:
    """Let Accelerate shard on the CPU what its environment asks it to."""
    make = AcceleratorState.__init__

    def make_and_choose(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if kwargs.get("fsdp_plugin") is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = kwargs["fsdp_plugin"]
            PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = make_and_choose


def train(folder: Path, adapter: str, accumulated: int) -> None:
    """Train, resume from the middle, resume what has ended; save the model; write down what was seen."""

    def trainer() -> Any:
        pod = ADAPTERS[adapter]
        return make_trainer(folder / "checkpoints", 4, accumulated=accumulated, pod=pod, **SAVING)

    undisturbed = trainer()
    undisturbed.train()
    seen = {
        "undisturbed": seen_by(undisturbed),
        "sharded": [name for name, weight in undisturbed.model.named_parameters() if isinstance(weight, DTensor)],
        "weights": len(list(undisturbed.model.parameters())),
        "saved": sorted(path.name for path in (folder / "checkpoints" / "checkpoint-3").iterdir()),
    }
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(folder / "checkpoints" / "checkpoint-3"))
    seen["resumed"] = seen_by(resumed)
    ended = trainer()
    ended.train(resume_from_checkpoint=str(folder / "checkpoints" / "checkpoint-6"))
    wholes = [each.whole_model().state_dict() for each in (undisturbed, resumed, ended)]
    for other in wholes[1:]:
        for name, weight in wholes[0].items():
            assert torch.equal(weight, other[name]), name
    model = undisturbed.whole_model()
    if undisturbed.is_world_process_zero():
        split = load_corpus("embedded", num_users=21, num_items=40).split()
        settings = GenerationSettings(item_beams=10)
        recommender = Recommender(model.eval(), undisturbed.processor, Catalogue.from_split(split), settings)
        recommender.save_pretrained(folder / "model")
        torch.save(wholes[0], folder / "weights.pt")
        (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")
    process_state().wait_for_everyone()


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    choose_fsdp()
    for kind, batches in json.loads(sys.argv[2]).items():
        place = Path(sys.argv[1]) / kind
        place.mkdir(exist_ok=True)
        train(place, kind, batches)
