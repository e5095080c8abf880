"""T5's decoder over a tree of tokens for each input."""

from __future__ import annotations

import torch
from torch import nn

from .encoder import bias_between
from .weights import CrossAttention, SelfAttention, T5Weights

NO_PARENT = -1
_FEWEST_TO_PRUNE = 32
"""Nodes of a tree below which pruning it takes longer than what it saves."""


class DecodedTree:
    """What the decoder makes of a tree of tokens for each input, which grows a block of nodes at a time.

    The beams of an input are branches of one tree: a node attends to the nodes above it and to itself, so nothing is
    copied when beams change places, and all nodes of a block are queries of the same attention. Keys and values of the
    encoder's output are computed once for each input.

    Args:
        weights: of the model.
        encoded: the encoder's output, shape `(batch, length, width)`.
        mask: true where the input is no padding, BoolTensor of shape `(batch, length)`.

    Attributes:
        size: how many nodes each tree has, those of the batch being of the same size.
    """

    def __init__(self, weights: T5Weights, encoded: torch.Tensor, mask: torch.Tensor) -> None:
        self._weights = weights
        self._heads = weights.decoder.heads
        self._hidden_input = None if bool(mask.all()) else _added(mask[:, None, None, :], weights.dtype)
        self._inputs = [
            self._split(_cross(layer.cross_attention).key_value(encoded), 2) for layer in weights.decoder.layers
        ]
        batch = len(encoded)
        self._own = [_Store() for _ in weights.decoder.layers]
        self._depth = torch.empty(batch, 0, dtype=torch.long, device=encoded.device)
        self._above = torch.empty(batch, 0, 0, dtype=torch.bool, device=encoded.device)
        self._prune_at = _FEWEST_TO_PRUNE

    @property
    def batch_size(self) -> int:
        """How many trees there are."""
        return len(self._depth)

    @property
    def size(self) -> int:
        """Nodes of each tree."""
        return self._depth.shape[1]

    def grow(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        """Add a block of nodes to each tree.

        Args:
            tokens: of the nodes, shape `(batch, nodes)`.
            parents: of each node the place of its parent among all nodes of its tree, in the order in which they were
                added; those of the block itself count, and a parent stands before its children. −1 for a root, with
                which nothing but itself stands above a node. The same shape.

        Returns:
            The decoder's last states, float32, shape `(batch, nodes, width)`.
        """
        depth, above = self._place(parents)
        distances = self._depth[:, None, :] - depth[:, :, None]
        hidden = _added(above[:, None], self._weights.dtype)
        # As a rule blocks have the same shape for all inputs, such as the beams of one step.
        alike = bool((distances == distances[:1]).all())
        distances = distances[:1] if alike else distances

        stack = self._weights.decoder
        states = nn.functional.embedding(tokens, self._weights.embeddings)
        masks: dict[int, torch.Tensor] = {}
        for number, layer in enumerate(stack.layers):
            attention = layer.self_attention
            if id(attention.bias) not in masks:
                bias = bias_between(attention.bias, distances, stack.reach).transpose(0, 1)
                masks[id(attention.bias)] = bias.to(self._weights.dtype) + hidden
            states += self._attend_above(number, attention, states, masks[id(attention.bias)])
            states += self._attend_input(number, _cross(layer.cross_attention), states)
            states += layer.feed_forward(states)
        return stack.norm(states)

    def keep(self, inputs: torch.Tensor) -> None:
        """Go on with some of the inputs.

        Args:
            inputs: their places in the batch, ascending.
        """
        if self._hidden_input is not None:
            self._hidden_input = self._hidden_input[inputs]
        self._inputs = [tuple(part[inputs] for part in layer) for layer in self._inputs]
        for store in self._own:
            store.keep(inputs)
        self._depth, self._above = self._depth[inputs], self._above[inputs]

    def prune(self, places: torch.Tensor) -> torch.Tensor:
        """Drop nodes that stand above none of some others, from which alone the trees grow on.

        Every node that is added looks at all that are there, those that it does not see included. It is done each time
        that a third of a tree may have become such nodes; else this changes nothing.

        Args:
            places: of the nodes from which the trees grow on, shape `(batch, nodes)`.

        Returns:
            Their places afterwards, the same shape.
        """
        if self.size < self._prune_at:
            return places
        needed = self._above.gather(1, places[:, :, None].expand(-1, -1, self.size)).any(1)
        most = int(needed.sum(1).amax())
        # Trees keep the same size: where one needs fewer nodes, some that it does not see stand behind them.
        kept = (~needed).long().argsort(dim=1, stable=True)[:, :most]
        for store in self._own:
            store.keep_nodes(kept)
        self._depth = self._depth.gather(1, kept)
        lines = self._above.gather(1, kept[:, :, None].expand(-1, -1, self._above.shape[2]))
        self._above = lines.gather(2, kept[:, None, :].expand(-1, most, -1))
        self._prune_at = max(_FEWEST_TO_PRUNE, most * 3 // 2)
        return (needed.cumsum(1) - 1).gather(1, places)

    def _place(self, parents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Depths of new nodes, and which nodes stand above each: `(batch, nodes)` and `(batch, nodes, size after)`."""
        count = parents.shape[1]
        before = self.size
        depth = nn.functional.pad(self._depth, (0, count))
        above = nn.functional.pad(self._above, (0, count, 0, count))
        places = torch.arange(before, before + count, device=parents.device)
        above[:, places, places] = True
        inside = bool((parents >= before).any())
        # Level by level: after n rounds all nodes are right that have at most n ancestors in the block.
        while True:
            at = parents.clamp(min=0)
            is_child = parents >= 0
            lines = above.gather(1, at[:, :, None].expand(-1, -1, before + count)) & is_child[:, :, None]
            grown = lines | above[:, before:]
            depths = torch.where(is_child, depth.gather(1, at) + 1, 0)
            settled = not inside or torch.equal(depths, depth[:, before:])
            above[:, before:], depth[:, before:] = grown, depths
            if settled:
                break
        self._depth, self._above = depth, above
        return depth[:, before:], above[:, before:]

    def _attend_above(
        self, number: int, attention: SelfAttention, states: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        query, key, value = self._split(attention.query_key_value(attention.norm(states)), 3)
        keys, values = self._own[number].add(key, value)
        return self._mixed(attention, query, keys, values, mask)

    def _attend_input(self, number: int, attention: CrossAttention, states: torch.Tensor) -> torch.Tensor:
        (query,) = self._split(attention.query(attention.norm(states)), 1)
        keys, values = self._inputs[number]
        return self._mixed(attention, query, keys, values, self._hidden_input)

    def _mixed(
        self,
        attention: SelfAttention | CrossAttention,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        output = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0)
        return attention.output(output.transpose(1, 2).flatten(2))

    def _split(self, projected: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
        """`(batch, nodes, parts * heads * size)` to `parts` times `(batch, heads, nodes, size)`."""
        batch, nodes, _ = projected.shape
        return projected.view(batch, nodes, parts, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class _Store:
    """Keys and values of a layer, which grow at their third dimension; room is made for twice as many when it ends."""

    def __init__(self) -> None:
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._size = 0

    def add(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values behind those that are there; returns all of them."""
        before, self._size = self._size, self._size + keys.shape[2]
        if self._room is None or self._size > self._room[0].shape[2]:
            self._room = self._grown(keys, before), self._grown(values, before, 1)
        for room, new in zip(self._room, (keys, values), strict=True):
            room[:, :, before : self._size] = new
        return self._room[0][:, :, : self._size], self._room[1][:, :, : self._size]

    def keep(self, inputs: torch.Tensor) -> None:
        """Drop those of other inputs."""
        if self._room is not None:
            self._room = self._room[0][inputs], self._room[1][inputs]

    def keep_nodes(self, nodes: torch.Tensor) -> None:
        """Drop those of other nodes.

        Args:
            nodes: their places in the tree of each input, in the order in which they are to stand; `(batch, nodes)`.
        """
        self._size = nodes.shape[1]
        if self._room is None:
            return
        batch, heads, length, width = self._room[0].shape
        starts = torch.arange(batch * heads, device=nodes.device).view(batch, heads, 1) * length
        rows = (starts + nodes[:, None, :]).flatten()
        for room in self._room:
            room[:, :, : self._size] = room.view(-1, width)[rows].view(batch, heads, self._size, width)

    def _grown(self, new: torch.Tensor, before: int, which: int = 0) -> torch.Tensor:
        batch, heads, _, width = new.shape
        room = new.new_empty(batch, heads, 2 * self._size, width)
        if self._room is not None:
            room[:, :, :before] = self._room[which][:, :, :before]
        return room


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention scores, so that only what is seen counts."""
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, -torch.inf)


def _cross(attention: CrossAttention | None) -> CrossAttention:
    if attention is None:
        raise TypeError("a decoder's layer has no attention to the encoder's output")
    return attention
