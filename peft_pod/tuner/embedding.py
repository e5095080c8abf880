"""A base model's token embeddings as its encoder sees them.

POD hands the base `inputs_embeds`, so it has to do what the encoder does with `input_ids` on the way to them. Most
embedding modules scale their own output; in some architectures (Pegasus, Marian, MVP, BlenderbotSmall) the encoder
scales after its embedding module, and only where it was given `input_ids`.
"""

from __future__ import annotations

from typing import cast

import torch
from transformers import PreTrainedModel


def embedding_module(model: PreTrainedModel) -> torch.nn.Module:
    """The module by which the encoder embeds tokens."""
    return cast(torch.nn.Module, model.get_encoder().get_input_embeddings())


def embed_tokens(model: PreTrainedModel, input_ids: torch.Tensor) -> torch.Tensor:
    """Embed tokens as the encoder would: `(batch, length)` to `(batch, length, hidden)`."""
    return embedding_module(model)(input_ids) * _outer_scale(model)


def embedding_table(model: PreTrainedModel) -> torch.Tensor:
    """Embeddings of the whole vocabulary as the encoder sees them, detached; shape `(vocabulary, hidden)`."""
    scale = getattr(embedding_module(model), "embed_scale", 1.0) * _outer_scale(model)
    return embedding_weight(model).detach() * scale


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The encoder's embedding matrix as it is stored, without any scale; shape `(vocabulary, hidden)`."""
    return cast(torch.Tensor, embedding_module(model).weight)


def _outer_scale(model: PreTrainedModel) -> float:
    encoder = model.get_encoder()
    return 1.0 if hasattr(embedding_module(model), "embed_scale") else getattr(encoder, "embed_scale", 1.0)
