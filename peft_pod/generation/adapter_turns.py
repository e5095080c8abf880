"""Turns of threads that use different adapters of one model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from peft import PeftModel
from torch import nn


class AdapterTurns:
    """Lets threads use a model together as long as they use the same adapter, and in turns where they do not.

    Whoever comes first is let in first, so that no adapter waits for ever. When the last one leaves, the model is as
    it was found: its adapter is active again, and what was trained before would be trained again. A model with one
    adapter never waits for anything.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0
        self._found: tuple[str, list[bool]] | None = None

    @contextmanager
    def turn(self, model: PeftModel, adapter: str) -> Iterator[None]:
        """Have an adapter active; waits for those who use another.

        Args:
            model: the model.
            adapter: the name of its adapter.

        Raises:
            ValueError: the model has no such adapter any more.
        """
        self._enter(model, adapter)
        try:
            yield
        finally:
            self._leave(model)

    def _enter(self, model: PeftModel, adapter: str) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (self._inside == 0 or model.active_adapter == adapter)
                )
                if model.active_adapter != adapter:
                    self._activate(model, adapter)
                self._inside += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _activate(self, model: PeftModel, adapter: str) -> None:
        if adapter not in model.peft_config:
            raise ValueError(f"the model has no adapter {adapter!r} any more; it has {list(model.peft_config)}")
        if self._found is None:
            self._found = model.active_adapter, [parameter.requires_grad for parameter in model.parameters()]
        model.set_adapter(adapter, inference_mode=True)

    def _leave(self, model: PeftModel) -> None:
        with self._changed:
            self._inside -= 1
            # Whoever waits switches by itself.
            if not self._inside and not self._waiting and self._found is not None:
                adapter, trained = self._found
                self._found = None
                if adapter in model.peft_config:
                    model.set_adapter(adapter)
                    for parameter, requires_grad in zip(model.parameters(), trained, strict=True):
                        parameter.requires_grad = requires_grad
            self._changed.notify_all()


_TURNS: WeakKeyDictionary[nn.Module, AdapterTurns] = WeakKeyDictionary()
_LOCK = threading.Lock()


def turns_of(model: nn.Module) -> AdapterTurns:
    """The turns of a model, the same for all who use it."""
    with _LOCK:
        return _TURNS.setdefault(model, AdapterTurns())


def chosen_adapter(model: PeftModel, adapter: str | None) -> str:
    """The name of the adapter to use.

    Args:
        model: a PEFT model.
        adapter: the name; may be left out where the model has one adapter.

    Raises:
        ValueError: there is no such adapter, or it is left out although there are several.
    """
    names = list(model.peft_config)
    if adapter is None and len(names) > 1:
        raise ValueError(f"adapter is missing: the model has {len(names)}, {names}; say which one to use")
    name = names[0] if adapter is None else adapter
    if name not in names:
        raise ValueError(f"adapter {name!r} is not among those of the model, {names}")
    return name
