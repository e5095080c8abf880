"""Which items may be found for each input, by leaves of the trie, so that the cost grows with the lists alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .trie import ItemTrie

ItemLists = Sequence[Sequence[int]] | Sequence[np.ndarray[Any, Any]]


class ItemFilter:
    """Says which nodes of a trie lead to an item that an input may be given.

    The items under a node are a range of leaves, so how many of a list lie under it follows from two searches in the
    list's sorted leaves. Nothing here is as large as the catalogue.

    Args:
        trie: the items.
        only: for each input the items that may be found, by position; one list for all inputs where there is one
            list; all items where it is left out.
        exclude: for each input items that may not be found; none where it is left out.
        batch_size: how many inputs there are.

    Raises:
        ValueError: an item is none of the trie's, or nothing is left for an input; the message names the row.

    Example:
        >>> trie = ItemTrie([[5, 6], [5, 7], [8]], eos_token_id=1)
        >>> allowed = ItemFilter(trie, batch_size=1, exclude=[[0, 1]])
        >>> nodes = trie.walk(torch.tensor([[5], [8]]))
        >>> allowed.leads_to_item(torch.tensor([0, 0]), nodes).tolist()
        [False, True]
    """

    def __init__(
        self, trie: ItemTrie, *, batch_size: int, only: ItemLists | None = None, exclude: ItemLists | None = None
    ) -> None:
        self.trie = trie
        self.batch_size = batch_size
        kept = None if only is None else [np.unique(self._checked(items)) for items in only]
        gone = None if exclude is None else [np.unique(self._checked(items)) for items in exclude]
        if kept is not None and len(kept) not in (1, batch_size):
            raise ValueError(f"only has {len(kept)} lists for {batch_size} inputs: give one, or one an input")
        if gone is not None and len(gone) != batch_size:
            raise ValueError(f"exclude has {len(gone)} lists for {batch_size} inputs: give one an input")
        if kept is not None and gone is not None:
            # What is not allowed anyway must not be taken off twice.
            wide = kept if len(kept) == batch_size else kept * batch_size
            gone = [np.intersect1d(away, here, assume_unique=True) for away, here in zip(gone, wide, strict=True)]
        self._check_left(kept, gone)
        self._only = None if kept is None else self._leaves(kept)
        self._exclude = None if gone is None or not any(map(len, gone)) else self._leaves(gone)

    def leads_to_item(self, rows: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """Whether an item under a node may be found.

        Args:
            rows: the input of each question, shape `(questions,)`.
            nodes: the node; the same shape.
        """
        starts, ends = self.trie.leaf_start[nodes], self.trie.leaf_end[nodes]
        span = self.trie.num_items + 1
        count = ends - starts if self._only is None else _within(self._only, rows, starts, ends, span)
        if self._exclude is not None:
            count = count - _within(self._exclude, rows, starts, ends, span)
        return count > 0

    @property
    def allows_all(self) -> bool:
        """Whether every item may be found for every input."""
        return self._only is None and self._exclude is None

    def mask(self) -> torch.Tensor:
        """Which items may be found for each input; BoolTensor of shape `(batch, num_items)`."""
        num_items = self.trie.num_items
        leaves = self.trie.leaf_nodes.repeat(self.batch_size)
        rows = torch.arange(self.batch_size, device=leaves.device).repeat_interleave(num_items)
        return self.leads_to_item(rows, leaves).view(self.batch_size, num_items)[:, self.trie.item_leaf]

    def _checked(self, items: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        positions = np.asarray(items, dtype=np.int64)
        wrong = positions[(positions < 0) | (positions >= self.trie.num_items)]
        if len(wrong):
            raise ValueError(f"there is no item at position {int(wrong[0])}: there are {self.trie.num_items} items")
        return positions

    def _check_left(self, kept: list[np.ndarray[Any, Any]] | None, gone: list[np.ndarray[Any, Any]] | None) -> None:
        for row in range(self.batch_size):
            left = self.trie.num_items if kept is None else len(kept[row if len(kept) > 1 else 0])
            if left - (0 if gone is None else len(gone[row])) <= 0:
                raise ValueError(f"no item may be found for row {row} of the batch: every allowed item is excluded")

    def _leaves(self, lists: list[np.ndarray[Any, Any]]) -> torch.Tensor:
        """Sorted leaves of each list, filled up with what is beyond all leaves."""
        padded = np.full((len(lists), max(map(len, lists))), self.trie.num_items, dtype=np.int64)
        for row, items in enumerate(lists):
            padded[row, : len(items)] = items
        positions = torch.from_numpy(padded).to(self.trie.device)
        leaves = torch.nn.functional.pad(self.trie.item_leaf, (0, 1), value=self.trie.num_items)[positions]
        return leaves.sort(dim=1).values


def _within(
    leaves: torch.Tensor, rows: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor, span: int
) -> torch.Tensor:
    """How many of a row's leaves, all of them below the span, stand from a start to before an end."""
    bounds = torch.stack([starts, ends])
    if len(leaves) > 1:
        # Rows are asked about different numbers of nodes; one behind the other, a single search answers all.
        leaves = leaves + torch.arange(len(leaves), device=leaves.device)[:, None] * span
        bounds = bounds + rows * span
    before = torch.searchsorted(leaves.flatten(), bounds)
    return before[1] - before[0]
