"""Beam search over the item trie, and exact scores of listed items, by a decoder that grows trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .edge_scores import EdgeScores
from .item_filter import ItemFilter
from .t5.decoder import NO_PARENT, DecodedTree
from .trie import NO_NODE, ROOT, Children, ItemTrie


@dataclass
class _Beams:
    """The beginnings of IDs that are followed.

    Attributes:
        nodes: where each stands in the trie, −1 for none; shape `(batch, beams)`, as the others.
        places: of its last token in the decoded tree.
        scores: log-probabilities of the tokens, −inf for none.
    """

    nodes: torch.Tensor
    places: torch.Tensor
    scores: torch.Tensor


def start_tree(tree: DecodedTree, leading: Sequence[int], trie: ItemTrie, batch_size: int) -> torch.Tensor:
    """Put the leading tokens and the items' common prefix into the trees.

    Returns:
        The decoder's states from the last leading token on, shape `(batch, 1 + common prefix, width)`: after the first
        the root of the trie is asked, after the others the nodes of the prefix.
    """
    given = torch.tensor([*leading, *trie.common_prefix], device=trie.device).expand(batch_size, -1)
    chain = torch.arange(NO_PARENT, given.shape[1] - 1, device=trie.device).expand(batch_size, -1)
    return tree.grow(given, chain)[:, len(leading) - 1 :]


def search_tree(
    tree: DecodedTree,
    edge_scores: EdgeScores,
    trie: ItemTrie,
    allowed: ItemFilter,
    *,
    leading: Sequence[int],
    k: int,
    num_beams: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k best items of each input as beam search of `generate` finds them under the trie's constraint.

    At each step the `2 * num_beams` best continuations of an input are looked at: of the first `num_beams` those that
    end an ID are found, and the best `num_beams` that do not end one are followed. Beams that cannot come before the
    k-th item found any more are given up, which changes nothing that is found.

    Args:
        tree: of the inputs, empty.
        edge_scores: of the model.
        trie: the items.
        allowed: which of them may be found.
        leading: decoder tokens in front of an ID.
        k: how many items to find.
        num_beams: how many beginnings are followed.

    Returns:
        Items by position, −1 where fewer were found, and their log-probabilities, −inf there; shape `(batch, k)` each.
    """
    batch, device = allowed.batch_size, trie.device
    states = start_tree(tree, leading, trie, batch)
    prefix_nodes, prefix_scores = _prefix(states, edge_scores, trie)
    level = len(trie.common_prefix)
    beams = _Beams(
        nodes=torch.full((batch, 1), prefix_nodes[-1], device=device),
        places=torch.full((batch, 1), tree.size - 1, device=device),
        scores=prefix_scores[:, None],
    )
    states = states[:, -1:]
    items = torch.full((batch, k), NO_NODE, device=device)
    item_scores = torch.full((batch, k), -torch.inf, device=device)
    while True:
        scores, nodes, parents = _continuations(beams, states, edge_scores, trie, allowed, 2 * num_beams, level)
        found = trie.item(nodes)
        is_leaf = found >= 0
        ended = is_leaf & (torch.arange(nodes.shape[1], device=device) < num_beams)
        item_scores, order = torch.cat([item_scores, scores.masked_fill(~ended, -torch.inf)], 1).topk(k, dim=1)
        items = torch.cat([items, found], dim=1).gather(1, order)
        going = scores.masked_fill(is_leaf | (scores <= item_scores[:, -1:]), -torch.inf)
        alive = int((going > -torch.inf).sum(1).amax())
        if not alive:
            return items.masked_fill(item_scores == -torch.inf, NO_NODE), item_scores
        going, order = going.topk(min(num_beams, alive), dim=1)
        parents, nodes = parents.gather(1, order), nodes.gather(1, order)
        size = tree.size
        states = tree.grow(trie.tokens[nodes].clamp(min=0), beams.places.gather(1, parents))
        beams = _Beams(
            nodes=nodes.masked_fill(going == -torch.inf, NO_NODE),
            places=torch.arange(size, tree.size, device=device).expand(batch, -1),
            scores=going,
        )
        level += 1


