"""The weights of a T5-type model, laid out for inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .head import Head
from .linear import Dense, dense_of, weight_and_bias


@dataclass(frozen=True)
class Norm:
    """T5's layer norm: states are divided by their root mean square, and nothing is subtracted."""

    weight: torch.Tensor
    epsilon: float

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Normalise over the last dimension."""
        # Two passes over the states and one over what comes out; `rms_norm` takes four on a CPU.
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        scale = length.square_().div_(states.shape[-1]).add_(self.epsilon).rsqrt_()
        return (states * scale).mul_(self.weight)


@dataclass(frozen=True)
class SelfAttention:
    """Attention of a stack over itself.

    Attributes:
        norm: before it.
        query_key_value: the three products in one.
        output: the product after it.
        bias: added to the scores by the distance from query to key, from `-Stack.reach` to `Stack.reach`;
            float32, shape `(heads, 2 * reach + 1)`.
    """

    norm: Norm
    query_key_value: Dense
    output: Dense
    bias: torch.Tensor


@dataclass(frozen=True)
class CrossAttention:
    """Attention of the decoder over what the encoder made of the input; it has no bias."""

    norm: Norm
    query: Dense
    key_value: Dense
    output: Dense


@dataclass(frozen=True)
class FeedForward:
    """The layers between attentions.

    Attributes:
        norm: before them.
        inner: the first product; where gated, what is activated and beside it what that is multiplied by.
        output: the second.
        activation: between them; none where the first product has it.
        gated: whether it is.
    """

    norm: Norm
    inner: Dense
    output: Dense
    activation: Callable[[torch.Tensor], torch.Tensor] | None
    gated: bool

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """What is added to the states."""
        inner = self.inner(self.norm(states))
        factor = None
        if self.gated:
            inner, factor = inner.chunk(2, dim=-1)
        if self.activation is not None:
            inner = self.activation(inner)
        return self.output(inner if factor is None else inner * factor)


@dataclass(frozen=True)
class Layer:
    """A layer; the encoder's have no cross-attention."""

    self_attention: SelfAttention
    cross_attention: CrossAttention | None
    feed_forward: FeedForward


@dataclass(frozen=True)
class Stack:
    """Encoder or decoder.

    Attributes:
        layers: in their order.
        norm: after the last one.
        heads: of each attention.
        reach: keys that are farther from a query have the bias of this distance.
    """

    layers: list[Layer]
    norm: Norm
    heads: int
    reach: int


@dataclass(frozen=True)
class T5Weights:
    """All that inference needs of a T5, mT5 or UMT5 model.

    Attributes:
        encoder: its layers.
        decoder: its layers.
        embeddings: of the decoder's tokens, float32, shape `(vocabulary, width)`.
        head: from states to logits; a scale that the model puts on states before is in it.
        dtype: in which products and attention are computed; what layers add up to is float32.
    """

    encoder: Stack
    decoder: Stack
    embeddings: torch.Tensor
    head: Head
    dtype: torch.dtype

    @classmethod
    @torch.no_grad()
    def of(cls, model: Any, dtype: torch.dtype) -> T5Weights:
        """Lay out the weights of a model as they are now.

        Args:
            model: T5, mT5 or UMT5 for conditional generation, in evaluation mode; PEFT may have wrapped its layers.
            dtype: `torch.float32` or `torch.bfloat16`.
        """
        rows, _ = weight_and_bias(model.lm_head, model.config.d_model)
        rows *= _output_scale(model.config)
        tokens = torch.arange(len(rows), device=rows.device)
        return cls(
            encoder=_stack(model.encoder, dtype),
            decoder=_stack(model.decoder, dtype),
            embeddings=model.decoder.embed_tokens(tokens).float(),
            head=Head(rows, dtype),
            dtype=dtype,
        )


def _output_scale(config: Any) -> float:
    tied = bool(config.tie_word_embeddings) and config.model_type != "mt5"
    return float(config.d_model) ** -0.5 if getattr(config, "scale_decoder_outputs", tied) else 1.0


def _stack(stack: Any, dtype: torch.dtype) -> Stack:
    reach = int(stack.config.relative_attention_max_distance)
    layers: list[Layer] = []
    for block in stack.block:
        attention = block.layer[0].SelfAttention
        # T5's first layer has the bias of all, UMT5's layers each have their own.
        bias = _bias(attention, reach) if attention.has_relative_attention_bias else layers[0].self_attention.bias
        layers.append(
            Layer(
                _self_attention(block.layer[0], bias, dtype),
                _cross_attention(block.layer[1], dtype) if len(block.layer) > 2 else None,
                _feed_forward(block.layer[-1], int(stack.config.d_ff), dtype),
            )
        )
    return Stack(layers, _norm(stack.final_layer_norm), int(stack.config.num_heads), reach)


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight.float(), float(norm.variance_epsilon))


def _bias(attention: Any, reach: int) -> torch.Tensor:
    table = attention.compute_bias(reach + 1, reach + 1)[0].float()
    behind, ahead = table[:, :, 0].flip(1), table[:, 0, 1:]
    return torch.cat([behind, ahead], dim=1)


def _self_attention(layer: Any, bias: torch.Tensor, dtype: torch.dtype) -> SelfAttention:
    attention = layer.SelfAttention
    return SelfAttention(
        _norm(layer.layer_norm),
        dense_of(attention.q, attention.k, attention.v, width=attention.d_model, dtype=dtype),
        dense_of(attention.o, width=attention.inner_dim, dtype=dtype),
        bias,
    )


def _cross_attention(layer: Any, dtype: torch.dtype) -> CrossAttention:
    attention = layer.EncDecAttention
    return CrossAttention(
        _norm(layer.layer_norm),
        dense_of(attention.q, width=attention.d_model, dtype=dtype),
        dense_of(attention.k, attention.v, width=attention.d_model, dtype=dtype),
        dense_of(attention.o, width=attention.inner_dim, dtype=dtype),
    )


def _feed_forward(layer: Any, inner_width: int, dtype: torch.dtype) -> FeedForward:
    dense = layer.DenseReluDense
    width = layer.layer_norm.weight.shape[0]
    gated = hasattr(dense, "wi_1")
    inner = (dense.wi_0, dense.wi_1) if gated else (dense.wi,)
    fused = isinstance(dense.act, nn.ReLU) and not gated
    return FeedForward(
        _norm(layer.layer_norm),
        dense_of(*inner, width=width, dtype=dtype, relu=fused),
        dense_of(dense.wo, width=inner_width, dtype=dtype),
        None if fused else dense.act,
        gated,
    )
