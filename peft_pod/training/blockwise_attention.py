"""Attention in blocks whose scores fit into a processor's cache, computed again in the backward pass.

T5 adds a learned position bias to its attention scores. That bias needs a gradient, and PyTorch's fused attention has
none for it: it falls back on plain operations, which write `batch x heads x length x length` numbers to memory several
times over and keep some for the backward pass. Here a few samples and heads at a time are gone through, so that their
scores never leave the cache; only the queries, keys and values are kept, and the backward pass computes the scores
again. Padding at the end of a sample is left out. Dropout on the attention weights is drawn from a seed that both
passes share. The sums are those of the plain operations, in the same precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .dropout import dropped, erase_, threshold

BLOCKWISE = "pod_blockwise"
"""The name by which transformers knows this attention; it is never written into a saved model."""

_BLOCK_BYTES = 2**22
_KNOWN = {"use_cache", "output_attentions", "position_bias", "is_causal", "output_hidden_states", "return_dict"}


class Block(NamedTuple):
    """Samples `first` to `last`, heads `top` to `bottom`, and how many queries and keys of them are looked at."""

    first: int
    last: int
    top: int
    bottom: int
    queries: int
    keys: int
    masked: bool


@dataclass(frozen=True)
class _Lengths:
    """How far the samples of a mask reach.

    Attributes:
        keys: for each sample, how many keys there are up to the last one that any query attends to.
        full: for each sample, whether all queries attend to all of these.
    """

    keys: list[int]
    full: list[bool]


@dataclass
class _Call:
    """What both passes need to know besides the tensors."""

    mask: torch.Tensor | None
    causal: bool
    scaling: float
    dropout: float
    seed: int
    blocks: list[Block]

    @property
    def scale(self) -> float:
        """What kept weights are multiplied by; nothing is kept of what is dropped with certainty."""
        return 1 / (1 - self.dropout) if self.dropout < 1 else 0.0

    def generator(self, device: torch.device) -> torch.Generator | None:
        """Draws the same in both passes; `None` where nothing is dropped."""
        return torch.Generator(device).manual_seed(self.seed) if self.dropout else None


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        call: _Call,
    ) -> torch.Tensor:
        context.save_for_backward(query, key, value, bias)
        context.call = call
        batch, heads, length, _ = query.shape
        # As the caller's layer after this takes it, so that no copy is made on the way.
        output = query.new_zeros(batch, length, heads, value.shape[-1]).transpose(1, 2)
        generator = call.generator(query.device)
        with torch.autocast(query.device.type, enabled=False):
            for block in call.blocks:
                weights = _weights(query, key, bias, call, block)
                if generator is not None:
                    erase_(weights, dropped(weights.shape, call.dropout, weights.device, generator))
                mixed = torch.bmm(weights, _part(value, block, block.keys))
                if generator is not None:
                    mixed *= call.scale
                _place(output, block, block.queries, mixed)
        return output

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, bias = context.saved_tensors
        call: _Call = context.call
        query_gradient, key_gradient, value_gradient = (_zeros_like(tensor) for tensor in (query, key, value))
        bias_gradient = None
        if bias is not None and context.needs_input_grad[3]:
            bias_gradient = torch.zeros_like(bias, dtype=torch.promote_types(bias.dtype, torch.float32))
        generator = call.generator(query.device)
        with torch.autocast(query.device.type, enabled=False):
            for block in call.blocks:
                weights = _weights(query, key, bias, call, block)
                given = _part(gradient, block, block.queries)
                kept = weights
                if generator is not None:
                    given = given * call.scale
                    gone = dropped(weights.shape, call.dropout, weights.device, generator)
                    kept = erase_(weights.clone(), gone)
                weights_gradient = torch.bmm(given, _part(value, block, block.keys).transpose(1, 2))
                if generator is not None:
                    erase_(weights_gradient, gone)
                _place(value_gradient, block, block.keys, torch.bmm(kept.transpose(1, 2), given))
                scores_gradient = torch._softmax_backward_data(weights_gradient, weights, -1, weights.dtype)
                if bias_gradient is not None:
                    part = bias_gradient[0, block.top : block.bottom, : block.queries, : block.keys]
                    samples = scores_gradient.view(block.last - block.first, *part.shape)
                    part += samples[0] if len(samples) == 1 else samples.sum(0, dtype=part.dtype)
                query_part = torch.bmm(scores_gradient, _part(key, block, block.keys))
                key_part = torch.bmm(scores_gradient.transpose(1, 2), _part(query, block, block.queries))
                if call.scaling != 1.0:
                    query_part *= call.scaling
                    key_part *= call.scaling
                _place(query_gradient, block, block.queries, query_part)
                _place(key_gradient, block, block.keys, key_part)
        if bias_gradient is not None:
            bias_gradient = bias_gradient.to(bias.dtype)
        return query_gradient, key_gradient, value_gradient, bias_gradient, None


def blockwise_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of eager attention; see its `AttentionInterface`.

    Where no gradient is asked for, or the call is of a kind that is not covered (a mask that is not boolean, fewer
    key than query heads, a bias of each sample's own, soft caps or sinks, tracing by `torch.compile`), it is
    `scaled_dot_product_attention`.

    The encoder's output at padded positions, which nobody attends to, is zero here.

    Args:
        module: the attention layer.
        query: shape `(batch, heads, queries, width)`.
        key: shape `(batch, heads, keys, width)`.
        value: likewise.
        attention_mask: `True` where attended, shape `(batch or 1, 1, queries or 1, keys)`; `None` for everywhere.
        dropout: of the attention weights.
        scaling: what scores are multiplied by before the bias is added.
        is_causal: whether a query sees only what stands before it, where there is no mask.
        position_bias: added to the scores, shape `(1, heads, queries, keys)`.
        **kwargs: what the layer passes on besides.

    Returns:
        The output, shape `(batch, queries, heads, width)`, and `None` in the place of the weights.
    """
    if not _is_covered(module, query, key, value, attention_mask, position_bias, kwargs):
        return cast(
            tuple[torch.Tensor, None],
            sdpa_attention_forward(
                module,
                query,
                key,
                value,
                attention_mask,
                dropout=dropout,
                scaling=scaling,
                is_causal=is_causal,
                position_bias=position_bias,
                **kwargs,
            ),
        )
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
    causal = causal and attention_mask is None and query.shape[2] > 1
    encodes = getattr(module, "is_decoder", True) is False and not causal and query.shape[2] == key.shape[2]
    if position_bias is not None:
        position_bias = position_bias.to(query.dtype)
    dropout = threshold(dropout) / 2**16
    call = _Call(
        mask=attention_mask,
        causal=causal,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        dropout=dropout,
        # From PyTorch's own random numbers, so that a seed or a resumed run gives the same ones.
        seed=int(torch.randint(2**62, ()).item()) if dropout else 0,
        blocks=list(_blocks(query, key, attention_mask, skip_queries=encodes)),
    )
    output = cast(torch.Tensor, _Blockwise.apply(query, key, value, position_bias, call))
    return output.transpose(1, 2), None


