"""Models whose weights are dealt out to processes: FSDP2 and DeepSpeed's ZeRO-3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast, broadcast_object_list
from torch import nn


def shards_weights(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of each weight once training has begun."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return bool(accelerator.state.deepspeed_plugin.zero_stage == 3)
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def check_sharding(accelerator: Accelerator) -> None:
    """Check that the kind of sharding is one that works here.

    Raises:
        ValueError: it is the first version of FSDP, or checkpoints would be written in shards.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        return
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"fsdp_version is {plugin.fsdp_version}: training, checkpoints and the saved model are made for version 2, "
            "which keeps each weight by itself; set fsdp_version: 2"
        )
    if "FULL" not in str(plugin.state_dict_type):
        # Checkpoints would lack the adapter's own files, by which people and a run that has ended load them.
        raise ValueError(
            f"fsdp_state_dict_type is {getattr(plugin.state_dict_type, 'name', plugin.state_dict_type)}: checkpoints "
            "of adapters are written whole; set fsdp_state_dict_type: FULL_STATE_DICT"
        )


@contextmanager
def embeddings_in_one_unit(model: nn.Module) -> Iterator[None]:
    """While Accelerate shards a model by FSDP2, let all its embeddings be part of the outermost unit.

    Accelerate gives the input and the output embeddings a unit of their own. An encoder-decoder has the same matrix in
    its encoder and its decoder besides, which would fall to another unit, and PyTorch refuses a parameter in two units.
    Nor could all of them be a unit: it ends its work once each of its modules was called, and T5 never calls `shared`.

    Args:
        model: the PEFT model; Accelerate asks it for its embeddings, and is told that it has none.
    """

    def none() -> None:
        return None

    names = ("get_input_embeddings", "get_output_embeddings")
    for name in names:
        setattr(model, name, none)
    try:
        yield
    finally:
        for name in names:
            delattr(model, name)


def gather_weights(accelerator: Accelerator, sharded: nn.Module, whole: nn.Module) -> None:
    """Copy the weights of a sharded model into one that each process has whole; all processes must call it.

    Args:
        accelerator: that has prepared the sharded model.
        sharded: as the accelerator gave it back.
        whole: a copy made before the other was sharded.

    Raises:
        RuntimeError: weights are missing from what the accelerator gathered.
    """
    gathered = accelerator.get_state_dict(sharded)  # on the first process alone
    names: list[str] = broadcast_object_list([sorted(gathered)])[0]
    places = whole.state_dict()
    filled = set()
    for name in names:
        place = places[name]
        value = gathered[name].to(place.dtype) if accelerator.is_main_process else torch.empty_like(place)
        place.copy_(broadcast(value.to(accelerator.device).contiguous()))
        filled.add(place.data_ptr())
    # A tied weight has several names, and may be gathered by one of them.
    missing = [name for name, place in places.items() if place.data_ptr() not in filled]
    if missing:
        raise RuntimeError(f"{len(missing)} weights were not gathered, such as {missing[0]!r}")
