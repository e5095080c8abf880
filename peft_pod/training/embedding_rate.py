"""A learning rate of its own for the base's token embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from peft import PeftModel
from torch.optim import Optimizer


def token_embeddings(model: PeftModel) -> list[torch.nn.Parameter]:
    """The weights that turn tokens into vectors and vectors into tokens, each once, whether they are trained or not.

    Args:
        model: with an adapter.

    Example:
        >>> from peft import get_peft_model
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> from peft_pod import PODConfig
        >>> base = T5ForConditionalGeneration(T5Config(
        ...     vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))
        >>> [tuple(weight.shape) for weight in token_embeddings(get_peft_model(base, PODConfig(num_tasks=1)))]
        [(20, 8)]
    """
    base: Any = model.get_base_model()
    found: dict[int, torch.nn.Parameter] = {}
    for module in (base.get_input_embeddings(), base.get_output_embeddings()):
        for parameter in () if module is None else module.parameters():
            found[id(parameter)] = parameter
    return list(found.values())


def set_rate_ratio(optimizer: Optimizer, parameters: Iterable[torch.nn.Parameter], ratio: float) -> None:
    """Let some parameters of an optimizer learn at a multiple of its learning rate.

    They get groups of their own, behind the others, so that the rate which a Trainer logs stays that of the rest. A
    schedule that is made afterwards scales all of them alike.

    Args:
        optimizer: that has taken no step.
        parameters: those of them that it trains.
        ratio: their rate over that of the others.

    Example:
        >>> one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        >>> optimizer = torch.optim.AdamW([one, two], lr=0.5)
        >>> set_rate_ratio(optimizer, [one], 4)
        >>> [(group["lr"], len(group["params"])) for group in optimizer.param_groups]
        [(0.5, 1), (2.0, 1)]
    """
    chosen = {id(parameter) for parameter in parameters}
    groups = list(optimizer.param_groups)
    for group in groups:
        apart = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if apart:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": apart, "lr": ratio * group["lr"]})
