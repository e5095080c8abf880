"""What POD learns besides the base: continuous prompts and whole-word embeddings, one set per adapter."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .config import PromptDistillationConfig


class PromptLayer(nn.Module, BaseTunerLayer):
    """Continuous prompts of each task and whole-word embeddings.

    It stands beside the base model, not inside it: the base's modules stay as they are.

    Attributes:
        pod_prompts: by adapter, shape `(num_tasks, num_virtual_tokens, hidden)`.
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
        self.pod_prompts = nn.ParameterDict()
        self.pod_whole_words = nn.ParameterDict()

    @property
    def weight(self) -> torch.Tensor:
        """The active adapter's prompts: PEFT reads device and type of a layer from `weight`."""
        return self.pod_prompts[self._active_name()]

    def add_adapter(self, adapter_name: str, config: PromptDistillationConfig, embeddings: torch.Tensor) -> None:
        """Make the vectors of a new adapter.

        Args:
            adapter_name: name of the adapter.
            config: its configuration.
            embeddings: the base's token embeddings as its encoder sees them, shape `(vocabulary, hidden)`: they give
                the width, type and device, and the start for `prompt_init="vocabulary"`.
        """
        hidden = embeddings.shape[-1]
        prompts = torch.empty(cast(int, config.num_tasks), config.num_virtual_tokens, hidden, dtype=embeddings.dtype)
        self.pod_prompts[adapter_name] = nn.Parameter(_initialise(prompts, config, embeddings).to(embeddings.device))
        if config.whole_word_embedding:
            # Zeros leave the base's view of its own tokens as it was until training finds a use for the vectors.
            zeros = torch.zeros(config.max_whole_words, hidden, dtype=embeddings.dtype, device=embeddings.device)
            self.pod_whole_words[adapter_name] = nn.Parameter(zeros)

    def prompt(self, task_ids: torch.Tensor) -> torch.Tensor:
        """Prompts of the active adapter for each row's task: `(batch,)` to `(batch, num_virtual_tokens, hidden)`."""
        return self.pod_prompts[self._active_name()][task_ids]

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
        for parameters in (self.pod_prompts, self.pod_whole_words):
            if adapter_name in parameters and parameters[adapter_name].device not in (device, torch.device("meta")):
                parameters[adapter_name] = nn.Parameter(
                    parameters[adapter_name].detach().to(device), requires_grad=parameters[adapter_name].requires_grad
                )

    def upcast_adapter(self, adapter_name: str) -> None:
        """Hold the vectors of one adapter in float32, which training them needs; the base's type does not matter."""
        for parameters in (self.pod_prompts, self.pod_whole_words):
            if adapter_name in parameters and parameters[adapter_name].dtype in (torch.float16, torch.bfloat16):
                parameters[adapter_name] = nn.Parameter(
                    parameters[adapter_name].detach().float(), requires_grad=parameters[adapter_name].requires_grad
                )

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Prompts are input, not weights: there is nothing to merge them into, and they stay in use."""

    def unmerge(self) -> None:
        """See `merge`."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Not used: `PODModel` asks for prompts and whole-word embeddings by name."""
        raise TypeError("PromptLayer is not called; use its methods `prompt` and `whole_words`")


def _initialise(prompts: torch.Tensor, config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    if prompts.device.type == "meta" or embeddings.device.type == "meta":
        return prompts  # values come from a checkpoint
    generator = torch.Generator().manual_seed(config.init_seed)
    if config.prompt_init == "uniform":
        values = torch.rand(prompts.shape, generator=generator) * 2 - 1
        return (values * config.prompt_init_range).to(prompts.dtype)
    rows = torch.randint(embeddings.shape[0], prompts.shape[:2], generator=generator)
    return embeddings.detach().to("cpu")[rows].to(prompts.dtype)
