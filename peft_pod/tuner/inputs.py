"""From token IDs, task IDs and whole-word IDs to what the base's encoder takes."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import PreTrainedModel

from .config import PromptDistillationConfig
from .embedding import embed_tokens, input_scale, padding_token
from .layer import PromptLayer

TaskId = torch.Tensor | int | str

_DROPPED = (
    ". The Trainer of transformers drops the columns task_id and whole_word_ids unless its arguments have "
    "remove_unused_columns=False"
)


def task_id_tensor(
    task_id: TaskId | None, config: PromptDistillationConfig, batch_size: int, device: torch.device
) -> torch.Tensor:
    """Turn a task given as a tensor, a number, a name, or not at all, into a LongTensor of shape `(batch,)`.

    Raises:
        ValueError: no task is given although the adapter has prompts of several, or the task is unknown, out of range,
            or has the wrong shape or type.
    """
    if task_id is None:
        if config.num_tasks != 1 and config.num_virtual_tokens:
            raise ValueError(
                f"task_id is missing: this adapter has {config.num_tasks} tasks"
                f"{f' {config.tasks}' if config.tasks else ''}, pass task_id= as a tensor of shape (batch,), "
                f"a number or a name{_DROPPED}"
            )
        task_id = 0
    if isinstance(task_id, str):
        task_id = config.task_index(task_id)
    if isinstance(task_id, bool) or not isinstance(task_id, (int, torch.Tensor)):
        raise ValueError(f"task_id must be a tensor of shape (batch,), a number or a task's name, got {task_id!r}")
    if isinstance(task_id, int):
        _check_range(task_id, task_id, config)
        return torch.full((batch_size,), task_id, dtype=torch.long, device=device)
    if task_id.is_floating_point() or task_id.dtype == torch.bool:
        raise ValueError(f"task_id must hold whole numbers, got a tensor of {task_id.dtype}")
    if task_id.ndim == 0:
        task_id = task_id.expand(batch_size)
    if task_id.shape != (batch_size,):
        raise ValueError(f"task_id must have shape ({batch_size},), one task a row, got {tuple(task_id.shape)}")
    if not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in torch.aminmax(task_id))
        _check_range(low, high, config)
    return task_id.to(device=device, dtype=torch.long)


def _check_range(low: int, high: int, config: PromptDistillationConfig) -> None:
    largest = cast(int, config.num_tasks) - 1
    if low < 0 or high > largest:
        wrong = low if low < 0 else high
        raise ValueError(f"task_id {wrong} is out of range: this adapter has {config.num_tasks} tasks, 0 to {largest}")


def assemble_inputs(
    model: PreTrainedModel,
    layer: PromptLayer,
    config: PromptDistillationConfig,
    *,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    task_id: TaskId | None,
    whole_word_ids: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """Embed the input, add whole-word embeddings, put the task's prompts in front, and extend the mask.

    With n tokens and k prompts the encoder then sees n + k positions: prompts first, then the tokens in their order
    (POD paper, section 3.2 and figure 3).

    Args:
        model: the base model.
        layer: prompts and whole-word embeddings.
        config: configuration of the active adapter.
        input_ids: tokens, shape `(batch, length)`; or give `inputs_embeds`.
        attention_mask: 1 for tokens, 0 for padding, shape `(batch, length)`. Without it, tokens that are the base's
            padding token are not attended.
        inputs_embeds: tokens embedded by the caller as the base takes them, shape `(batch, length, hidden)`.
        task_id: see `task_id_tensor`.
        whole_word_ids: n for the tokens of the n-th ID, 0 for others, shape `(batch, length)`.

    Returns:
        `inputs_embeds` of shape `(batch, k + length, hidden)` and `attention_mask` of shape `(batch, k + length)`.

    Raises:
        ValueError: arguments are missing, contradict each other, or do not fit the configuration.
    """
    if inputs_embeds is None and input_ids is not None:
        inputs_embeds = embed_tokens(model, input_ids)
        if attention_mask is None:
            attention_mask = _mask_from_padding(input_ids, padding_token(model))
    elif inputs_embeds is None or input_ids is not None:
        raise ValueError("give exactly one of input_ids and inputs_embeds")
    elif attention_mask is None:
        attention_mask = torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)

    # Some bases stretch or cut a mask of another length without a word.
    if attention_mask.shape != inputs_embeds.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but the input {tuple(inputs_embeds.shape[:2])}: "
            "give it as it is for the tokens, the prompts' positions are added here"
        )

    # Where the encoder scales all that it is given, what POD adds would be scaled too, and nowhere else it is.
    scale = input_scale(model)
    if layer.has_whole_words():
        words = _whole_words(layer, config, whole_word_ids, inputs_embeds) / scale
        inputs_embeds = inputs_embeds + words.to(inputs_embeds)
    tasks = task_id_tensor(task_id, config, len(inputs_embeds), inputs_embeds.device)
    if config.num_virtual_tokens:
        prompts = layer.prompt(tasks) / scale
        inputs_embeds = torch.cat([prompts.to(inputs_embeds), inputs_embeds], dim=1)
        attention_mask = extend_mask(attention_mask, config.num_virtual_tokens)
    return {"inputs_embeds": inputs_embeds, "attention_mask": attention_mask}


def extend_mask(attention_mask: torch.Tensor, num_virtual_tokens: int) -> torch.Tensor:
    """Put ones for the prompts in front of a mask: `(batch, length)` to `(batch, num_virtual_tokens + length)`."""
    return torch.nn.functional.pad(attention_mask, (num_virtual_tokens, 0), value=1)


def extend_mask_to_encoder(attention_mask: torch.Tensor, encoder_outputs: Any, num_virtual_tokens: int) -> torch.Tensor:
    """Fit a mask to encoder outputs that the caller computed with prompts in front.

    Raises:
        ValueError: the mask is neither as long as the encoder outputs nor shorter by the number of prompts.
    """
    encoded_length = encoder_outputs[0].shape[1]
    if attention_mask.shape[1] == encoded_length:
        return attention_mask
    if attention_mask.shape[1] + num_virtual_tokens == encoded_length:
        return extend_mask(attention_mask, num_virtual_tokens)
    shorter = f", or {encoded_length - num_virtual_tokens} without the {num_virtual_tokens} prompts"
    raise ValueError(
        f"attention_mask has length {attention_mask.shape[1]}, but encoder_outputs has {encoded_length}; it must have "
        f"that length{shorter if num_virtual_tokens else ''}"
    )


def _mask_from_padding(input_ids: torch.Tensor, pad_token_id: int | None) -> torch.Tensor:
    if pad_token_id is None:
        return torch.ones_like(input_ids)
    return (input_ids != pad_token_id).long()


def _whole_words(
    layer: PromptLayer,
    config: PromptDistillationConfig,
    whole_word_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor,
) -> torch.Tensor:
    if whole_word_ids is None:
        raise ValueError(
            "whole_word_ids is missing, and this adapter has whole-word embeddings: pass n for the tokens of the n-th "
            "ID and 0 for other tokens (zeros where the input holds no IDs), or configure whole_word_embedding=False"
            f"{_DROPPED}"
        )
    if whole_word_ids.shape != inputs_embeds.shape[:2]:
        raise ValueError(
            f"whole_word_ids has shape {tuple(whole_word_ids.shape)}, but the input {tuple(inputs_embeds.shape[:2])}"
        )
    if whole_word_ids.is_floating_point() or whole_word_ids.dtype == torch.bool:
        raise ValueError(f"whole_word_ids must hold whole numbers, got a tensor of {whole_word_ids.dtype}")
    if not torch.compiler.is_compiling() and whole_word_ids.numel():
        low, high = (int(bound) for bound in torch.aminmax(whole_word_ids))
        if low < 0 or high > config.max_whole_words:
            wrong = low if low < 0 else high
            raise ValueError(
                f"whole_word_ids holds {wrong}, outside 0 to max_whole_words={config.max_whole_words}: the input "
                "holds too many IDs; shorten it or configure a larger max_whole_words"
            )
    return layer.whole_words(whole_word_ids.to(device=inputs_embeds.device, dtype=torch.long))
