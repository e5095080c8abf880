"""Which attention a model trains with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from .blockwise_attention import BLOCKWISE

Attention = Literal["auto", "blockwise", "sdpa", "eager"]
_BIAS = "relative_attention_bias"


def check_attention(attention: str) -> None:
    """Check the name of an attention.

    Raises:
        ValueError: it is none of them.

    Example:
        >>> check_attention("auto")
    """
    if attention not in get_args(Attention):
        raise ValueError(f"attention must be one of {list(get_args(Attention))}, got {attention!r}")


def resolve_attention(base: PreTrainedModel, attention: str) -> str | None:
    """The name by which transformers knows the attention a base is to be trained with; `None` for its own.

    Args:
        base: the base model.
        attention: `"eager"`, `"sdpa"`, `"blockwise"`, or `"auto"`: blockwise on a CPU where the base learns a bias of
            relative positions, which `scaled_dot_product_attention` has no fused kernel for; else what the base has.

    Raises:
        ValueError: there is no such attention, or the base does not take another one than its own.
    """
    check_attention(attention)
    takes_another = base._can_set_attn_implementation()
    if attention == "auto":
        has_bias = any(_BIAS in name for name, _ in base.named_parameters())
        on_cpu = next(base.parameters()).device.type == "cpu"
        own = base.config._attn_implementation == "sdpa"
        return BLOCKWISE if takes_another and has_bias and on_cpu and own else None
    if not takes_another:
        raise ValueError(
            f"attention={attention!r}: a base of type {base.config.model_type!r} does not let its attention be chosen; "
            'leave it "auto"'
        )
    return BLOCKWISE if attention == "blockwise" else attention


@contextmanager
def using_attention(base: PreTrainedModel, attention: str) -> Iterator[None]:
    """Let a base use an attention for a while; its configurations are the same afterwards.

    Args:
        base: the base model.
        attention: see `resolve_attention`.

    Raises:
        ValueError: see `resolve_attention`, or the base has no `scaled_dot_product_attention` and was asked for it.
    """
    name = resolve_attention(base, attention)
    models = [module for module in base.modules() if isinstance(module, PreTrainedModel)]
    configs = {id(model.config): model.config for model in models}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        if name is not None:
            base.set_attn_implementation(name)
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def base_of(model: torch.nn.Module) -> PreTrainedModel:
    """The base under an adapter.

    Raises:
        TypeError: it is no model of transformers.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, PreTrainedModel):
        raise TypeError(f"a model of transformers was expected under the adapter, got {type(base).__name__}")
    return base
