"""How prompts start."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pickle import UnpicklingError
from typing import Any, Protocol, cast

import torch
from peft import PeftConfig
from peft.utils import load_peft_weights
from safetensors import SafetensorError
from transformers import AutoTokenizer

from .config import PromptDistillationConfig

PROMPTS_PREFIX = "base_model.prompts.pod_prompts."


def initial_prompts(config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    """Prompts as a configuration says they start.

    Args:
        config: the adapter's configuration.
        embeddings: the base's token embeddings as its encoder sees them, shape `(vocabulary, hidden)`.

    Returns:
        Shape `(num_tasks, num_virtual_tokens, hidden)`, on the embeddings' device and of their type, but not of half
        precision, which would round them.

    Raises:
        ValueError: what the configuration names cannot be read or does not fit the base.

    Example:
        >>> config = PromptDistillationConfig(num_tasks=2, num_virtual_tokens=3)
        >>> initial_prompts(config, torch.zeros(5, 4)).shape
        torch.Size([2, 3, 4])
    """
    if embeddings.device.type == "meta":  # values come from a checkpoint
        return embeddings.new_empty(cast(int, config.num_tasks), config.num_virtual_tokens, embeddings.shape[1])
    if config.prompt_init in ("text", "adapter"):
        start = _from_text if config.prompt_init == "text" else _from_adapter
        try:
            prompts = start(config, embeddings)
        except (OSError, ValueError) as error:
            if not config._has_checkpoint:
                raise
            # A trained adapter's prompts come from its checkpoint, which must load where its start is out of reach.
            if not config.inference_mode:
                warnings.warn(f"prompts start uniform until a checkpoint fills them: {error}", stacklevel=2)
        else:
            return _like(prompts, embeddings)
    if config.prompt_init == "vocabulary":
        return _like(vocabulary_prompts(config, embeddings), embeddings)
    return _like(uniform_prompts(config, embeddings), embeddings)


def _like(prompts: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    return prompts.to(embeddings.device, torch.promote_types(embeddings.dtype, torch.float32))


def uniform_prompts(config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    """Prompts between ±`prompt_init_range`, from `init_seed`; arguments and shape as for `initial_prompts`.

    The first tasks' do not depend on how many there are, so that a task added later starts as it would have at first.
    """
    shape = (cast(int, config.num_tasks), config.num_virtual_tokens, embeddings.shape[1])
    values = torch.rand(shape, generator=torch.Generator().manual_seed(config.init_seed))
    return (values * 2 - 1) * config.prompt_init_range


def vocabulary_prompts(config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    """Embeddings of tokens sampled by `init_seed`; see `uniform_prompts`."""
    shape = (cast(int, config.num_tasks), config.num_virtual_tokens)
    generator = torch.Generator().manual_seed(config.init_seed)
    tokens = torch.randint(embeddings.shape[0], shape, generator=generator)
    return embeddings.detach()[tokens.to(embeddings.device)]


def token_prompts(token_ids: Sequence[int], num_virtual_tokens: int, embeddings: torch.Tensor) -> torch.Tensor:
    """Embeddings of tokens, repeated or cut to a length: shape `(num_virtual_tokens, hidden)`.

    Raises:
        ValueError: there are no tokens, or one is not in the base's vocabulary.

    Example:
        >>> token_prompts([2, 0], 3, torch.arange(3.0).unsqueeze(1)).flatten()
        tensor([2., 0., 2.])
    """
    if not token_ids:
        raise ValueError("prompt_init='text' needs at least one token for each task, but one has none")
    wrong = [token for token in token_ids if not 0 <= token < embeddings.shape[0]]
    if wrong:
        raise ValueError(
            f"token {wrong[0]} is not in the base's vocabulary of {embeddings.shape[0]}: give the base's own tokenizer "
            "as tokenizer_name_or_path"
        )
    repeated = torch.tensor(token_ids, device=embeddings.device).repeat(-(-num_virtual_tokens // len(token_ids)))
    return embeddings.detach()[repeated[:num_virtual_tokens]]


class HasTemplates(Protocol):
    """A task of the library, or anything with templates of its kind."""

    @property
    def templates(self) -> Any:
        """Each with `parts`, of which strings are words and others are fields."""


def template_texts(tasks: Iterable[HasTemplates]) -> list[str]:
    """The words of each task's templates, without their fields: for `PODConfig(prompt_init="text")`.

    Example:
        >>> from peft_pod.tasks import load_task
        >>> template_texts([load_task("topn")])[0][:50]
        'From , choose the one that would take Only one of '
    """
    return [
        " ".join(part for template in task.templates for part in template.parts if isinstance(part, str))
        for task in tasks
    ]


def _from_text(config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    if config.prompt_init_token_ids is None:
        texts = cast(list[str], config.prompt_init_text)
        try:
            tokenizer = AutoTokenizer.from_pretrained(config.tokenizer_name_or_path)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tokenizer_name_or_path={config.tokenizer_name_or_path!r} cannot be loaded ({error}); name the base's "
                "tokenizer, or give prompt_init_token_ids"
            ) from error
        config.prompt_init_token_ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return torch.stack(
        [token_prompts(tokens, config.num_virtual_tokens, embeddings) for tokens in config.prompt_init_token_ids]
    )


def _from_adapter(config: PromptDistillationConfig, embeddings: torch.Tensor) -> torch.Tensor:
    folder = cast(str, config.prompt_init_adapter)
    try:
        saved = PeftConfig.from_pretrained(folder)
        weights = load_peft_weights(folder, device="cpu")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise ValueError(f"prompt_init_adapter={folder!r} is no adapter that can be read: {error}") from error
    if not isinstance(saved, PromptDistillationConfig):
        raise ValueError(f"prompt_init_adapter={folder!r} is no POD adapter but {saved.peft_type}")
    rows = []
    for task in config.prompt_init_tasks or config.tasks or range(cast(int, config.num_tasks)):
        try:
            rows.append(weights[PROMPTS_PREFIX + saved.task_key(task)])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"prompt_init_adapter={folder!r}: {error}. Name one of its tasks for each task in prompt_init_tasks"
            ) from error
    prompts = torch.stack(rows)
    expected = (config.num_virtual_tokens, embeddings.shape[1])
    if prompts.shape[1:] != expected:
        raise ValueError(
            f"the prompts of prompt_init_adapter={folder!r} have shape {tuple(prompts.shape[1:])}, here it must be "
            f"{expected}: num_virtual_tokens and the base's width have to be the same"
        )
    return prompts
