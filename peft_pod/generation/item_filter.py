"""Which items may be found for each input, by leaves of the trie, so that the cost grows with the lists alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .trie import ItemTrie

IntArray = npt.NDArray[np.int64]
ItemLists = Sequence[Sequence[int]] | Sequence[np.ndarray[Any, Any]]


class ItemSet:
    """Some of a trie's items, sorted once for any number of searches.

    Args:
        trie: all items.
        items: by position, in any order.

    Attributes:
        items: the same, ascending and each once.
        leaves: theirs in the trie, ascending.

    Raises:
        ValueError: an item is none of the trie's.

    Example:
        >>> in_stock = ItemSet(ItemTrie([[5, 6], [5, 7], [8]], eos_token_id=1), [2, 0, 2])
        >>> len(in_stock), in_stock.count([0, 1, 0]), in_stock.leaves.tolist()
        (2, 1, [0, 2])
    """

    def __init__(self, trie: ItemTrie, items: Sequence[int] | np.ndarray[Any, Any]) -> None:
        self.items = _distinct(trie, items)
        self.leaves = trie.item_leaf[torch.from_numpy(self.items).to(trie.device)].sort().values

    def __len__(self) -> int:
        return len(self.items)

    def those_in(self, items: IntArray) -> IntArray:
        """Those of some items that are in the set."""
        return _common(items, self.items)

    def count(self, items: Collection[int]) -> int:
        """How many different ones of some items are in the set."""
        return len(self.those_in(np.unique(np.fromiter(items, np.int64, count=len(items)))))


class ItemFilter:
    """Says which nodes of a trie lead to an item that an input may be given.

    The items under a node are a range of leaves, so how many of a list lie under it follows from two searches in the
    list's sorted leaves. Nothing here is as large as the catalogue, and what is excluded costs nothing for what is
    allowed.

    Args:
        trie: the items.
        only: for each input the items that may be found, by position; one list for all inputs where there is one
            list, or an `ItemSet`, which is not sorted again; all items where it is left out.
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
        self,
        trie: ItemTrie,
        *,
        batch_size: int,
        only: ItemLists | ItemSet | None = None,
        exclude: ItemLists | None = None,
    ) -> None:
        self.trie = trie
        self.batch_size = batch_size
        if only is not None and not isinstance(only, ItemSet) and len(only) not in (1, batch_size):
            raise ValueError(f"only has {len(only)} lists for {batch_size} inputs: give one, or one an input")
        if exclude is not None and len(exclude) != batch_size:
            raise ValueError(f"exclude has {len(exclude)} lists for {batch_size} inputs: give one an input")
        if only is not None and not isinstance(only, ItemSet) and len(only) == 1:
            only = ItemSet(trie, only[0])
        kept = self._lists(only)
        gone = None if exclude is None else [_distinct(trie, items) for items in exclude]
        if kept is not None and gone is not None:
            # What is not allowed anyway must not be taken off twice.
            gone = [_common(away, here) for away, here in zip(gone, kept, strict=True)]
        self._check_left(kept, gone)
        self._only: torch.Tensor | None = None
        if isinstance(only, ItemSet):
            self._only = only.leaves.to(trie.device)[None]
        elif kept is not None:
            self._only = self._leaves(kept)
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

    def leads_to_item_among(self, rows: torch.Tensor, siblings: torch.Tensor) -> torch.Tensor:
        """Whether an item under each child of one node may be found, for each of several inputs.

        What is listed is counted child by child, so the time grows with the lists, and what is held with inputs times
        children.

        Args:
            rows: the inputs, shape `(inputs,)`.
            siblings: all children of a node, ascending; shape `(children,)`.

        Returns:
            Shape `(inputs, children)`.
        """
        starts, ends = self.trie.leaf_start[siblings], self.trie.leaf_end[siblings]
        shape = (len(rows), len(siblings))
        count = (ends - starts).int().expand(shape) if self._only is None else _under(self._only, rows, starts, ends)
        if self._exclude is not None:
            count = count - _under(self._exclude, rows, starts, ends)
        return (count > 0).expand(shape)

    @property
    def allows_all(self) -> bool:
        """Whether every item may be found for every input."""
        return self._only is None and self._exclude is None

    def _lists(self, only: ItemLists | ItemSet | None) -> list[IntArray] | None:
        """The items that each input may be given, ascending."""
        if only is None:
            return None
        if isinstance(only, ItemSet):
            return [only.items] * self.batch_size
        return [_distinct(self.trie, items) for items in only]

    def _check_left(self, kept: list[IntArray] | None, gone: list[IntArray] | None) -> None:
        for row in range(self.batch_size):
            left = self.trie.num_items if kept is None else len(kept[row])
            if left - (0 if gone is None else len(gone[row])) <= 0:
                raise ValueError(f"no item may be found for row {row} of the batch: every allowed item is excluded")

    def _leaves(self, lists: list[IntArray]) -> torch.Tensor:
        """Sorted leaves of each list, filled up with what is beyond all leaves."""
        padded = np.full((len(lists), max(map(len, lists))), -1, dtype=np.int64)
        for row, items in enumerate(lists):
            padded[row, : len(items)] = items
        positions = torch.from_numpy(padded).to(self.trie.device)
        leaves = self.trie.item_leaf[positions.clamp(min=0)].masked_fill(positions < 0, self.trie.num_items)
        return leaves.sort(dim=1).values


def _distinct(trie: ItemTrie, items: Sequence[int] | np.ndarray[Any, Any]) -> IntArray:
    """Items of a trie, ascending and each once."""
    # NumPy's `unique` hashes, and takes ten times as long on a large list.
    positions = np.sort(np.asarray(items, dtype=np.int64))
    positions = positions[np.diff(positions, prepend=positions[:1] - 1) > 0]
    wrong = positions[(positions < 0) | (positions >= trie.num_items)]
    if len(wrong):
        raise ValueError(f"there is no item at position {int(wrong[0])}: there are {trie.num_items} items")
    return positions


def _common(items: IntArray, others: IntArray) -> IntArray:
    """Those of some items that are among others, which ascend; the time grows with the former."""
    if not len(others):
        return items[:0]
    places = np.searchsorted(others, items)
    return items[others[np.minimum(places, len(others) - 1)] == items]


def _under(leaves: torch.Tensor, rows: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """How many of each row's leaves stand under each of some siblings, one row for all where there is one list."""
    own = leaves[rows] if len(leaves) > 1 else leaves
    place = torch.searchsorted(starts, own, right=True) - 1
    inside = (place >= 0) & (own < ends[place.clamp(min=0)])
    counts = torch.zeros(len(own), len(starts), dtype=torch.int32, device=own.device)
    return counts.scatter_add_(1, place.clamp(min=0), inside.int())


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
