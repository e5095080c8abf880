"""Keeps what `generate` writes on the item trie: every finished sequence is an allowed item."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor

from .item_filter import ItemFilter
from .trie import NO_NODE, ItemTrie


class TrieConstraint(LogitsProcessor):
    """Sets the score of every token to −inf but of those that lead to an allowed item.

    Allowed scores are left as they are, so the score of a beam stays the model's own. Rows that have come to their
    end, or that have left the trie (the beams that beam search carries along when fewer tokens are allowed than it
    has beams), may only write the end-of-sequence token.

    Of beams of one input that hold the same tokens, as all do at the first step, only the first may go on. Beam search
    means the same by starting the others at a score of −1e9, but where fewer continuations are allowed than it has
    beams, it would still carry the copies along.

    Args:
        trie: the items.
        num_beams: beams per input; the rows of `generate` are inputs times beams, beams of an input side by side.
        allowed: the items that may be written for each input; all items where it is left out.
        num_leading_tokens: how many decoder tokens stand in front of the ID: the decoder's start token, and for some
            models more (mBART: the language).
        renormalise: whether scores become log-probabilities of a softmax over the tokens that may be written.

    Raises:
        ValueError: `num_beams` or `num_leading_tokens` is below 1. On call: the rows do not fit `allowed` and
            `num_beams`, or the vocabulary is too small for the trie.

    Example:
        >>> constraint = TrieConstraint(ItemTrie([[2, 3], [4]], eos_token_id=1), num_beams=1)
        >>> constraint(torch.tensor([[0], [0]]), torch.zeros(2, 5))
        tensor([[-inf, -inf, 0., -inf, 0.],
                [-inf, -inf, 0., -inf, 0.]])
        >>> constraint(torch.tensor([[0, 2], [0, 4]]), torch.zeros(2, 5))
        tensor([[-inf, -inf, -inf, 0., -inf],
                [-inf, 0., -inf, -inf, -inf]])
    """

    def __init__(
        self,
        trie: ItemTrie,
        num_beams: int,
        allowed: ItemFilter | None = None,
        num_leading_tokens: int = 1,
        *,
        renormalise: bool = False,
    ) -> None:
        for name, value in (("num_beams", num_beams), ("num_leading_tokens", num_leading_tokens)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.trie = trie
        self.num_beams = num_beams
        self.num_leading_tokens = num_leading_tokens
        self.renormalise = renormalise
        self.allowed = allowed

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the scores of the next token.

        Args:
            input_ids: what the decoder has been given so far, shape `(batch × num_beams, length)`.
            scores: scores of the next token, shape `(batch × num_beams, vocabulary)`; not changed.

        Returns:
            The masked scores, a tensor of its own.
        """
        self._check(input_ids, scores)
        nodes = self.trie.walk(input_ids[:, self.num_leading_tokens :])
        rows, tokens, children = self.trie.children(torch.where(self._is_copy(nodes), NO_NODE, nodes))
        if self.allowed is not None and not self.allowed.allows_all:
            keep = self.allowed.leads_to_item(rows // self.num_beams, children)
            rows, tokens = rows[keep], tokens[keep]

        masked = torch.full_like(scores, -torch.inf)
        masked[rows, tokens] = scores[rows, tokens]
        over = (self.trie.item(nodes) >= 0) | (nodes == NO_NODE)
        eos = self.trie.eos_token_id
        masked[:, eos] = torch.where(over, scores[:, eos], masked[:, eos])
        if not self.renormalise:
            return masked
        total = masked.logsumexp(dim=1, keepdim=True)
        # Copies may write nothing at all.
        return masked - total.masked_fill(total == -torch.inf, 0.0)

    def _is_copy(self, nodes: torch.Tensor) -> torch.Tensor:
        """Whether an earlier beam of the same input stands at the same node; shape of `nodes`."""
        beams = nodes.view(-1, self.num_beams)
        same = beams[:, :, None] == beams[:, None, :]
        return same.tril(diagonal=-1).any(dim=2).view(-1)

    def _check(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        rows, length = input_ids.shape
        if length < self.num_leading_tokens:
            raise ValueError(
                f"the decoder has {length} tokens, but num_leading_tokens={self.num_leading_tokens} of them "
                "should stand in front of the ID"
            )
        if rows % self.num_beams:
            raise ValueError(f"there are {rows} rows, which is no multiple of num_beams={self.num_beams}")
        if self.allowed is not None and rows != self.allowed.batch_size * self.num_beams:
            raise ValueError(
                f"there are {rows} rows, but allowed is for {self.allowed.batch_size} inputs and num_beams is "
                f"{self.num_beams}, which makes {self.allowed.batch_size * self.num_beams}"
            )
        if scores.shape[1] <= self.trie.max_token:
            raise ValueError(
                f"the trie has token {self.trie.max_token}, but the model's vocabulary ends at {scores.shape[1] - 1}; "
                "do the tokenizer and the model belong together?"
            )
