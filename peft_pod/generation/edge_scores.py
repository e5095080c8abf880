"""Log-probabilities of the tokens that lead from nodes of the trie to their children."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from .t5.linear import Dense
from .t5.weights import T5Weights
from .trie import ROOT, Children, ItemTrie

Normaliser = Literal["vocabulary", "children"]

_BLOCK_NUMBERS = 2**21
"""Logits that are held at once: 8 MiB in float32."""
_GATHERED = 128
"""Products of a row with a token that take as long as fetching the weight of one token for one row."""

_MANY = 16
"""The vocabulary over the tokens of a depth of the trie, from which on their logits are cheap to have twice."""


def check_normaliser(normaliser: str) -> None:
    """Check its name.

    Raises:
        ValueError: it is none.
    """
    if normaliser not in get_args(Normaliser):
        raise ValueError(f"normaliser must be one of {list(get_args(Normaliser))}, got {normaliser!r}")


class EdgeScores:
    """Scores the edges of a trie under a model.

    Args:
        weights: of the model.
        trie: the items.
        normaliser: `"vocabulary"`: log-probabilities are those of the model's softmax over all its tokens, as
            `generate` has them; `"children"`: of a softmax over the tokens that lead on in the trie, as `generate` has
            them with `renormalize_logits=True`. The latter saves a part of the decoder's work and ranks differently.
    """

    def __init__(self, weights: T5Weights, trie: ItemTrie, normaliser: Normaliser = "vocabulary") -> None:
        check_normaliser(normaliser)
        self._weights = weights
        self._trie = trie
        self._normaliser = normaliser
        self._levels: dict[int, tuple[torch.Tensor, Dense]] = {}

    def __call__(self, states: torch.Tensor, edges: Children, level: int | None = None) -> torch.Tensor:
        """The log-probability of each edge.

        Args:
            states: what the decoder makes of the path to each node, shape `(nodes, width)`.
            edges: what leads on; `edges.parents` says which of the states an edge starts from, in ascending order.
                Normalised over children, those are meant that are here.
            level: the depth of the nodes, where they all have the same.

        Returns:
            Float32, shape `(edges,)`.
        """
        if self._normaliser == "children":
            logits = self._logits(states, edges, level)
            return logits - _log_sum_exp(logits, edges.parents, len(states))
        if self._weights.dtype == torch.float32 and not self._has_few_tokens(level):
            return self._by_all_logits(states, edges)
        # What items are told apart by is never rounded; the sums over the vocabulary may be.
        return self._logits(states, edges, level) - self._weights.head.log_sums(states)[edges.parents]

    def of_siblings(
        self, states: torch.Tensor, tokens: torch.Tensor, allowed: torch.Tensor | None, level: int
    ) -> torch.Tensor:
        """The log-probability of each child of one node, at which several inputs stand.

        Args:
            states: what the decoder makes of the path to the node for each input, shape `(inputs, width)`.
            tokens: that lead to all its children, ascending; shape `(children,)`.
            allowed: which children each input may take, shape `(inputs, children)`; all where it is left out.
            level: the depth of the node, which is the only one there.

        Returns:
            Float32, −inf where it is not allowed; shape `(inputs, children)`.
        """
        if self._normaliser == "vocabulary" and self._weights.dtype == torch.float32:
            heads = (self._weights.head(block) for block in self._blocks(states))
            scores = torch.cat([logits[:, tokens] - logits.logsumexp(dim=-1, keepdim=True) for logits in heads])
            return scores if allowed is None else scores.masked_fill_(~allowed, -torch.inf)
        logits = self._level(level)[1](states).float()
        if self._normaliser == "vocabulary":
            scores = logits - self._weights.head.log_sums(states)[:, None]
            return scores if allowed is None else scores.masked_fill_(~allowed, -torch.inf)
        logits = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        return logits - logits.logsumexp(dim=-1, keepdim=True)

    def _has_few_tokens(self, level: int | None) -> bool:
        """Whether the logits of all tokens that lead on from a depth are little work beside those of the vocabulary."""
        return level is not None and _MANY * len(self._level(level)[0]) <= len(self._weights.head.rows)

    def _blocks(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return states.split(max(1, _BLOCK_NUMBERS // len(self._weights.head.rows)))

    def _by_all_logits(self, states: torch.Tensor, edges: Children) -> torch.Tensor:
        scores = torch.empty(len(edges.parents), dtype=torch.float32, device=states.device)
        blocks = self._blocks(states)
        bounds = torch.tensor([0, *map(len, blocks)], device=states.device).cumsum(0)
        cuts = torch.searchsorted(edges.parents, bounds).tolist()
        for number, block in enumerate(blocks):
            logits = self._weights.head(block)
            sums = logits.logsumexp(dim=-1)
            here = slice(cuts[number], cuts[number + 1])
            rows = edges.parents[here] - bounds[number]
            scores[here] = logits[rows, edges.tokens[here]] - sums[rows]
        return scores

    def _logits(self, states: torch.Tensor, edges: Children, level: int | None) -> torch.Tensor:
        """The logit of each edge in float32, by whichever way has less to do."""
        if level is not None:
            tokens, dense = self._level(level)
            if len(states) * len(tokens) <= _GATHERED * len(edges.parents):
                columns = torch.searchsorted(tokens, edges.tokens.contiguous())
                return dense(states)[edges.parents, columns]
        logits = torch.empty(len(edges.parents), dtype=torch.float32, device=states.device)
        size = max(1, _BLOCK_NUMBERS // states.shape[-1])
        for start in range(0, len(logits), size):
            here = slice(start, start + size)
            rows = self._weights.head.rows[edges.tokens[here]]
            logits[here] = (states[edges.parents[here]] * rows).sum(-1)
        return logits

    def _level(self, level: int) -> tuple[torch.Tensor, Dense]:
        """The tokens that lead on from any node of a depth, ascending, and their rows of the head."""
        if level not in self._levels:
            nodes = torch.tensor([ROOT], device=self._trie.device)
            for _ in range(level):
                nodes = self._trie.children(nodes).nodes
            tokens = self._trie.children(nodes).tokens.unique()
            self._levels[level] = tokens, Dense(self._weights.head.rows[tokens])
        return self._levels[level]


def _log_sum_exp(values: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
    """Of the values of each value's group; shape of the values."""
    largest = values.new_full((num_groups,), -torch.inf).scatter_reduce(0, groups, values, "amax")
    sums = torch.zeros_like(largest).index_add(0, groups, (values - largest[groups]).exp())
    return (largest + sums.log())[groups]
