"""Adapters made from adapters: one task more, some tasks trained alone, several adapters put together."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Literal, cast

import torch
from accelerate.utils import align_module_device
from peft import LoraModel
from torch import nn

from .combination import check_combinable, combine
from .config import PromptDistillationConfig
from .embedding import embedding_module, embedding_table
from .initialisation import initial_prompts
from .layer import PromptLayer


class GrowingModel(LoraModel):
    """The part of `PODModel` that changes which tasks and adapters there are."""

    prompts: PromptLayer

    def add_task(self, name: str | None = None, init: str | int = "uniform", adapter_name: str | None = None) -> None:
        """Give an adapter one more task; nothing of its other tasks changes.

        The optimiser of a training in progress does not know the new prompts: make it after this call. See
        `set_train_tasks` for training nothing but the new task.

        Args:
            name: the new task's; leave it out where the adapter's tasks have no names.
            init: how its prompts start: `"uniform"` or `"vocabulary"`, as if the adapter had had the task from its
                beginning, or the name or number of an existing task whose prompts are copied. A task called "uniform"
                or "vocabulary" is copied by its number.
            adapter_name: which adapter; by default the active one.

        Raises:
            ValueError: there is such a task already, the adapter's tasks have names and this one none or the other way
                round, `init` is neither a start nor a task, or the adapter has no prompts.

        Example:
            >>> from transformers import T5Config, T5ForConditionalGeneration
            >>> from peft import get_peft_model
            >>> from peft_pod import PODConfig
            >>> base = T5ForConditionalGeneration(T5Config(
            ...     vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))
            >>> model = get_peft_model(base, PODConfig(tasks=["sequential", "topn"]))
            >>> model.base_model.add_task("rating", init="topn")
            >>> model.base_model.set_train_tasks(["rating"])
            >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
            ['base_model.prompts.pod_prompts.default.task_rating']
        """
        adapter = self._adapter_or_active(adapter_name)
        old = self.peft_config[adapter]
        if not old.num_virtual_tokens:
            raise ValueError(
                f"adapter {adapter!r} has num_virtual_tokens=0: a task is added by prompts of its own, and there are "
                "none. Train an adapter with prompts, or one without on all tasks at once"
            )
        prompts = self.prompts.task_prompts(adapter)
        grown = _with_task(old, name)
        if init in ("uniform", "vocabulary"):
            start = dataclasses.replace(_like_new(grown), prompt_init=cast(Any, init), train_tasks=None)
            values = initial_prompts(start, self._embedding_table())[-1]
        elif isinstance(init, bool) or not isinstance(init, (str, int)) or _is_unknown(init, old):
            tasks = old.tasks or f"0 to {len(prompts) - 1}"
            raise ValueError(f"init must be 'uniform', 'vocabulary' or one of the tasks {tasks}, got {init!r}")
        else:
            values = prompts[old.task_key(init)]
        like = next(iter(prompts.values()))
        trainable = old.train_tasks is None and like.requires_grad
        self.prompts.add_task(adapter, grown.task_keys[-1], values.to(like), requires_grad=trainable)
        self.peft_config[adapter] = grown

    def set_train_tasks(self, tasks: list[str] | list[int] | None, adapter_name: str | None = None) -> None:
        """Train the prompts of these tasks and nothing else, or again all that the adapter has.

        Other tasks' prompts, whole-word embeddings, LoRA, `modules_to_save` and, with `train_base`, the base get
        `requires_grad=False`: neither gradients nor weight decay reach them, and the other tasks' answers stay the same
        to the bit. Make the optimiser after this call. An adapter that is not active stays frozen until `set_adapter`.

        Args:
            tasks: names, or numbers where the tasks have none; `None` for all that the adapter has.
            adapter_name: which adapter; by default the active one.

        Raises:
            ValueError: there is no such task, no task is given, or the adapter has no prompts.
        """
        adapter = self._adapter_or_active(adapter_name)
        config = copy.copy(self.peft_config[adapter])
        config.train_tasks = tasks
        config.check_train_tasks()
        self.peft_config[adapter] = config
        trainable = any(parameter.requires_grad for parameter in self.prompts.task_prompts(adapter).values())
        if trainable or adapter in self.active_adapters:
            self.set_requires_grad(adapter)

    # Accelerate keeps offloaded weights elsewhere, and a meta tensor in their place.

    def _embedding_table(self) -> torch.Tensor:
        with align_module_device(embedding_module(self.model)):
            return embedding_table(self.model)

    def _embedding_device(self) -> torch.device:
        embedding = embedding_module(self.model)
        with align_module_device(embedding):
            # Not from its `weight`, which PEFT's trainable tokens compute, of what may have no values yet.
            devices = (parameter.device for parameter in embedding.parameters())
            return next((device for device in devices if device.type != "meta"), torch.device("meta"))

    def _adapter_or_active(self, adapter_name: str | None) -> str:
        if adapter_name is None:
            self._active_config()
            return self.active_adapters[0]
        if adapter_name not in self.peft_config:
            raise ValueError(f"there is no adapter {adapter_name!r}; this model has {list(self.peft_config)}")
        return adapter_name

    def add_weighted_adapter(  # type: ignore[override]  # prompts have fewer ways to be combined
        self,
        adapters: list[str],
        weights: list[float],
        adapter_name: str,
        combination_type: Literal["linear", "cat"] = "linear",
    ) -> None:
        """Make a new adapter out of others of the same tasks; it is not made the active one.

        Args:
            adapters: names of the adapters to put together.
            weights: a weight for each.
            adapter_name: the new adapter's name.
            combination_type: `"linear"` for the weighted sum of prompts, whole-word embeddings and LoRA; `"cat"` for
                weighted prompts side by side, so that `num_virtual_tokens` adds up, and the weighted sum of whole-word
                embeddings. LoRA is combined as `LoraModel.add_weighted_adapter` does it.

        The new adapter has no `train_tasks`, whatever theirs are: it trains all that it has once it is made active.

        Raises:
            ValueError: the name is taken, or the adapters do not fit together; the message says in what they differ.
                The model then has the adapters it had before.
        """
        if not isinstance(adapter_name, str) or not adapter_name:
            raise ValueError(f"adapter_name must be a name, got {adapter_name!r}")
        if adapter_name in self.peft_config:
            raise ValueError(f"there is already an adapter {adapter_name!r}: delete it first, or choose another name")
        check_combinable(self.peft_config, adapters, weights, combination_type)
        self._check_base_is_not_shared(adapter_name)
        prompts, whole_words = combine(self.prompts, adapters, weights, combination_type)
        try:
            self._inject_weighted_adapter(adapters, weights, adapter_name, combination_type)
        except Exception:
            if adapter_name in self.peft_config:
                self.delete_adapter(adapter_name)  # LoRA may be there in part
            raise
        config = self.peft_config[adapter_name]
        config.train_tasks = None
        config.num_virtual_tokens = len(next(iter(prompts.values()), ()))
        for key, values in prompts.items():
            self.prompts.add_task(adapter_name, key, values, requires_grad=False)
        if whole_words is not None:
            self.prompts.pod_whole_words[adapter_name] = nn.Parameter(whole_words.detach(), requires_grad=False)

    def _inject_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, combination_type: Literal["linear", "cat"]
    ) -> None:
        first = self.peft_config[adapters[0]]
        if not first.uses_lora:
            self.peft_config[adapter_name] = _like_new(first)
            self.inject_adapter(self.model, adapter_name)
            return
        self.peft_config[adapters[0]] = _like_new(first)  # PEFT makes the new configuration from it
        try:
            super().add_weighted_adapter(adapters, weights, adapter_name, combination_type)
        finally:
            self.peft_config[adapters[0]] = first


def _is_unknown(task: str | int, config: PromptDistillationConfig) -> bool:
    return isinstance(task, str) and task not in (config.tasks or [])


def _like_new(config: PromptDistillationConfig) -> PromptDistillationConfig:
    # How a trained adapter's prompts started has no bearing on what is made from it.
    return dataclasses.replace(
        config,
        prompt_init="uniform",
        prompt_init_text=None,
        prompt_init_token_ids=None,
        prompt_init_adapter=None,
        prompt_init_tasks=None,
    )


def _with_task(config: PromptDistillationConfig, name: str | None) -> PromptDistillationConfig:
    if (name is None) != (config.tasks is None):
        have = "no names" if config.tasks is None else f"the names {config.tasks}"
        raise ValueError(f"the adapter's tasks have {have}, so the new task cannot have the name {name!r}")
    grown = copy.copy(config) if config.prompt_init in ("uniform", "vocabulary") else _like_new(config)
    grown.num_tasks = cast(int, config.num_tasks) + 1
    grown.tasks = None if name is None else [*cast(list[str], config.tasks), name]
    grown.check_tasks()
    return grown
