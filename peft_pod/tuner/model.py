"""POD as a PEFT tuner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn

from . import base_weights
from .architectures import check_text_encoder, complete_call
from .config import TASK_PREFIX, PromptDistillationConfig
from .growing import GrowingModel
from .inputs import TaskId, assemble_inputs, extend_mask_to_encoder
from .layer import PromptLayer


class PODModel(GrowingModel):
    """A seq2seq model with continuous prompts per task, whole-word embeddings, and optionally LoRA.

    The prompts stand beside the base model, which is never modified (but for LoRA layers where they are asked for):
    `forward` and `generate` embed the input, put the task's prompts in front and call the base.

    Args:
        model: an encoder-decoder of transformers.
        config: the adapter's configuration, or a dictionary of it by adapter name.
        adapter_name: name of the adapter.
        low_cpu_mem_usage: make the adapter's weights without values, to be filled from a checkpoint.
        state_dict: only the names are used: which modules get LoRA.

    Raises:
        ValueError: the base is not an encoder-decoder, or already holds layers of another adapter.

    Example:
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> from peft import get_peft_model
        >>> from peft_pod import PODConfig
        >>> base = T5ForConditionalGeneration(T5Config(
        ...     vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))
        >>> model = get_peft_model(base, PODConfig(tasks=["sequential", "topn"], whole_word_embedding=False))
        >>> import torch
        >>> tokens = torch.tensor([[5, 6, 7, 1]])
        >>> model(input_ids=tokens, labels=tokens, task_id="topn").logits.shape
        torch.Size([1, 4, 20])
    """

    prefix: str = "pod_"
    # Prompts live on the tuner and not in the base, so the base alone (PEFT's direct injection) would lack them.
    uses_shared_state = True

    def __init__(
        self,
        model: nn.Module,
        config: PromptDistillationConfig | dict[str, PromptDistillationConfig],
        adapter_name: str,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, torch.Tensor] | None = None,
    ) -> None:
        _check_base(model)
        super().__init__(model, config, adapter_name, low_cpu_mem_usage=low_cpu_mem_usage, state_dict=state_dict)

    # Making adapters

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Make the prompts of an adapter, and its LoRA layers where its configuration asks for them."""
        config = self.peft_config[adapter_name]
        _check_adapter_name(adapter_name, model if config.train_base else None)
        is_first = "prompts" not in self._modules
        if is_first:
            self.prompts = PromptLayer()
        parameters = [*self._base_parameters(), *self.prompts.parameters()]
        trainable_before = [(parameter, parameter.requires_grad) for parameter in parameters]
        try:
            self._check_base_is_not_shared(adapter_name)
            self._check_tokens_are_alike(adapter_name)
            embeddings = self._embedding_table()
            if low_cpu_mem_usage:
                embeddings = embeddings.to("meta")
            self.prompts.add_adapter(adapter_name, config, embeddings)
            super().inject_adapter(
                model,
                adapter_name,
                autocast_adapter_dtype=autocast_adapter_dtype,
                low_cpu_mem_usage=low_cpu_mem_usage,
                state_dict=state_dict,
            )
        except Exception:
            if adapter_name in self.prompts.pod_prompts:
                self.prompts.delete_adapter(adapter_name)
            raise
        if not is_first:
            for parameter, requires_grad in trainable_before:
                parameter.requires_grad = requires_grad
        elif config.train_base:
            self._set_base_requires_grad(not config.inference_mode)
        if is_first and not config.inference_mode:
            _check_something_is_trained([*self._base_parameters(), *self.prompts.parameters()], config)
        self._freeze_all_but_train_tasks()

    def _prepare_adapter_config(
        self, peft_config: PromptDistillationConfig, model_config: dict[str, Any]
    ) -> PromptDistillationConfig:
        if not peft_config.uses_lora:
            peft_config.target_modules = DUMMY_TARGET_MODULES
        return cast(PromptDistillationConfig, super()._prepare_adapter_config(peft_config, model_config))

    def _check_base_is_not_shared(self, adapter_name: str) -> None:
        if len({*self.peft_config, adapter_name}) == 1:
            return
        for name, config in self.peft_config.items():
            changed = "train_base=True" if config.train_base else f"bias={config.bias!r}"
            if config.train_base or config.bias != "none":
                raise ValueError(
                    f"adapter {name!r} has {changed}: it changes the base's weights, which other adapters would share, "
                    f"so {adapter_name!r} cannot be beside it. Use a model of its own for each"
                )

    def _check_tokens_are_alike(self, adapter_name: str) -> None:
        config = self.peft_config[adapter_name]
        for name, other in self.peft_config.items():
            if (other.trainable_token_indices is None) != (config.trainable_token_indices is None):
                raise ValueError(
                    f"trainable_token_indices is {config.trainable_token_indices} for adapter {adapter_name!r} and "
                    f"{other.trainable_token_indices} for {name!r}: PEFT could save neither of them. Give them to "
                    "both, or use a model of its own for each"
                )

    # Running

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        *,
        task_id: TaskId | None = None,
        whole_word_ids: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run the base on the input with the task's prompts in front.

        Args:
            input_ids: tokens, shape `(batch, length)`; or give `inputs_embeds`.
            attention_mask: shape `(batch, length)`; without it the base's padding token is not attended.
            inputs_embeds: tokens embedded by the caller, shape `(batch, length, hidden)`.
            task_id: the task of each row: a LongTensor of shape `(batch,)`, or one task for all rows as a number or a
                name. May be left out where the adapter has one task, or no prompts.
            whole_word_ids: n for the tokens of the n-th ID in the row, 0 for others, shape `(batch, length)`; needed
                where the adapter has whole-word embeddings.
            encoder_outputs: what the encoder made of the input, prompts included; the input is then not looked at.
            **kwargs: passed on to the base, such as `labels`.

        Returns:
            What the base returns.

        Raises:
            ValueError: see `peft_pod.tuner.inputs.assemble_inputs`.
        """
        inputs = self.encoder_inputs(input_ids, attention_mask, inputs_embeds, task_id, whole_word_ids, encoder_outputs)
        return self.model(**self._complete_call({**inputs, **kwargs}, generating=False))

    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        *,
        task_id: TaskId | None = None,
        whole_word_ids: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Generate by the base from the input with the task's prompts in front; arguments as for `forward`.

        `inputs`, as transformers calls them, are taken as `input_ids`.
        """
        if input_ids is None:
            input_ids = kwargs.pop("inputs", None)
        inputs = self.encoder_inputs(input_ids, attention_mask, inputs_embeds, task_id, whole_word_ids, encoder_outputs)
        return self.model.generate(**self._complete_call({**inputs, **kwargs}, generating=True))

    def encoder_inputs(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        task_id: TaskId | None = None,
        whole_word_ids: torch.Tensor | None = None,
        encoder_outputs: Any = None,
    ) -> dict[str, Any]:
        """What the base's encoder is given for an input; arguments as for `forward`.

        Returns:
            `inputs_embeds` with the task's prompts in front, and `attention_mask`; where `encoder_outputs` are given,
            these and the mask; where adapters are disabled, what was given.

        Raises:
            ValueError: see `peft_pod.tuner.inputs.assemble_inputs`.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "inputs_embeds": inputs_embeds,
            "encoder_outputs": encoder_outputs,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if self.prompts.disable_adapters or not self.active_adapters:
            return given
        config = self._active_config()
        if encoder_outputs is not None:
            if attention_mask is not None:
                given["attention_mask"] = extend_mask_to_encoder(
                    attention_mask, encoder_outputs, config.num_virtual_tokens
                )
            return given
        assembled: dict[str, Any] = assemble_inputs(
            self.model,
            self.prompts,
            config,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            task_id=task_id,
            whole_word_ids=whole_word_ids,
        )
        return assembled

    def _complete_call(self, call: dict[str, Any], *, generating: bool) -> dict[str, Any]:
        if self.prompts.disable_adapters or not self.active_adapters:
            return call
        return complete_call(self.model, call, self._active_config().num_virtual_tokens, generating=generating)

    def _active_config(self) -> PromptDistillationConfig:
        if len(self.active_adapters) != 1:
            raise ValueError(f"POD needs exactly one active adapter, but these are active: {self.active_adapters}")
        return cast(PromptDistillationConfig, self.peft_config[self.active_adapters[0]])

    # Switching adapters. PEFT's helpers walk `self.model`, where the prompts are not.

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Make an adapter the active one; see PEFT's `set_adapter`."""
        super().set_adapter(adapter_name, inference_mode=inference_mode)
        self.prompts.unmerge()
        self.prompts.set_adapter(adapter_name, inference_mode=inference_mode)
        self._freeze_all_but_train_tasks()

    def set_requires_grad(self, adapter_names: str | Sequence[str], requires_grad: bool = True) -> None:
        """Let the given adapters be trained or not; with `train_base` this is true of the base too."""
        super().set_requires_grad(adapter_names, requires_grad=requires_grad)
        self.prompts.set_requires_grad(adapter_names, requires_grad=requires_grad)
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        if any(self.peft_config[name].train_base for name in names):
            self._set_base_requires_grad(requires_grad)
        if requires_grad:
            self._freeze_all_but_train_tasks(names)

    def _set_base_requires_grad(self, requires_grad: bool) -> None:
        # Whether the base came frozen says nothing: whoever unloads an adapter, PEFT's included, leaves it so.
        for parameter in base_weights.trainable(self.model):
            parameter.requires_grad = requires_grad

    def _freeze_all_but_train_tasks(self, adapter_names: Sequence[str] | None = None) -> None:
        for name in self.active_adapters if adapter_names is None else adapter_names:
            config = self.peft_config[name]
            if config.train_tasks is None:
                continue
            prompts = self.prompts.task_prompts(name)
            trained = [prompts[config.task_key(task)] for task in config.train_tasks]
            before = [parameter.requires_grad for parameter in trained]
            self.set_requires_grad(name, False)
            for parameter, requires_grad in zip(trained, before, strict=True):
                parameter.requires_grad = requires_grad

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter; see PEFT's `delete_adapter`."""
        was_active = adapter_name in self.active_adapters
        super().delete_adapter(adapter_name)
        self.prompts.delete_adapter(adapter_name)
        self.active_adapter = self.prompts.active_adapters
        if was_active and self.active_adapter:
            # Left alone, LoRA layers choose among the adapters with LoRA, and the prompts among all.
            self.set_adapter(self.active_adapter)

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        if not enabled and self.prompts.merged:
            self.unmerge_adapter()  # as LoRA layers do, but they only when they are called
        super()._enable_adapter_layers(enabled)
        self.prompts.enable_adapters(enabled)
        self._freeze_all_but_train_tasks()

    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("adapter_names") is not None:
            # PEFT would mix the rows' LoRA and leave all of them the active adapter's prompts.
            raise ValueError(
                "adapter_names is not supported by POD: a batch has one adapter, whose tasks it may mix by task_id. "
                "Run the rows of each adapter by themselves"
            )
        return super()._enable_peft_forward_hooks(*args, **kwargs)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype=autocast_adapter_dtype)
        self.prompts.move_adapter(adapter_name, self._embedding_device())
        self.prompts.cast_adapter(adapter_name, None if autocast_adapter_dtype else self._embedding_table().dtype)

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        """Fold LoRA into the base; prompts and whole-word embeddings stay in use. See PEFT's `merge_adapter`."""
        super().merge_adapter(adapter_names=adapter_names, safe_merge=safe_merge)
        chosen = self.active_adapters if adapter_names is None else adapter_names
        merged = [name for name in chosen if name in self.peft_config and self.peft_config[name].uses_lora]
        self.prompts.merge(adapter_names=merged)

    def unmerge_adapter(self) -> None:
        """Take LoRA out of the base again; see PEFT's `unmerge_adapter`."""
        super().unmerge_adapter()
        self.prompts.unmerge()

    def unload(self) -> nn.Module:
        """The base by itself; LoRA that was folded into it is taken out."""
        if self.prompts.merged:
            self.unmerge_adapter()
        return super().unload()

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Refused: prompts are input and cannot become part of the base's weights."""
        raise ValueError(
            "a POD adapter cannot be merged into its base: prompts and whole-word embeddings are input, not weights. "
            "Use merge_adapter() to fold LoRA into the base and keep the prompts, or unload() for the base alone"
        )

    # Saving and loading

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: PromptDistillationConfig,
        adapter_name: str,
        state_dict: dict[str, torch.Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, torch.Tensor]:
        adapter = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, unwanted_adapter_names)
        if config.train_base:
            return {**base_weights.select(state_dict), **adapter}
        return cast(dict[str, torch.Tensor], adapter)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: nn.Module,
        config: PromptDistillationConfig,
        adapter_name: str,
        state_dict: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        remapped = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        base_weights.check_shapes(model, remapped, adapter_name)
        base_weights.check_tasks(config, remapped, adapter_name)
        base_weights.check_parts(model, config, remapped, adapter_name)
        return base_weights.restore_ties(model, remapped, complete=config.train_base)

    def _base_parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())


