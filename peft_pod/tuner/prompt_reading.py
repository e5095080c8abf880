"""What trained prompt vectors are like: where they lie to each other, and which tokens' embeddings they point to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from .config import PromptDistillationConfig
from .embedding import embed_tokens, input_scale
from .layer import PromptLayer

_TOKENS_AT_ONCE = 8192
RANDOM_VECTORS = 256


@dataclass(frozen=True)
class NearestTokens:
    """The tokens whose embeddings have the largest cosine with each vector.

    Attributes:
        tokens: best first, shape `(vectors, n)`.
        cosines: likewise.
    """

    tokens: torch.Tensor
    cosines: torch.Tensor


def prompt_vectors(model: Any) -> tuple[list[str], torch.Tensor]:
    """The prompts of the active adapter.

    Args:
        model: a PEFT model with a POD adapter.

    Returns:
        What the tasks are called, and the vectors as the encoder sees them, detached, float32, on the CPU; shape
        `(num_tasks, num_virtual_tokens, hidden)`.

    Raises:
        ValueError: the adapter has no prompts.
    """
    tuner = model.base_model
    adapter = tuner.active_adapters[0]
    config: PromptDistillationConfig = tuner.peft_config[adapter]
    prompts: PromptLayer = tuner.prompts
    names = config.tasks or [str(number) for number in range(config.num_tasks or 0)]
    return list(names), prompts.prompt_table(adapter).detach().float().cpu()


@torch.inference_mode()
def token_embeddings(model: PreTrainedModel, num_tokens: int) -> torch.Tensor:
    """Embeddings of the first tokens as the encoder sees them, rows that an adapter trained included.

    Args:
        model: the base.
        num_tokens: of the tokenizer; a base may have more rows, which stand for nothing.

    Returns:
        Float32, on the CPU; shape `(num_tokens, hidden)`.
    """
    device = model.get_input_embeddings().weight.device
    chunks = torch.arange(num_tokens, device=device).split(_TOKENS_AT_ONCE)
    return torch.cat([embed_tokens(model, chunk[None])[0].float().cpu() for chunk in chunks]) * input_scale(model)


def nearest_tokens(vectors: torch.Tensor, embeddings: torch.Tensor, n: int) -> NearestTokens:
    """Find the tokens with the largest cosine to each vector; of equal ones the first.

    Args:
        vectors: shape `(vectors, hidden)`.
        embeddings: shape `(vocabulary, hidden)`. A row of zeros, such as that of padding, has no direction: cosine 0.
        n: how many tokens; all, if there are fewer.

    Raises:
        ValueError: `n` is not positive, or widths differ.

    Example:
        >>> found = nearest_tokens(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0], [3.0, 4.0]]), n=1)
        >>> found.tokens.tolist(), round(found.cosines.item(), 3)
        ([[1]], 0.6)
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one token")
    if vectors.ndim != 2 or embeddings.ndim != 2 or vectors.shape[1] != embeddings.shape[1]:
        raise ValueError(f"vectors {tuple(vectors.shape)} and embeddings {tuple(embeddings.shape)} differ in width")
    cosines = _unit(vectors) @ _unit(embeddings).T
    order = torch.argsort(cosines, dim=1, descending=True, stable=True)[:, :n]
    return NearestTokens(order, cosines.gather(1, order))


def chance_cosines(embeddings: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The cosine of a random direction with the token nearest to it: what a prompt that learned nothing has.

    In few dimensions some token of a large vocabulary is near any direction, so a cosine means something only where it
    is larger than these.

    Args:
        embeddings: shape `(vocabulary, hidden)`.
        seed: of the directions.

    Returns:
        One for each of `RANDOM_VECTORS` directions drawn uniformly, sorted.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(RANDOM_VECTORS, embeddings.shape[1], generator=generator)
    return nearest_tokens(directions, embeddings, 1).cosines[:, 0].sort().values


def in_the_plane(vectors: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """The two principal components of vectors (PCA), by singular value decomposition of what differs from their mean.

    A component's direction is arbitrary; here the vector that is farthest from the middle along it lies on its positive
    side, so that the same vectors give the same picture.

    Args:
        vectors: shape `(vectors, hidden)`.

    Returns:
        Coordinates of shape `(vectors, 2)`, and each component's share of the variance. Where the vectors have fewer
        than two directions, the rest is zeros.

    Example:
        >>> points, shares = in_the_plane(torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [6.0, 0.0, 1.0]]))
        >>> points[:, 0].abs().tolist(), [round(share, 3) for share in shares]
        ([3.0, 0.0, 3.0], [1.0, 0.0])
    """
    centred = vectors.double() - vectors.double().mean(dim=0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    points = torch.zeros(len(vectors), 2, dtype=torch.float64)
    kept = min(2, len(singular))
    points[:, :kept] = left[:, :kept] * singular[:kept]
    farthest = points.abs().argmax(dim=0)
    points = points * torch.where(points[farthest, torch.arange(2)] < 0, -1.0, 1.0)
    variances = torch.zeros(2, dtype=torch.float64)
    variances[:kept] = singular[:kept].square()
    total = singular.square().sum()
    shares = variances / total if total > 0 else variances
    return points.float(), shares.tolist()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=1)
