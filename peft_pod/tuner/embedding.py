"""A base model's token embeddings as its encoder sees them.

POD hands the base `inputs_embeds`, so it has to do what the encoder does with `input_ids` on the way to them. Most
embedding modules scale their own output; in some architectures (Pegasus, Marian, MVP, BlenderbotSmall) the encoder
scales after its embedding module, and only where it was given `input_ids`; in others (T5Gemma, FSMT) it scales whatever
it was given.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import PreTrainedModel

from .architectures import architecture_of


def embedding_module(model: PreTrainedModel) -> torch.nn.Module:
    """The module by which the encoder embeds tokens."""
    encoder: Any = model.get_encoder()
    # FSMT's encoder is a plain module, and only the model around it knows.
    owner = encoder if hasattr(encoder, "get_input_embeddings") else model
    return cast(torch.nn.Module, owner.get_input_embeddings())


def embed_tokens(model: PreTrainedModel, input_ids: torch.Tensor) -> torch.Tensor:
    """Embed tokens into what the encoder takes as `inputs_embeds`: `(batch, length)` to `(batch, length, hidden)`."""
    return embedding_module(model)(input_ids) * _outer_scale(model)


def embedding_table(model: PreTrainedModel) -> torch.Tensor:
    """Embeddings of the whole vocabulary as the encoder sees them, detached; shape `(vocabulary, hidden)`."""
    scale = getattr(embedding_module(model), "embed_scale", 1.0) * _outer_scale(model) * input_scale(model)
    return embedding_weight(model).detach() * scale


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The encoder's embedding matrix as it is stored, without any scale; shape `(vocabulary, hidden)`."""
    return cast(torch.Tensor, embedding_module(model).weight)


def input_scale(model: PreTrainedModel) -> float:
    """The factor by which the encoder multiplies the `inputs_embeds` it is given; 1 in most architectures."""
    return architecture_of(model).input_scale(model)


def padding_token(model: PreTrainedModel) -> int | None:
    """The token that fills the encoder's input up; of a pair of models it is the encoder's, not the decoder's."""
    tokens = [getattr(config, "pad_token_id", None) for config in (_encoder_config(model), model.config)]
    return next((token for token in tokens if token is not None), None)


def _encoder_config(model: PreTrainedModel) -> Any:
    return getattr(model.get_encoder(), "config", None)


def _outer_scale(model: PreTrainedModel) -> float:
    encoder: Any = model.get_encoder()
    if hasattr(embedding_module(model), "embed_scale") or input_scale(model) != 1.0:
        return 1.0
    return cast(float, getattr(encoder, "embed_scale", 1.0))
