"""Beam search over the item trie, and exact scores of listed items, by a decoder that grows trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .edge_scores import EdgeScores
from .item_filter import ItemFilter
from .t5.decoder import NO_PARENT, DecodedTree
from .trie import NO_NODE, ROOT, Children, ItemTrie


class _Beams(NamedTuple):
    """The beginnings of IDs that are followed, best first.

    Attributes:
        nodes: where each stands in the trie, −1 for none; shape `(batch, beams)`, as the others.
        above: the place in the decoded tree of the token before its last one; its last one is not decoded yet.
        scores: log-probabilities of the tokens, −inf for none.
    """

    nodes: torch.Tensor
    above: torch.Tensor
    scores: torch.Tensor

    def part(self, columns: slice) -> _Beams:
        """Some of them."""
        return _Beams(*(value[:, columns] for value in self))

    def better_than(self, bound: torch.Tensor) -> _Beams:
        """Those whose scores are above a bound for each input, shape `(batch,)`; as many as the most an input has."""
        dropped = self.scores <= bound[:, None]
        kept = self.part(slice(int((~dropped).sum(1).amax())))
        dropped = dropped[:, : kept.nodes.shape[1]]
        return _Beams(
            kept.nodes.masked_fill(dropped, NO_NODE), kept.above, kept.scores.masked_fill(dropped, -torch.inf)
        )


class _Continuations(NamedTuple):
    """What follows the beams of each input, best first.

    Attributes:
        scores: log-probabilities, −inf for none; shape `(batch, continuations)`, as the others.
        nodes: in the trie.
        places: in the decoded tree, of the beam's last token.
    """

    scores: torch.Tensor
    nodes: torch.Tensor
    places: torch.Tensor

    def best(self, most: int) -> _Continuations:
        """The best ones."""
        scores, order = self.scores.topk(min(most, self.scores.shape[1]), dim=1)
        return _Continuations(scores, self.nodes.gather(1, order), self.places.gather(1, order))

    def beside(self, others: _Continuations) -> _Continuations:
        """With others of the same inputs, in no order."""
        return _Continuations(*(torch.cat(pair, dim=1) for pair in zip(self, others, strict=True)))


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
    most = 2 * num_beams
    states = start_tree(tree, leading, trie, batch)
    prefix_nodes, prefix_scores = _prefix(states, edge_scores, trie)
    level = len(trie.common_prefix)
    asked = _Asked(tree, edge_scores, trie, allowed)
    following = asked.first(prefix_nodes[-1], prefix_scores, states[:, -1], tree.size - 1, level).best(most)
    all_items = torch.full((batch, k), NO_NODE, device=device)
    all_scores = torch.full((batch, k), -torch.inf, device=device)
    items, item_scores = all_items, all_scores
    while True:
        found = trie.item(following.nodes)
        is_leaf = found >= 0
        ended = is_leaf & (torch.arange(found.shape[1], device=device) < num_beams)
        item_scores, order = torch.cat([item_scores, following.scores.masked_fill(~ended, -torch.inf)], 1).topk(k)
        items = torch.cat([items, found], dim=1).gather(1, order)
        going = following.scores.masked_fill(is_leaf | (following.scores <= item_scores[:, -1:]), -torch.inf)
        alive = (going > -torch.inf).sum(1)
        is_done = alive == 0
        if bool(is_done.any()):
            all_items[asked.rows[is_done]], all_scores[asked.rows[is_done]] = items[is_done], item_scores[is_done]
            if bool(is_done.all()):
                return all_items.masked_fill(all_scores == -torch.inf, NO_NODE), all_scores
            left = (~is_done).nonzero().flatten()
            asked.keep(left)
            items, item_scores, going, alive = items[left], item_scores[left], going[left], alive[left]
            following = _Continuations(*(value[left] for value in following))
        going, order = going.topk(min(num_beams, int(alive.amax())), dim=1)
        beams = _Beams(
            nodes=following.nodes.gather(1, order).masked_fill(going == -torch.inf, NO_NODE),
            above=following.places.gather(1, order),
            scores=going,
        )
        level += 1
        following = _followed(asked, beams, item_scores, num_beams, level).best(most)


class _Asked:
    """What a search asks of the model and the trie for the inputs that are not done.

    Args:
        tree: of the inputs.
        edge_scores: of the model.
        trie: the items.
        allowed: which of them may be found.

    Attributes:
        trie: the items.
        rows: which inputs are not done.
    """

    def __init__(self, tree: DecodedTree, edge_scores: EdgeScores, trie: ItemTrie, allowed: ItemFilter) -> None:
        self._tree = tree
        self._edge_scores = edge_scores
        self.trie = trie
        self._allowed = allowed
        self.rows = torch.arange(allowed.batch_size, device=trie.device)

    def keep(self, left: torch.Tensor) -> None:
        """Go on with some of the inputs, given by their places among those that are not done, ascending."""
        self._tree.keep(left)
        self.rows = self.rows[left]

    def first(self, node: int, scores: torch.Tensor, states: torch.Tensor, place: int, level: int) -> _Continuations:
        """What follows the one node at which all inputs begin, which may be all items.

        Args:
            node: in the trie.
            scores: log-probabilities of the tokens up to it, shape `(batch,)`.
            states: the decoder's, shape `(batch, width)`.
            place: of the node's token in the decoded tree.
            level: the depth of the node in the trie.
        """
        edges = self.trie.children(torch.tensor([node], device=states.device))
        keep = None if self._allowed.allows_all else self._allowed.leads_to_item_among(self.rows, edges.nodes)
        after = self._edge_scores.of_siblings(states, edges.tokens, keep, level) + scores[:, None]
        return _Continuations(
            after, edges.nodes.expand_as(after), torch.tensor(place, device=states.device).expand_as(after)
        )

    def decoded(self, beams: _Beams, level: int) -> _Continuations:
        """Decode the last tokens of beams that stand at a depth of the trie, and look at what follows."""
        place = self._tree.size
        states = self._tree.grow(self.trie.tokens[beams.nodes].clamp(min=0), beams.above)
        return self.following(beams, states, place, level)

    def following(self, beams: _Beams, states: torch.Tensor, place: int, level: int) -> _Continuations:
        """What follows beams.

        Args:
            beams: at a depth of the trie.
            states: the decoder's, shape `(batch, beams, width)`.
            place: of the first beam's last token in the decoded tree; the others' stand behind it.
            level: the depth.
        """
        batch, width = beams.nodes.shape
        edges = self.trie.children(beams.nodes.flatten())
        rows = edges.parents.div(width, rounding_mode="floor")
        if not self._allowed.allows_all:
            keep = self._allowed.leads_to_item(self.rows[rows], edges.nodes)
            rows, edges = rows[keep], Children(*(column[keep] for column in edges))
        scores = self._edge_scores(states.flatten(0, 1), edges, level) + beams.scores.flatten()[edges.parents]
        counts = torch.bincount(rows, minlength=batch)
        columns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (batch, int(counts.max()))
        found = _Continuations(
            scores=scores.new_full(shape, -torch.inf),
            nodes=torch.full(shape, ROOT, device=rows.device),
            places=torch.full(shape, place, device=rows.device),
        )
        found.scores[rows, columns] = scores
        found.nodes[rows, columns] = edges.nodes
        found.places[rows, columns] = place + edges.parents % width
        return found

    def mostly_end(self, beams: _Beams) -> bool:
        """Whether nothing but the end can follow at least half of the beams."""
        edges = self.trie.children(beams.nodes.flatten())
        is_only = torch.bincount(edges.parents, minlength=beams.nodes.numel())[edges.parents] == 1
        ends = is_only & (self.trie.item(edges.nodes) >= 0)
        return 2 * int(ends.sum()) >= int((beams.nodes >= 0).sum())


def _followed(asked: _Asked, beams: _Beams, item_scores: torch.Tensor, num_beams: int, level: int) -> _Continuations:
    """What follows beams, but for what cannot be among the k items that are found.

    Args:
        asked: model and trie.
        beams: best first.
        item_scores: of the k best items so far, shape `(batch, k)`.
        num_beams: of the search.
        level: the depth of the beams in the trie.
    """
    k = item_scores.shape[1]
    first, rest = beams.part(slice(k)), beams.part(slice(k, None))
    if not rest.nodes.shape[1] or not asked.mostly_end(first):
        return asked.decoded(beams, level)
    # Where the best beams end, the others may have no chance any more, and need not be decoded. What ends above all
    # that can follow the others is found, whatever follows them.
    following = asked.decoded(first, level)
    ranked = following.best(num_beams)
    sure = (asked.trie.item(ranked.nodes) >= 0) & (ranked.scores >= rest.scores[:, :1])
    bound = torch.cat([item_scores, ranked.scores.masked_fill(~sure, -torch.inf)], 1).topk(k, dim=1).values[:, -1]
    rest = rest.better_than(bound)
    return following.beside(asked.decoded(rest, level)) if rest.nodes.shape[1] else following


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
    if not bool((items >= 0).any()):
        return torch.full(items.shape, -torch.inf, device=device)
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
    # Nodes are numbered depth first, and each of these has one child.
    nodes = list(range(steps))
    if steps == 1:
        return nodes, states.new_zeros(batch)
    edges = Children(
        parents=torch.arange(batch * (steps - 1), device=states.device),
        tokens=torch.tensor(trie.common_prefix, device=states.device).repeat(batch),
        nodes=torch.tensor(nodes[1:], device=states.device).repeat(batch),
    )
    return nodes, edge_scores(states[:, :-1].flatten(0, 1), edges).view(batch, -1).sum(1)
