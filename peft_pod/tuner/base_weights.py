"""The base's weights inside an adapter checkpoint (`train_base=True`), and whether a checkpoint fits a base."""

from __future__ import annotations

import re
from typing import cast

import torch
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from torch import nn
from transformers import PreTrainedModel

from .config import PromptDistillationConfig
from .initialisation import PROMPTS_PREFIX

BASE_PREFIX = "base_model.model."

_OF_AN_ADAPTER = re.compile(r"\.(lora_|modules_to_save\.|trainable_tokens)")

_UNDER_ANOTHER_NAME = (
    "if there was an adapter of that name already, its configuration may be another: load the checkpoint under a name "
    "of its own"
)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """What `train_base=True` trains of a base: every weight of it but tables of sines and what is no real number.

    Args:
        model: the base.
    """
    computed = {
        id(parameter)
        for module in model.modules()
        if "Sinusoidal" in type(module).__name__
        for parameter in module.parameters()
    }
    return [
        parameter for parameter in model.parameters() if parameter.is_floating_point() and id(parameter) not in computed
    ]


def last_names(model: nn.Module) -> set[str]:
    """Names of the base's parameters and of the modules that hold them, without where these are.

    Args:
        model: the base.
    """
    return {piece for name, _ in model.named_parameters(remove_duplicate=False) for piece in name.split(".")[-2:]}


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
                f"trained on, of the same size and vocabulary; {_UNDER_ANOTHER_NAME}"
            )


def check_parts(
    model: nn.Module, config: PromptDistillationConfig, state_dict: dict[str, torch.Tensor], adapter_name: str
) -> None:
    """Check that a checkpoint holds what the adapter consists of: no part more, which would be lost, and none less.

    Args:
        model: the PEFT model to be loaded into.
        config: the adapter's configuration there; PEFT keeps it where an adapter of the name is there already.
        state_dict: the checkpoint, with the model's names.
        adapter_name: name of the adapter.

    Raises:
        ValueError: whole-word embeddings, LoRA layers or the base's weights are on one side alone; the message says
            what, and names a weight.
    """
    names = [name.replace("_fsdp_wrapped_module.", "") for name, _ in model.named_parameters(remove_duplicate=False)]
    for part, mark in (("whole-word embeddings", "pod_whole_words"), ("LoRA", "lora_")):
        here = {name for name in names if re.search(rf"\.{mark}\w*\.{re.escape(adapter_name)}(\.|$)", name)}
        saved = {name for name in state_dict if f".{mark}" in name}
        missing, foreign = sorted(here - saved), sorted(saved - here)
        if missing or foreign:
            raise ValueError(
                f"the checkpoint's {part} is not that of adapter {adapter_name!r}: it lacks {len(missing)} weights "
                f"{missing[:1]} and has {len(foreign)} {foreign[:1]} besides; {_UNDER_ANOTHER_NAME}"
            )
    if not config.train_base:
        foreign = sorted(_foreign_to_the_base(model, state_dict, biases=config.bias != "none"))
        if foreign:
            raise ValueError(
                f"the checkpoint was trained with train_base=True or bias and holds weights of the base, such as "
                f"{foreign[0].removeprefix(BASE_PREFIX)!r}; adapter {adapter_name!r} has train_base=False and "
                f"bias={config.bias!r}, and other adapters share the base. Load it on a base of its own by "
                "PeftModel.from_pretrained"
            )


def embeddings(model: nn.Module) -> dict[str, nn.Parameter]:
    """The base's input and output embeddings by name, which PEFT saves with any adapter where it finds them changed.

    Args:
        model: a PEFT model.
    """
    base = cast(PreTrainedModel, model)
    modules = (base.get_input_embeddings(), base.get_output_embeddings())
    own = {id(parameter) for module in modules if module is not None for parameter in module.parameters()}
    return {
        name: parameter
        for name, parameter in _plain_parameters(model).items()
        if id(parameter) in own or {*name.split(".")} & {*EMBEDDING_LAYER_NAMES}
    }


def _plain_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The base's own parameters by all of their names, those of adapters inside it left out."""
    return {
        name: parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name.startswith(BASE_PREFIX) and not _OF_AN_ADAPTER.search(name)
    }


def _foreign_to_the_base(model: nn.Module, state_dict: dict[str, torch.Tensor], *, biases: bool) -> list[str]:
    """Entries that would change the base: its weights but for embeddings, and biases where the adapter trains them."""
    allowed = embeddings(model)
    return [
        name
        for name in _plain_parameters(model)
        if name in state_dict and name not in allowed and not (biases and name.endswith(".bias"))
    ]


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
