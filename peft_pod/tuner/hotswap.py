"""One trained adapter put in the place of another, in the same memory: a compiled or serving model stays as it is."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel
from peft.utils import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from torch import nn

from . import base_weights
from .config import PromptDistillationConfig

# What decides over the output without a trace in the names and shapes of the weights.
_SAME_FIELDS = (
    "tasks",
    "num_tasks",
    "trainable_token_indices",
    "lora_alpha",
    "alpha_pattern",
    "use_rslora",
    "lora_dropout",
    "fan_in_fan_out",
)


def hotswap_adapter(
    model: nn.Module, model_name_or_path: str, adapter_name: str = "default", torch_device: str = "cpu", **kwargs: Any
) -> None:
    """Copy the weights of a saved adapter over those of a loaded one, which keeps its name.

    No tensor is replaced, so a model compiled by `torch.compile` runs on without being compiled again. Takes what
    `peft.utils.hotswap.hotswap_adapter` takes, which knows LoRA alone. Not to be called while the model runs.

    Args:
        model: a PEFT model with a POD adapter, compiled or not.
        model_name_or_path: folder or Hub ID of the saved adapter.
        adapter_name: the loaded adapter that it takes the place of.
        torch_device: where the weights are read to before they are copied.
        **kwargs: passed on to PEFT for reading, such as `revision` or `subfolder`.

    Raises:
        ValueError: there is no such adapter, it is merged, the saved one is not a POD adapter, or the two differ in
            more than their weights; the message says in what. The model is then as it was.
        OSError: the saved adapter cannot be read.

    Example:
        >>> import tempfile
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> from peft import get_peft_model
        >>> from peft_pod import PODConfig
        >>> def make(seed):
        ...     base = T5ForConditionalGeneration(T5Config(
        ...         vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))
        ...     return get_peft_model(base, PODConfig(num_tasks=1, init_seed=seed))
        >>> first, second = make(1), make(2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     second.save_pretrained(folder)
        ...     hotswap_adapter(first, folder)
        >>> torch.equal(first.base_model.prompts.weight, second.base_model.prompts.weight)
        True
    """
    peft_model = getattr(model, "_orig_mod", model)
    if not isinstance(peft_model, PeftModel):
        raise ValueError(f"model must be a PEFT model with a POD adapter, got {type(peft_model).__name__}")
    if adapter_name not in peft_model.peft_config:
        raise ValueError(f"there is no adapter {adapter_name!r}; this model has {list(peft_model.peft_config)}")
    loaded = peft_model.peft_config[adapter_name]
    saved = PeftConfig.from_pretrained(model_name_or_path, **kwargs)
    for config, whose in ((loaded, f"adapter {adapter_name!r}"), (saved, f"the adapter in {model_name_or_path!r}")):
        if not isinstance(config, PromptDistillationConfig):
            raise ValueError(f"{whose} is not a POD adapter but {config.peft_type}")
    _check_not_merged(peft_model, adapter_name)
    for name in _SAME_FIELDS:
        if getattr(loaded, name) != getattr(saved, name):
            raise ValueError(
                f"cannot swap adapter {adapter_name!r}: {name} is {getattr(loaded, name)!r} here and "
                f"{getattr(saved, name)!r} in {model_name_or_path!r}. Load it as an adapter of its own by load_adapter"
            )
    weights = cast(dict[str, torch.Tensor], load_peft_weights(model_name_or_path, device=torch_device, **kwargs))
    weights = _without_equal_embeddings(peft_model, weights)
    _check_same_weights(peft_model, weights, adapter_name, model_name_or_path)
    set_peft_model_state_dict(peft_model, weights, adapter_name=adapter_name)


def _check_not_merged(model: PeftModel, adapter_name: str) -> None:
    if adapter_name in cast(Any, model.base_model).prompts.merged_adapters:
        raise ValueError(
            f"adapter {adapter_name!r} is merged into the base: call unmerge_adapter() before it is swapped, or its "
            "LoRA could not be taken out again"
        )


def _without_equal_embeddings(model: PeftModel, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint without the embeddings that PEFT saves beside adapters of them, where they are the base's own."""
    own = base_weights.embeddings(model)
    return {
        name: tensor
        for name, tensor in weights.items()
        if name not in own or not torch.equal(tensor.to(own[name]), own[name])
    }


def _check_same_weights(model: PeftModel, weights: dict[str, torch.Tensor], adapter_name: str, folder: str) -> None:
    # Without embeddings: whether they belong to the checkpoint would be asked of the Hub.
    present = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    missing, unexpected = sorted({*present} - {*weights}), sorted({*weights} - {*present})
    if missing or unexpected:
        raise ValueError(
            f"cannot swap adapter {adapter_name!r}: {folder!r} lacks {missing[:3]} and has {unexpected[:3]} besides "
            f"({len(missing)} and {len(unexpected)} in all). Load it as an adapter of its own by load_adapter"
        )
    for name, tensor in weights.items():
        if tensor.shape != present[name].shape:
            raise ValueError(
                f"cannot swap adapter {adapter_name!r}: {name!r} has shape {tuple(present[name].shape)} here and "
                f"{tuple(tensor.shape)} in {folder!r}. Load it as an adapter of its own by load_adapter"
            )