def _check_adapter_name(name: str, trained_base: nn.Module | None) -> None:
    if not isinstance(name, str):
        raise ValueError(f"adapter_name must be a text, got {name!r}")
    if name.startswith(TASK_PREFIX):
        raise ValueError(f"adapter name {name!r} must not begin with {TASK_PREFIX!r}, as tasks' prompts do")
    if "." in name or hasattr(nn.ModuleDict(), name):
        raise ValueError(f"adapter name {name!r} cannot be used: it holds a '.' or is a name of PyTorch's modules")
    if trained_base is not None and name in base_weights.last_names(trained_base):
        # PEFT takes the adapter's name out of what it saves, wherever it stands.
        raise ValueError(
            f"adapter name {name!r} cannot be used with train_base=True: weights of the base have it in their names, "
            "and the saved adapter could not be loaded. Choose another"
        )


def _check_something_is_trained(parameters: Sequence[nn.Parameter], config: PromptDistillationConfig) -> None:
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"nothing would be trained: num_virtual_tokens is 0, whole_word_embedding is False, and this base has no "
            f"weights that bias={config.bias!r} and modules_to_save={config.modules_to_save} would train"
        )


def _check_base(model: nn.Module) -> None:
    config = getattr(model, "config", None)
    if not getattr(config, "is_encoder_decoder", False) or not hasattr(model, "get_encoder"):
        kind = getattr(config, "model_type", None) or type(model).__name__
        raise ValueError(
            f"POD needs an encoder-decoder (seq2seq) model of transformers, such as T5 or BART; {kind!r} is not one"
        )
    check_text_encoder(model)
    layers = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    if layers:
        raise ValueError(
            f"the base model already holds adapter layers ({layers[0]!r} and {len(layers) - 1} more), which would be "
            "saved under POD's configuration; merge or unload them first, or use PODConfig(r=...) for LoRA"
        )