def score_items(
    tree: DecodedTree, edge_scores: EdgeScores, trie: ItemTrie, items: torch.Tensor, *, leading: Sequence[int]
) -> torch.Tensor:
    """The log-probability of each listed item, exactly, by one pass of the decoder over the tree of the items' tokens.

    Args:
        tree: of the inputs, empty.
        edge_scores: of the model.
        trie: all items.
        items: by position, −1 for none; shape `(batch, listed)`.
        leading: decoder tokens in front of an ID.

    Returns:
        Log-probabilities, −inf for none; shape `(batch, listed)`.
    """
    batch, size, device = len(items), trie.num_nodes, items.device
    states = start_tree(tree, leading, trie, batch)
    prefix_nodes, prefix_scores = _prefix(states, edge_scores, trie)
    top, top_place = prefix_nodes[-1], tree.size - 1
    paths = _paths(trie, items, top)
    rows = torch.arange(batch, device=device)[None, :, None].expand_as(paths)

    # A node of an input's tree is known by one number. Sorted, parents stand before their children.
    keys = (rows * size + paths)[paths != top].unique()
    row, node = keys.div(size, rounding_mode="floor"), keys % size
    inner = trie.item(node) < 0
    inner_keys, inner_row, inner_node = keys[inner], row[inner], node[inner]
    counts = torch.bincount(inner_row, minlength=batch)
    column = torch.arange(len(inner_keys), device=device) - (counts.cumsum(0) - counts)[inner_row]

    def column_of_parent(rows: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """The column of each node's parent among its input's inner nodes, −1 for the one from which all branch off."""
        parents = trie.parents[nodes]
        if not len(inner_keys):
            return torch.full_like(nodes, -1)
        at = torch.searchsorted(inner_keys, rows * size + parents).clamp(max=len(inner_keys) - 1)
        return column[at].masked_fill(parents == top, -1)

    if len(inner_keys):
        tokens = torch.zeros(batch, int(counts.max()), dtype=torch.long, device=device)
        parents = torch.full_like(tokens, NO_PARENT)
        tokens[inner_row, column] = trie.tokens[inner_node]
        parents[inner_row, column] = column_of_parent(inner_row, inner_node) + 1 + top_place
        states = torch.cat([states[:, -1:], tree.grow(tokens, parents)], dim=1)
    else:
        states = states[:, -1:]
    starts = row * states.shape[1] + 1 + column_of_parent(row, node)
    order = starts.argsort(stable=True)
    scores = torch.empty(len(keys), device=device)
    scores[order] = edge_scores(states.flatten(0, 1), Children(starts[order], trie.tokens[node[order]], node[order]))
    along = scores[torch.searchsorted(keys, rows * size + paths).clamp(max=len(keys) - 1)]
    total = along.masked_fill(paths == top, 0.0).sum(0) + prefix_scores[:, None]
    return total.masked_fill(items < 0, -torch.inf)


def _paths(trie: ItemTrie, items: torch.Tensor, top: int) -> torch.Tensor:
    """The nodes from each item's leaf up to below a node, filled up with that node; shape `(steps, batch, listed)`."""
    nodes = trie.leaf_nodes[trie.item_leaf[items.clamp(min=0)]].masked_fill(items < 0, top)
    path = [nodes]
    while bool((nodes != top).any()):
        nodes = torch.where(nodes == top, top, trie.parents[nodes])
        path.append(nodes)
    return torch.stack(path)


def _prefix(states: torch.Tensor, edge_scores: EdgeScores, trie: ItemTrie) -> tuple[list[int], torch.Tensor]:
    """The nodes of the common prefix, the root first, and its log-probability for each input."""
    batch, steps, _ = states.shape
    scores = states.new_zeros(batch)
    nodes = [ROOT]
    for step in range(steps - 1):
        child = trie.children(torch.tensor(nodes[-1:], device=states.device)).nodes
        nodes.append(int(child))
        edges = Children(
            torch.arange(batch, device=states.device), trie.tokens[child].expand(batch), child.expand(batch)
        )
        scores = scores + edge_scores(states[:, step], edges, step)
    return nodes, scores


def _continuations(
    beams: _Beams,
    states: torch.Tensor,
    edge_scores: EdgeScores,
    trie: ItemTrie,
    allowed: ItemFilter,
    most: int,
    level: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best continuations of each input, best first: scores, nodes and beams; shape `(batch, most or fewer)`."""
    batch, width = beams.nodes.shape
    edges = trie.children(beams.nodes.flatten())
    rows = edges.parents.div(width, rounding_mode="floor")
    if not allowed.allows_all:
        keep = allowed.leads_to_item(rows, edges.nodes)
        rows, edges = rows[keep], Children(*(column[keep] for column in edges))
    scores = edge_scores(states.flatten(0, 1), edges, level) + beams.scores.flatten()[edges.parents]
    counts = torch.bincount(rows, minlength=batch)
    columns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    table = scores.new_full((batch, int(counts.max())), -torch.inf)
    table[rows, columns] = scores
    best, chosen = table.topk(min(most, table.shape[1]), dim=1)
    edge_of = torch.zeros_like(table, dtype=torch.long)
    edge_of[rows, columns] = torch.arange(len(rows), device=rows.device)
    edge = edge_of.gather(1, chosen)
    nodes = edges.nodes[edge].masked_fill(best == -torch.inf, ROOT)
    return best, nodes, (edges.parents % width)[edge].masked_fill(best == -torch.inf, 0)