def _is_covered(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    bias: torch.Tensor | None,
    kwargs: dict[str, Any],
) -> bool:
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if not any(tensor is not None and tensor.requires_grad for tensor in (query, key, value, bias)):
        return False
    if any(value is not None and value is not False for name, value in kwargs.items() if name not in _KNOWN):
        return False
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    fits_mask = mask is None or (
        mask.dtype == torch.bool
        and mask.ndim == 4
        and mask.shape[0] in (1, batch)
        and mask.shape[1] == 1
        and mask.shape[2] in (1, queries)
        and mask.shape[3] == keys
    )
    fits_bias = bias is None or bias.shape == (1, heads, queries, keys)
    same_type = query.dtype == key.dtype == value.dtype
    return fits_mask and fits_bias and same_type and key.shape[:2] == value.shape[:2] == query.shape[:2]


def _blocks(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, *, skip_queries: bool
) -> Iterator[Block]:
    batch, heads, queries, _ = query.shape
    lengths = _lengths(mask, batch, key.shape[2])
    first = 0
    while first < batch:
        last, keys = first, 0
        while last < batch:
            longest = max(keys, lengths.keys[last])
            rows = longest if skip_queries else queries
            if last > first and (last + 1 - first) * heads * rows * longest * query.element_size() > _BLOCK_BYTES:
                break
            last, keys = last + 1, longest
        rows = keys if skip_queries else queries
        same = all(lengths.full[sample] and lengths.keys[sample] == keys for sample in range(first, last))
        together = heads
        if last - first == 1:
            together = max(1, min(heads, _BLOCK_BYTES // max(1, rows * keys * query.element_size())))
        for top in range(0, heads, together):
            yield Block(first, last, top, min(heads, top + together), rows, keys, not same)
        first = last


def _lengths(mask: torch.Tensor | None, batch: int, keys: int) -> _Lengths:
    if mask is None:
        return _Lengths([keys] * batch, [True] * batch)
    # All layers of a stack are given the same mask.
    known = getattr(mask, "_pod_lengths", None)
    if known is None:
        some, every = mask[:, 0].any(1), mask[:, 0].all(1)
        places = torch.arange(1, keys + 1, device=mask.device)
        ends = (some * places).amax(1).clamp(min=1)
        full = every.sum(1) == ends
        copies = batch // len(mask)
        known = _Lengths(ends.tolist() * copies, full.tolist() * copies)
        mask._pod_lengths = known  # type: ignore[attr-defined]
    return cast(_Lengths, known)


def _weights(
    query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None, call: _Call, block: Block
) -> torch.Tensor:
    """The attention weights of a block before dropout, shape `(samples * heads, queries, keys)`."""
    queries, keys = _part(query, block, block.queries), _part(key, block, block.keys).transpose(1, 2)
    samples = block.last - block.first
    if bias is None:
        scores = torch.bmm(queries, keys)
        if call.scaling != 1.0:
            scores *= call.scaling
    else:
        added = bias[:, block.top : block.bottom, : block.queries, : block.keys]
        added = added.expand(samples, -1, -1, -1).reshape(-1, block.queries, block.keys)
        scores = torch.baddbmm(added, queries, keys, alpha=call.scaling)
    if block.masked or call.causal:
        shaped = scores.view(samples, -1, block.queries, block.keys)
        shaped.masked_fill_(_hidden(call, block, scores.device), torch.finfo(scores.dtype).min)
    return torch.softmax(scores, -1)


def _hidden(call: _Call, block: Block, device: torch.device) -> torch.Tensor:
    if call.mask is None:
        places = torch.arange(max(block.queries, block.keys), device=device)
        return places[None, : block.keys] > places[: block.queries, None]
    mask = call.mask if len(call.mask) == 1 else call.mask[block.first : block.last]
    return ~mask[:, :, : block.queries, : block.keys]


def _part(tensor: torch.Tensor, block: Block, length: int) -> torch.Tensor:
    part = tensor[block.first : block.last, block.top : block.bottom, :length]
    return part[0] if len(part) == 1 else part.reshape(-1, length, tensor.shape[-1])


def _place(tensor: torch.Tensor, block: Block, length: int, values: torch.Tensor) -> None:
    part = tensor[block.first : block.last, block.top : block.bottom, :length]
    part.copy_(values.view(part.shape))


def _zeros_like(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros in the memory layout of the layer before this: `(batch, length, heads, width)`, seen with heads second."""
    batch, heads, length, width = tensor.shape
    return tensor.new_zeros(batch, length, heads, width).transpose(1, 2)


AttentionInterface.register(BLOCKWISE, blockwise_attention)
AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)
