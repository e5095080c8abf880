"""The search over the trie against beam search written in plain Python, with scores drawn at random for each edge."""

from __future__ import annotations

import random

import pytest
import torch

from peft_pod.generation.item_filter import ItemFilter
from peft_pod.generation.tree_search import search_tree
from peft_pod.generation.trie import Children, ItemTrie

EOS, START = 1, 0


class Tree:
    """Stands for the decoder: its state of a node is the node's input, and it counts what it is asked."""

    def __init__(self, batch: int) -> None:
        self.inputs = torch.arange(batch)
        self.size = 0
        self.decoded = 0

    def grow(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        assert tokens.shape == parents.shape
        assert len(tokens) == len(self.inputs)
        assert int(parents.max()) < self.size + tokens.shape[1]
        self.size += tokens.shape[1]
        self.decoded += tokens.numel()
        return self.inputs[:, None, None].expand(*tokens.shape, 1)

    def keep(self, inputs: torch.Tensor) -> None:
        self.inputs = self.inputs[inputs]


class Scores:
    """A number for each edge and input; ends are likely, as they are for a trained model."""

    def __init__(self, trie: ItemTrie, batch: int, generator: torch.Generator) -> None:
        self.trie = trie
        self.table = -3 * torch.rand(batch, trie.num_nodes, generator=generator)
        self.table[:, trie.leaf_nodes] *= 0.3

    def __call__(self, states: torch.Tensor, edges: Children, level: int | None = None) -> torch.Tensor:
        inputs = states.flatten()[edges.parents]
        return self.table[inputs, edges.nodes]

    def of_siblings(
        self, states: torch.Tensor, tokens: torch.Tensor, allowed: torch.Tensor | None, level: int
    ) -> torch.Tensor:
        node = self.trie.walk(torch.tensor([self.trie.common_prefix], dtype=torch.long))
        edges = self.trie.children(node)
        if not torch.equal(edges.tokens, tokens) or level != len(self.trie.common_prefix):
            raise AssertionError(f"asked for tokens {tokens.tolist()} at depth {level}")
        scores = self.table[states.flatten()][:, edges.nodes]
        return scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)


def plain_search(
    trie: ItemTrie, table: torch.Tensor, allowed: set[int], k: int, num_beams: int
) -> list[tuple[float, int]]:
    """Beam search for one input as `search_tree` describes it, with nothing given up."""

    def leads(node: int) -> bool:
        item = int(trie.item(torch.tensor(node)))
        return item in allowed if item >= 0 else any(leads(child) for child in children(node))

    def children(node: int) -> list[int]:
        return trie.children(torch.tensor([node])).nodes.tolist()

    beams = [(0.0, 0)]
    found: list[tuple[float, int]] = []
    while beams:
        following = [
            (score + float(table[child]), child) for score, node in beams for child in children(node) if leads(child)
        ]
        following = sorted(following, reverse=True)[: 2 * num_beams]
        items = [int(trie.item(torch.tensor(node))) for _, node in following]
        ranked = list(zip(following, items, strict=True))
        found += [(score, item) for (score, _), item in ranked[:num_beams] if item >= 0]
        beams = [beam for beam, item in ranked if item < 0][:num_beams]
    return sorted(found, reverse=True)[:k]


@pytest.mark.parametrize("seed", range(40))
def test_finds_what_plain_beam_search_finds(seed: int) -> None:
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    prefix = [9] * rng.randint(0, 2)
    tokens, depth = rng.randint(2, 9), rng.randint(1, 4)
    shortest = rng.choice([1, depth])
    items = {(*prefix, *(rng.randint(10, 9 + tokens) for _ in range(rng.randint(shortest, depth)))) for _ in range(60)}
    trie = ItemTrie([list(item) for item in items], EOS)
    batch = 4
    num_beams = rng.randint(1, 12)
    k = rng.randint(1, num_beams)
    only = [rng.sample(range(len(items)), rng.randint(1, len(items))) for _ in range(batch)]
    tree, scores = Tree(batch), Scores(trie, batch, generator)
    found, found_scores = search_tree(
        tree, scores, trie, ItemFilter(trie, batch_size=batch, only=only), leading=[START], k=k, num_beams=num_beams
    )
    for row in range(batch):
        expected = plain_search(trie, scores.table[row], set(only[row]), k, num_beams)
        assert found[row, : len(expected)].tolist() == [item for _, item in expected]
        assert found[row, len(expected) :].tolist() == [-1] * (k - len(expected))
        torch.testing.assert_close(found_scores[row, : len(expected)], torch.tensor([score for score, _ in expected]))


def test_beams_that_have_no_chance_any_more_are_not_decoded() -> None:
    trie = ItemTrie([[first, second] for first in range(10, 20) for second in range(10, 20)], EOS)
    tree, scores = Tree(1), Scores(trie, 1, torch.Generator().manual_seed(0))
    scores.table[:, trie.leaf_nodes] = 0.0
    search_tree(tree, scores, trie, ItemFilter(trie, batch_size=1), leading=[START], k=5, num_beams=20)
    # The start, ten first tokens, and of the twenty beams that have both tokens the five that end with the best items.
    assert tree.decoded == 1 + 10 + 5


def test_an_end_that_may_be_pushed_out_rules_no_beam_out() -> None:
    items = [[10], [11], [12, 20], [12, 21], [12, 22], [13, 23]]
    trie = ItemTrie(items, EOS)
    tree, scores = Tree(1), Scores(trie, 1, torch.Generator())
    likely = {
        (10,): -1.0,
        (10, EOS): -3.0,
        (11,): -0.5,
        (11, EOS): -0.5,
        (12,): -2.0,
        **{(12, token): -0.1 for token in (20, 21, 22)},
        **{(12, token, EOS): -7.0 for token in (20, 21, 22)},
        (13,): -5.0,
        (13, 23): -0.1,
        (13, 23, EOS): -0.1,
    }
    for path, score in likely.items():
        scores.table[0, trie.walk(torch.tensor([path]))] = score
    found, _ = search_tree(tree, scores, trie, ItemFilter(trie, batch_size=1), leading=[START], k=2, num_beams=4)
    # The end of item 0 is fifth behind that of item 1 and three beams, so it is not found, and item 5 is.
    assert found.tolist() == [[1, 5]]
    assert [item for _, item in plain_search(trie, scores.table[0], set(range(6)), 2, 4)] == [1, 5]
