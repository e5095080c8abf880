"""Small models of every T5 type with every kind of adapter, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from transformers import (
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from peft_pod import PODConfig

VOCABULARY, EOS, ROWS, LENGTH = 60, 1, 5, 24
SHAPE: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2}
# Distances go beyond the largest that the bias tells apart.
POSITIONS = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "t5": (T5Config, T5ForConditionalGeneration, {}),
    "flan-t5": (
        T5Config,
        T5ForConditionalGeneration,
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": (MT5Config, MT5ForConditionalGeneration, {}),
    "umt5": (UMT5Config, UMT5ForConditionalGeneration, {}),
}
ADAPTERS: dict[str, dict[str, Any] | None] = {
    "no adapter": None,
    "frozen": {},
    "lora": {"r": 4, "target_modules": ["q", "v", "wo"]},
    "whole base": {"train_base": True},
    "new rows": {"trainable_token_indices": [5, 6, 7, 30]},
    "no prompts": {"num_virtual_tokens": 0, "train_base": True},
    "nothing in front": {"num_virtual_tokens": 0, "whole_word_embedding": False, "r": 4, "target_modules": ["q", "v"]},
}


def make_base(kind: str) -> PreTrainedModel:
    config, model, extra = KINDS[kind]
    torch.manual_seed(0)
    base = model(config(vocab_size=VOCABULARY, decoder_start_token_id=0, **SHAPE, **POSITIONS, **extra))
    return scattered(base).eval()


def scattered(model: Any) -> Any:
    """Weights so large that inputs get different items, and no layer's norm is at its default."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3) if parameter.ndim > 1 else parameter.uniform_(0.5, 1.5)
    return model


def make_model(kind: str, adapter: str) -> Any:
    options = ADAPTERS[adapter]
    base = make_base(kind)
    if options is None:
        return base
    config = PODConfig(**{"num_tasks": 2, "num_virtual_tokens": 3, **options})
    return scattered(get_peft_model(base, config)).eval()


def make_inputs(model: Any, seed: int = 0, length: int = LENGTH) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(2, VOCABULARY, (ROWS, length), generator=generator)
    mask = torch.ones_like(input_ids)
    mask[1, 5:] = mask[2, 9:] = mask[4, 9:] = 0
    mask[3, :4] = 0  # padding on the left
    inputs = {"input_ids": input_ids, "attention_mask": mask}
    if hasattr(model, "peft_config"):
        words = torch.randint(0, 4, (ROWS, length), generator=generator)
        inputs |= {"task_id": torch.tensor([0, 1, 0, 1, 1]), "whole_word_ids": words}
    return inputs
