"""Scores of all children of one node, against the scores of single edges."""

from __future__ import annotations

from typing import cast, get_args

import pytest
import torch

from peft_pod.generation.edge_scores import EdgeScores, Normaliser
from peft_pod.generation.t5.head import Head
from peft_pod.generation.t5.weights import T5Weights
from peft_pod.generation.trie import Children, ItemTrie

VOCABULARY, WIDTH, INPUTS = 40, 8, 5


class Weights:
    """What the scores need of a model's weights."""

    def __init__(self, rows: torch.Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.head = Head(rows, dtype)


def make_scores(trie: ItemTrie, normaliser: Normaliser, dtype: torch.dtype) -> EdgeScores:
    rows = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(1))
    return EdgeScores(cast(T5Weights, Weights(rows, dtype)), trie, normaliser)


@pytest.mark.parametrize("prefix", [[], [3]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("normaliser", get_args(Normaliser))
def test_siblings_score_as_their_edges_do(normaliser: Normaliser, dtype: torch.dtype, prefix: list[int]) -> None:
    trie = ItemTrie([[*prefix, token, *[9] * (token % 3)] for token in range(5, 30, 2)], eos_token_id=1)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(INPUTS, WIDTH, generator=generator)
    children = trie.children(trie.walk(torch.tensor([prefix], dtype=torch.long)))
    for allowed in (None, torch.rand(INPUTS, len(children.nodes), generator=generator) < 0.6):
        keep = torch.ones(INPUTS, len(children.nodes), dtype=torch.bool) if allowed is None else allowed
        rows, columns = keep.nonzero().T
        edges = Children(rows, children.tokens[columns], children.nodes[columns])
        level = len(prefix)
        expected = torch.full(keep.shape, -torch.inf)
        expected[rows, columns] = make_scores(trie, normaliser, dtype)(states, edges, level)
        found = make_scores(trie, normaliser, dtype).of_siblings(states, children.tokens, allowed, level)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert found.dtype == torch.float32
