"""What POD learns besides the base: continuous prompts and whole-word embeddings, one set per adapter."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .config import PromptDistillationConfig
from .initialisation import initial_prompts

_HALF = (torch.float16, torch.bfloat16)


class PromptLayer(nn.Module, BaseTunerLayer):
    """Continuous prompts of each task and whole-word embeddings.

    It stands beside the base model, not inside it: the base's modules stay as they are.

    Attributes:
        pod_prompts: by adapter and task (`PODConfig.task_keys`), shape `(num_virtual_tokens, hidden)` each: a task that
            is not trained is a parameter of its own, which neither gradients nor weight decay reach. An adapter without
            prompts (`num_virtual_tokens=0`) has no entries, rather than empty ones.
        pod_whole_words: by adapter, shape `(max_whole_words, hidden)`; only adapters with whole-word embeddings.

    Example:
        >>> import torch
        >>> from peft_pod import PODConfig
        >>> layer = PromptLayer()
        >>> layer.add_adapter("default", PODConfig(num_tasks=2, num_virtual_tokens=3), torch.zeros(5, 4))
        >>> layer.set_adapter("default")
        >>> layer.prompt(torch.tensor([1, 0, 1])).shape
        torch.Size([3, 3, 4])
    """

    adapter_layer_names = ("pod_prompts", "pod_whole_words")

    def __init__(self) -> None:
        super().__init__()
        self.pod_prompts = nn.ModuleDict()
        self.pod_whole_words = nn.ParameterDict()
        self.merged_adapters: list[str] = []

    @property
    def weight(self) -> torch.Tensor:
        """The first vectors of the active adapter: PEFT reads device and type of a layer from `weight`."""
        vectors = [parameters[key] for parameters, key in self._vectors(self._active_name())]
        return vectors[0] if vectors else torch.empty(0)

    def add_adapter(self, adapter_name: str, config: PromptDistillationConfig, embeddings: torch.Tensor) -> None:
        """Make the vectors of a new adapter.

        Args:
            adapter_name: name of the adapter.
            config: its configuration.
            embeddings: the base's token embeddings as its encoder sees them, shape `(vocabulary, hidden)`: they give
                the width, type and device, and the start for `prompt_init="vocabulary"` and `"text"`.

        Raises:
            ValueError: see `initial_prompts`.
        """
        prompts = initial_prompts(config, embeddings)
        self.pod_prompts[adapter_name] = nn.ParameterDict()
        if config.num_virtual_tokens:
            for key, values in zip(config.task_keys, prompts, strict=True):
                self.add_task(adapter_name, key, values)
        if config.whole_word_embedding:
            # Zeros leave the base's view of its own tokens as it was until training finds a use for the vectors.
            zeros = torch.zeros(config.max_whole_words, embeddings.shape[-1], dtype=embeddings.dtype)
            self.pod_whole_words[adapter_name] = nn.Parameter(zeros.to(embeddings.device))

    def add_task(self, adapter_name: str, key: str, values: torch.Tensor, requires_grad: bool = True) -> None:
        """Give an adapter the prompts of one more task, shape `(num_virtual_tokens, hidden)`; they are copied."""
        self.task_prompts(adapter_name)[key] = nn.Parameter(values.detach().clone(), requires_grad=requires_grad)

    def task_prompts(self, adapter_name: str) -> nn.ParameterDict:
        """The prompts of an adapter by task, in the order of the tasks."""
        return cast(nn.ParameterDict, self.pod_prompts[adapter_name])

    def prompt_table(self, adapter_name: str) -> torch.Tensor:
        """The prompts of all tasks of an adapter, shape `(num_tasks, num_virtual_tokens, hidden)`.

        Raises:
            ValueError: the adapter has no prompts.
        """
        prompts = list(self.task_prompts(adapter_name).values())
        if not prompts:
            raise ValueError(f"adapter {adapter_name!r} has no prompts: its num_virtual_tokens is 0")
        return torch.stack(prompts)

    def prompt(self, task_ids: torch.Tensor) -> torch.Tensor:
        """Prompts of the active adapter for each row's task: `(batch,)` to `(batch, num_virtual_tokens, hidden)`."""
        table = self.prompt_table(self._active_name())
        # Indexing takes negative numbers, and compiled code does not check them before.
        return nn.functional.embedding(task_ids, table.flatten(1)).unflatten(1, table.shape[1:])

    def whole_words(self, whole_word_ids: torch.Tensor) -> torch.Tensor:
        """Whole-word embeddings of the active adapter: `(batch, length)` to `(batch, length, hidden)`.

        Tokens that belong to no ID have the whole-word ID 0 and get a zero vector; the n-th ID has n.
        """
        table = self.pod_whole_words[self._active_name()]
        return nn.functional.embedding(whole_word_ids, nn.functional.pad(table, (0, 0, 1, 0)))

    def has_whole_words(self) -> bool:
        """Whether the active adapter has whole-word embeddings."""
        return self._active_name() in self.pod_whole_words

    def _active_name(self) -> str:
        active = self.active_adapters
        if len(active) != 1:
            raise ValueError(f"POD needs exactly one active adapter, but these are active: {list(active)}")
        return active[0]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # There is no base layer here whose device could be taken; PODModel moves the vectors, because it knows where
        # the base's embeddings are.
        if device is not None:
            self.move_adapter(adapter_name, device)

    def move_adapter(self, adapter_name: str, device: torch.device) -> None:
        """Move the vectors of one adapter, unless they have no values yet (meta device)."""
        if device.type == "meta":
            return
        for parameters, key in self._vectors(adapter_name):
            vectors = parameters[key]
            if vectors.device not in (device, torch.device("meta")):
                parameters[key] = nn.Parameter(vectors.detach().to(device), requires_grad=vectors.requires_grad)

    def cast_adapter(self, adapter_name: str, dtype: torch.dtype | None) -> None:
        """Hold the vectors of one adapter in a type; `None` for float32 in the place of half precision.

        Training needs float32; the base's type does not matter.
        """
        for parameters, key in self._vectors(adapter_name):
            vectors = parameters[key]
            wanted = torch.float32 if dtype is None and vectors.dtype in _HALF else dtype or vectors.dtype
            if vectors.dtype != wanted:
                parameters[key] = nn.Parameter(vectors.detach().to(wanted), requires_grad=vectors.requires_grad)

    def _vectors(self, adapter_name: str) -> list[tuple[nn.ParameterDict, str]]:
        prompts = self.task_prompts(adapter_name)
        places = [(prompts, key) for key in prompts]
        if adapter_name in self.pod_whole_words:
            places.append((self.pod_whole_words, adapter_name))
        return places

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Note which adapters are merged. Prompts are input, not weights, so they stay in use beside merged LoRA."""
        names = self.active_adapters if adapter_names is None else adapter_names
        self.merged_adapters.extend(name for name in names if name not in self.merged_adapters)

    def unmerge(self) -> None:
        """See `merge`."""
        self.merged_adapters.clear()

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Not used: `PODModel` asks for prompts and whole-word embeddings by name."""
        raise TypeError("PromptLayer is not called; use its methods `prompt` and `whole_words`")
