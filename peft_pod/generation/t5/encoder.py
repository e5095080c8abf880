"""T5's encoder without padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from .linear import filled_up
from .weights import SelfAttention, Stack


def encode(stack: Stack, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run the encoder.

    Nothing is computed for padding: the tokens of all rows stand one behind the other, and attention is computed for
    rows with the same places of padding together. So what comes out for a row does not depend on the others.

    Args:
        stack: the encoder.
        embeddings: of the input, shape `(batch, length, width)`.
        mask: true where there is no padding, BoolTensor of shape `(batch, length)`.

    Returns:
        The last states, zero at padding, float32, shape `(batch, length, width)`.
    """
    _, pattern, counts = torch.unique(mask, dim=0, return_inverse=True, return_counts=True)
    order = pattern.argsort(stable=True)
    mask_in_order = mask[order]
    states = embeddings[order][mask_in_order].float()
    count = len(states)
    # Each product would else fill its rows up by a copy of them.
    states = nn.functional.pad(states, (0, 0, 0, filled_up(count) - count))
    groups = list(_groups(mask_in_order, counts.tolist()))
    biases: dict[int, list[torch.Tensor]] = {}
    for layer in stack.layers:
        attention = layer.self_attention
        # T5's layers share one bias.
        if id(attention.bias) not in biases:
            biases[id(attention.bias)] = [
                bias_between(attention.bias, places[None, :] - places[:, None], stack.reach) for _, places in groups
            ]
        states += _attend(attention, stack.heads, states, groups, biases[id(attention.bias)])
        states += layer.feed_forward(states)
    states = stack.norm(states)
    padded = states.new_zeros(*mask.shape, states.shape[-1])
    padded[mask_in_order] = states[:count]
    return padded[order.argsort()]


def bias_between(bias: torch.Tensor, distances: torch.Tensor, reach: int) -> torch.Tensor:
    """The bias of each head for distances from query to key: `(...)` to `(heads, ...)`.

    Args:
        bias: see `SelfAttention`.
        distances: whole numbers.
        reach: see `Stack`.

    Example:
        >>> bias_between(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0, -1, 7]), reach=1)
        tensor([[2., 1., 3.]])
    """
    return bias[:, distances.clamp(-reach, reach) + reach]


def _groups(mask: torch.Tensor, counts: list[int]) -> Iterator[tuple[int, torch.Tensor]]:
    """Of rows with the same padding that stand side by side: how many, and the places that are not padding."""
    first = 0
    for count in counts:
        yield count, mask[first].nonzero().flatten()
        first += count


def _attend(
    attention: SelfAttention,
    heads: int,
    states: torch.Tensor,
    groups: list[tuple[int, torch.Tensor]],
    biases: list[torch.Tensor],
) -> torch.Tensor:
    projected = attention.query_key_value(attention.norm(states))
    size = projected.shape[-1] // (3 * heads)
    mixed = projected.new_empty(len(states), heads * size)
    first = 0
    for (count, places), bias in zip(groups, biases, strict=True):
        last = first + count * len(places)
        # (3, rows, heads, places, size)
        shaped = projected[first:last].view(count, len(places), 3, heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = shaped.unbind(0)
        output = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.to(projected.dtype).expand(count, -1, -1, -1), scale=1.0
        )
        mixed[first:last] = output.transpose(1, 2).reshape(last - first, -1)
        first = last
    mixed[first:] = 0
    return attention.output(mixed)
