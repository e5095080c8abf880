"""The base's weights inside an adapter checkpoint (`train_base=True`), and whether a checkpoint fits a base."""

from __future__ import annotations

import torch
from torch import nn

BASE_PREFIX = "base_model.model."


def select(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The base's entries of a PEFT model's state dict, each tied weight once.

    Args:
        state_dict: of a PEFT model, with PEFT's prefixes.
    """
    chosen: dict[str, torch.Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in state_dict.items():
        if not name.startswith(BASE_PREFIX):
            continue
        place = (tensor.device, tensor.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if tensor.data_ptr() and place in seen:
            continue
        seen.add(place)
        chosen[name] = tensor
    return chosen


def restore_ties(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give every name of a tied weight the same parameter, so that tied weights stay tied however they are loaded.

    PEFT loads either by copying values or, with `low_cpu_mem_usage=True`, by putting the checkpoint's tensors in the
    place of the model's parameters; the second would untie weights of which the checkpoint holds one name only. The
    base's type is kept.

    Args:
        model: the PEFT model to be loaded into.
        state_dict: the checkpoint, with the model's names.

    Raises:
        ValueError: the checkpoint lacks some of the base's weights.
    """
    names_by_parameter: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name.startswith(BASE_PREFIX):
            names_by_parameter.setdefault(parameter, []).append(name)

    restored = dict(state_dict)
    missing = []
    for parameter, names in names_by_parameter.items():
        saved = next((state_dict[name] for name in names if name in state_dict), None)
        if saved is None:
            missing.append(names[0])
            continue
        value = nn.Parameter(saved.to(parameter.dtype), requires_grad=parameter.requires_grad)
        restored.update(dict.fromkeys(names, value))
    if missing:
        raise ValueError(
            f"the adapter was trained with train_base=True, but its checkpoint lacks {len(missing)} of the base's "
            f"weights, such as {missing[0].removeprefix(BASE_PREFIX)!r}; is the base of another architecture or size?"
        )
    return restored


def check_shapes(model: nn.Module, state_dict: dict[str, torch.Tensor], adapter_name: str) -> None:
    """Check that a checkpoint fits the model.

    Raises:
        ValueError: an entry has another shape than the model's; the message names it and both shapes.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters(remove_duplicate=False)}
    for name, tensor in state_dict.items():
        if name in shapes and shapes[name] != tensor.shape:
            raise ValueError(
                f"adapter {adapter_name!r} does not fit this base model: {name.removeprefix(BASE_PREFIX)!r} has shape "
                f"{tuple(tensor.shape)} in the checkpoint and {tuple(shapes[name])} here. Load it on the base it was "
                "trained on, of the same size and vocabulary"
            )
