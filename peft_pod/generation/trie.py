"""All items' tokens as one prefix tree, held in tables, so that many prefixes are looked up or extended at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .index_table import IndexTable, smallest_type

IntArray = npt.NDArray[np.signedinteger[Any]]

NO_NODE = -1
"""The node of a prefix that begins no item's tokens."""
ROOT = 0
"""The node of the empty prefix."""


class Children(NamedTuple):
    """The children of several nodes, one entry per child.

    Attributes:
        parents: position, in the nodes asked for, of the node whose child this is; shape `(num_children,)`.
        tokens: the token that leads there; likewise.
        nodes: the child; likewise.
    """

    parents: torch.Tensor
    tokens: torch.Tensor
    nodes: torch.Tensor


class ItemTrie:
    """The prefix tree of the token sequences that name the items.

    Each sequence is closed by the end-of-sequence token, so one ID may begin another, and each item is exactly one
    leaf. Nodes are numbered depth first with children in the order of their tokens: the items under a node are then a
    contiguous range of leaves. Tables hold numbers in as few bytes as they need; looked up, they have eight.

    Args:
        sequences: for each item, by position, its tokens without the end-of-sequence token.
        eos_token_id: the end-of-sequence token.

    Attributes:
        eos_token_id: as given.
        child_offsets: the children of node n stand at `child_offsets[n]` to `child_offsets[n + 1]` of the next two;
            shape `(num_nodes + 1,)`.
        child_tokens: the token that leads to each child, ascending within a node; shape `(num_nodes - 1,)`.
        child_nodes: each child; shape `(num_nodes - 1,)`.
        leaf_item: the item of each leaf, in the order of the leaves; shape `(num_items,)`.
        item_leaf: the leaf of each item, by position; shape `(num_items,)`.
        parents: of each node, −1 for the root; shape `(num_nodes,)`.
        tokens: the token that leads to each node, −1 for the root; shape `(num_nodes,)`.
        leaf_nodes: the node of each leaf, in the order of the leaves; shape `(num_items,)`.
        leaf_start: first leaf under each node; shape `(num_nodes,)`.
        leaf_end: one past the last leaf under each node; shape `(num_nodes,)`.
        common_prefix: the tokens with which every item begins, possibly none.

    Raises:
        ValueError: there are no items, an item has no tokens, a negative token or the end-of-sequence token, two
            items have the same tokens (the message names the items by position), or `eos_token_id` is negative.

    Example:
        >>> trie = ItemTrie([[5, 6], [5, 7], [5]], eos_token_id=1)
        >>> trie.num_items, trie.num_nodes, trie.max_depth
        (3, 7, 3)
        >>> node = trie.walk(torch.tensor([[5, 7, 1], [5, 1, 0], [6, 1, 0]]))
        >>> trie.item(node).tolist()
        [1, 2, -1]
    """

    def __init__(self, sequences: Sequence[Sequence[int]], eos_token_id: int) -> None:
        if eos_token_id < 0:
            raise ValueError(f"eos_token_id must be a token, got {eos_token_id}")
        self.eos_token_id = eos_token_id
        tokens, lengths = _padded(sequences, self.eos_token_id)
        # Columns of a lexsort go from the least to the most significant. A row's padding follows its end-of-sequence
        # token, which no other column holds, so padding never decides.
        order = np.lexsort(tokens.T[::-1])
        tokens, lengths = tokens[order], lengths[order]
        shared = _shared_with_previous(tokens, lengths, order)

        columns = np.arange(tokens.shape[1])
        is_node = columns < lengths[:, None]
        starts_node = is_node & (columns >= shared[:, None])
        numbers = np.cumsum(starts_node, dtype=smallest_type(starts_node.size)).reshape(starts_node.shape)
        node_of = np.maximum.accumulate(np.where(starts_node, numbers, 0), axis=0)
        num_nodes = int(numbers[-1, -1]) + 1

        parent_of = np.pad(node_of[:, :-1], ((0, 0), (1, 0)), constant_values=ROOT)
        parents, node_tokens = parent_of[starts_node], tokens[starts_node]
        by_parent = np.argsort(parents, kind="stable")
        leaf_start = np.concatenate([[0], np.nonzero(starts_node)[0]])
        leaf_count = np.bincount(node_of[is_node], minlength=num_nodes)
        leaf_count[ROOT] = len(order)

        self.max_depth = int(lengths.max())
        self.max_token = int(tokens.max())
        self.common_prefix = tuple(int(token) for token in tokens[0, : shared[1:].min(initial=lengths[0] - 1)])
        self.child_offsets = IndexTable(np.concatenate([[0], np.cumsum(np.bincount(parents, minlength=num_nodes))]))
        self.child_tokens = IndexTable(node_tokens[by_parent])
        self.child_nodes = IndexTable(by_parent + 1)
        self.leaf_item = IndexTable(order)
        self.item_leaf = IndexTable(np.argsort(order))
        self.parents = IndexTable(np.concatenate([[NO_NODE], parents]))
        self.tokens = IndexTable(np.concatenate([[-1], node_tokens]))
        self.leaf_nodes = IndexTable(np.flatnonzero(node_tokens == self.eos_token_id) + 1)
        self.leaf_start = IndexTable(leaf_start)
        self.leaf_end = IndexTable(leaf_start + leaf_count)

    @property
    def num_items(self) -> int:
        """Number of items, which is the number of leaves."""
        return len(self.leaf_item)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, root and leaves included."""
        return len(self.leaf_start)

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.child_nodes.values.device

    @property
    def nbytes(self) -> int:
        """How many bytes the tables take."""
        return sum(table.nbytes for table in vars(self).values() if isinstance(table, (IndexTable, torch.Tensor)))

    def to(self, device: torch.device | str) -> ItemTrie:
        """The same trie with its tables on `device`; this trie itself where they are there already."""
        if torch.empty(0, device=device).device == self.device:
            return self
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (IndexTable, torch.Tensor)):
                setattr(moved, name, value.to(device))
        return moved

    def step(self, nodes: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Follow one token from each node.

        Args:
            nodes: nodes, −1 for none; any shape.
            tokens: the token to follow from each; the same shape. Any whole number is accepted.

        Returns:
            The child of each node, −1 where it has no such child or is −1 itself; the same shape.
        """
        keys = self._key(nodes, tokens)
        places = torch.searchsorted(self._child_keys, keys).clamp(max=len(self._child_keys) - 1)
        # A token above every token of the trie would run into the keys of the next node.
        found = (self._child_keys[places] == keys) & (nodes >= 0) & (tokens >= 0) & (tokens <= self.max_token)
        return torch.where(found, self.child_nodes[places], NO_NODE)

    def walk(self, tokens: torch.Tensor) -> torch.Tensor:
        """Follow rows of tokens from the root.

        Args:
            tokens: shape `(rows, length)`. What follows the end-of-sequence token in a row is not looked at.

        Returns:
            The node where each row ends, −1 where the row begins no item; shape `(rows,)`.
        """
        nodes = torch.full((tokens.shape[0],), ROOT, dtype=torch.long, device=tokens.device)
        ended = torch.zeros_like(nodes, dtype=torch.bool)
        for column in tokens.unbind(dim=1):
            nodes = torch.where(ended, nodes, self.step(nodes, column))
            ended = ended | (column == self.eos_token_id)
        return nodes

    def item(self, nodes: torch.Tensor) -> torch.Tensor:
        """The item of each node that is a leaf, −1 for other nodes and for −1; the shape of `nodes`."""
        inside = nodes.clamp(min=0)
        is_leaf = (nodes >= 0) & (self.child_offsets[inside] == self.child_offsets[inside + 1])
        return torch.where(is_leaf, self.leaf_item[self.leaf_start[inside]], -1)

    def paths(self, items: torch.Tensor) -> torch.Tensor:
        """The nodes on the way to each item.

        Args:
            items: by position; shape `(items,)`.

        Returns:
            From the root to the leaf, filled up in front with the root; shape `(items, 1 + longest way)`.
        """
        nodes = self.leaf_nodes[self.item_leaf[items]]
        steps = [nodes]
        while bool((nodes != ROOT).any()):
            nodes = self.parents[nodes].clamp(min=ROOT)
            steps.append(nodes)
        return torch.stack(steps[::-1], dim=1)

    def children(self, nodes: torch.Tensor) -> Children:
        """All children of each node; −1 has none.

        Args:
            nodes: shape `(rows,)`.
        """
        inside = nodes.clamp(min=0)
        starts = self.child_offsets[inside]
        counts = torch.where(nodes >= 0, self.child_offsets[inside + 1] - starts, 0)
        ends = counts.cumsum(0)
        parents = torch.repeat_interleave(counts)
        places = torch.arange(len(parents), device=nodes.device) + (starts - ends + counts)[parents]
        return Children(parents, self.child_tokens[places], self.child_nodes[places])

    @cached_property
    def _child_keys(self) -> torch.Tensor:
        """Of each child, by which it is found; ascending. The fast search steps nowhere and does without them."""
        children = self.child_nodes[:]
        return self._key(self.parents[children], self.child_tokens[:])

    def _key(self, nodes: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return nodes * (self.max_token + 1) + tokens


def _padded(sequences: Sequence[Sequence[int]], eos_token_id: int) -> tuple[IntArray, IntArray]:
    """The items' tokens with the end-of-sequence token behind them, padded with −1, and their lengths with it."""
    if len(sequences) == 0:
        raise ValueError("the trie needs at least one item, got no token sequences")
    lengths = np.fromiter(map(len, sequences), np.int64, count=len(sequences))
    if lengths.min() == 0:
        raise ValueError(f"item {int(lengths.argmin())} has no tokens; every item needs at least one")
    flat = np.fromiter(chain.from_iterable(sequences), np.int64, count=int(lengths.sum()))
    kind = smallest_type(max(int(flat.max()), eos_token_id))
    tokens = np.full((len(lengths), int(lengths.max()) + 1), -1, dtype=kind)
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    tokens[inside] = np.maximum(flat, -1)
    for wrong, what in ((inside & (tokens < 0), "a negative token"), (tokens == eos_token_id, "eos_token_id")):
        if wrong.any():
            item = int(np.nonzero(wrong)[0][0])
            raise ValueError(
                f"item {item} has {what} among its tokens {list(sequences[item])} (eos_token_id is {eos_token_id}); "
                "give the tokens of the ID alone, the trie closes them itself"
            )
    tokens[np.arange(len(lengths)), lengths] = eos_token_id
    return tokens, lengths + 1


def _shared_with_previous(tokens: IntArray, lengths: IntArray, items: IntArray) -> IntArray:
    """How many leading tokens each row of sorted tokens shares with the row before it; 0 for the first."""
    shared = np.zeros(len(tokens), dtype=np.int64)
    differs = tokens[1:] != tokens[:-1]
    same = np.flatnonzero(~differs.any(axis=1))
    if len(same):
        first, second = sorted((int(items[same[0]]), int(items[same[0] + 1])))
        ids = tokens[same[0], : lengths[same[0]] - 1].tolist()
        raise ValueError(
            f"items {first} and {second} have the same tokens {ids}, so neither could be told from the other; "
            "give them different IDs, or a tokenizer that keeps their IDs apart"
        )
    shared[1:] = differs.argmax(axis=1)
    return shared
