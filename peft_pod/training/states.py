"""The state of an optimizer, a scheduler or the random generators as one safetensors file, without pickle."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

_STRUCTURE = "structure"


def save_state(path: str | os.PathLike[str], state: Any) -> None:
    """Write a state of nested dictionaries, lists, tuples, tensors, arrays and plain values.

    Tensors and arrays become the tensors of the file; all else is JSON in its metadata, which keeps every float and
    every whole number as it is.

    Args:
        path: where to.
        state: for example `optimizer.state_dict()`.

    Raises:
        ValueError: it holds an object of another kind; the message says where.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "state.safetensors")
        >>> save_state(path, {"state": {0: {"step": torch.tensor(3.0)}}, "lr": (0.1, None)})
        >>> load_state(path)
        {'state': {0: {'step': tensor(3.)}}, 'lr': (0.1, None)}
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_flattened(state, "", tensors))
    save_file(tensors, path, metadata={_STRUCTURE: structure})


def load_state(path: str | os.PathLike[str]) -> Any:
    """Read what `save_state` wrote; tensors are on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was not written by `save_state`.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if _STRUCTURE not in metadata:
            raise ValueError(
                f"{path} holds tensors, but not the state of an optimizer, a scheduler or random generators"
            )
        return _nested(json.loads(metadata[_STRUCTURE]), file)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of all random generators that training draws from.

    Args:
        device: where the model is.
    """
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.random.get_rng_state(),
    }
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Make the random generators go on from a state that `random_state` returned.

    Args:
        state: that of a run on another kind of device leaves the generator of this one as it is.
        device: where the model is.
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.random.set_rng_state(state["torch"])
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type])


def _flattened(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray):
        name = str(len(tensors))
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach().cpu().contiguous()
            return {"tensor": name}
        tensors[name] = torch.from_numpy(value.copy())
        return {"array": name}
    if isinstance(value, dict):
        # A list of pairs, because the keys of an optimizer's state are whole numbers, which JSON would make strings.
        return {"dict": [[key, _flattened(item, f"{place}[{key!r}]", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_flattened(item, f"{place}[{index}]", tensors) for index, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a {type(value).__name__} at {place or 'the top'} of a state cannot be saved without pickle")


def _nested(value: Any, file: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return file.get_tensor(content)
    if kind == "array":
        return file.get_tensor(content).numpy()
    if kind == "dict":
        return {key: _nested(item, file) for key, item in content}
    items = [_nested(item, file) for item in content]
    return tuple(items) if kind == "tuple" else items
