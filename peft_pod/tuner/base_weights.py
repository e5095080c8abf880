"""The base's weights inside an adapter checkpoint (`train_base=True`), and whether a checkpoint fits a base."""

from __future__ import annotations

import torch
from torch import nn

from .config import PromptDistillationConfig
from .initialisation import PROMPTS_PREFIX

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


def restore_ties(model: nn.Module, state_dict: dict[str, torch.Tensor], *, complete: bool) -> dict[str, torch.Tensor]:
    """Give every name of a tied weight the same parameter, so that tied weights stay tied however they are loaded.

    PEFT loads either by copying values or, with `low_cpu_mem_usage=True`, by putting the checkpoint's tensors in the
    place of the model's parameters; the second would untie weights of which the checkpoint holds one name only. The
    base's type is kept.

    Args:
        model: the PEFT model to be loaded into.
        state_dict: the checkpoint, with the model's names.
        complete: whether it has to hold all of the base's weights, as with `train_base=True`; others hold none, or
            the embeddings where the vocabulary was changed.

    Raises:
        ValueError: the checkpoint lacks some of the base's weights that it has to hold.
    """
    if not complete and not any(name.startswith(BASE_PREFIX) for name in state_dict):
        return state_dict
    names_by_parameter: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name.startswith(BASE_PREFIX):
            names_by_parameter.setdefault(parameter, []).append(name)

    restored = dict(state_dict)
    missing = []
    for parameter, names in names_by_parameter.items():
        if len(names) == 1 and not complete:
            continue
        saved = next((state_dict[name] for name in names if name in state_dict), None)
        if saved is None:
            missing.append(names[0])
            continue
        value = nn.Parameter(saved.to(parameter.dtype), requires_grad=parameter.requires_grad)
        restored.update(dict.fromkeys(names, value))
    if missing and complete:
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


def check_tasks(config: PromptDistillationConfig, state_dict: dict[str, torch.Tensor], adapter_name: str) -> None:
    """Check that a checkpoint holds the prompts of the adapter's tasks and of no others.

    Raises:
        ValueError: it does not; the message names the tasks that differ.
    """
    prompts = [name.removeprefix(PROMPTS_PREFIX) for name in state_dict if name.startswith(PROMPTS_PREFIX)]
    keys = config.task_keys if config.num_virtual_tokens else []
    missing = [key for key in keys if f"{adapter_name}.{key}" not in prompts]
    # Prompts of tasks that the model lacks keep the names they have in the file, without the adapter's.
    foreign = [name for name in prompts if "." not in name]
    if missing or foreign:
        raise ValueError(
            f"the checkpoint's tasks are not those of adapter {adapter_name!r}: it lacks {missing} and has {foreign} "
            "besides. Load it as an adapter of its own, or add the task to both"
        )
