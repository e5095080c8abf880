"""The base models and configurations that the tuner's suite runs over: one list, every test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from peft_pod import PODConfig

from . import architectures
from .architectures import VOCABULARY

ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    name: architectures.ARCHITECTURES[name].make for name in ("t5", "bart")
}
"""One that has relative positions, one that has a table of them: `test_architectures.py` has all."""

MODES: dict[str, dict[str, Any]] = {"frozen": {}, "lora": {"r": 4}, "full": {"train_base": True}}


def make_base(architecture: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return ARCHITECTURES[architecture]().eval()


def make_config(mode: str = "frozen", **overrides: Any) -> PODConfig:
    arguments: dict[str, Any] = {
        "tasks": ["sequential", "topn", "explanation"],
        "num_virtual_tokens": 3,
        "max_whole_words": 8,
        # Larger than the paper's start, so that a prompt that goes missing shows in the logits.
        "prompt_init_range": 1.0,
    }
    return PODConfig(**{**arguments, **MODES[mode], **overrides})


def make_batch(model: PreTrainedModel, padding: str | None = None) -> dict[str, torch.Tensor]:
    """Three rows of seven tokens, of which four belong to two IDs; one task a row."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, VOCABULARY, (3, 7), generator=generator)
    whole_word_ids = torch.tensor([[0, 1, 1, 0, 2, 2, 0]]).repeat(3, 1)
    attention_mask = torch.ones_like(input_ids)
    if padding:
        columns = slice(5, 7) if padding == "right" else slice(0, 2)
        input_ids[1, columns] = model.config.pad_token_id
        attention_mask[1, columns] = 0
        whole_word_ids[1, columns] = 0
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "whole_word_ids": whole_word_ids,
        "task_id": torch.tensor([2, 0, 1]),
        "labels": torch.randint(5, VOCABULARY, (3, 4), generator=generator),
    }


def train_a_little(model: torch.nn.Module, batch: dict[str, torch.Tensor], steps: int = 3) -> list[float]:
    """A few optimiser steps, so that nothing is at its start; returns the losses."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    losses = []
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses
