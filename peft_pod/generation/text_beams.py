"""Beam search for texts, by a decoder that grows trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from .t5.decoder import NO_PARENT, DecodedTree
from .t5.weights import T5Weights
from .text_constraint import TextConstraint

_BLOCK_NUMBERS = 2**23
"""Logits that are held at once: 32 MiB in float32. The head's weights are read once for as many."""
_PART = 64
"""Logits of which the largest is taken before the largest of all are looked for."""


class Texts(NamedTuple):
    """The best text of each input.

    Attributes:
        tokens: of the text and the end-of-sequence token behind it, unless it is as long as it may be, filled up with
            end-of-sequence tokens; shape `(batch, longest)`.
        scores: log-probability of the tokens over their number; shape `(batch,)`.
    """

    tokens: torch.Tensor
    scores: torch.Tensor


def search_texts(
    tree: DecodedTree,
    weights: T5Weights,
    constraint: TextConstraint,
    *,
    leading: Sequence[int],
    num_beams: int,
) -> Texts:
    """Write the best text of each input as beam search of `generate` writes it by default, greedily with one beam.

    At each step the `2 * num_beams` best continuations of an input are looked at: of the first `num_beams` those that
    end are texts, and the best `num_beams` that do not end are followed. Texts are compared by log-probability over
    length. An input is done when it has `num_beams` texts, and the best beam, ended here, would not be better than the
    worst of them.

    Args:
        tree: of the inputs, empty.
        weights: of the model.
        constraint: what a text may hold, and how long it may be.
        leading: decoder tokens in front of a text.
        num_beams: how many beginnings are followed.
    """
    batch, device = tree.batch_size, weights.head.rows.device
    eos, longest = constraint.vocabulary.eos_token_id, constraint.max_tokens
    chain = torch.arange(NO_PARENT, len(leading) - 1, device=device).expand(batch, -1)
    states = tree.grow(torch.tensor(leading, device=device).expand(batch, -1), chain)[:, -1:]
    texts = torch.full((batch, longest), eos, device=device)
    text_scores = torch.full((batch,), -torch.inf, device=device)

    rows = torch.arange(batch, device=device)
    places = torch.full((batch, 1), tree.size - 1, device=device)
    scores = torch.zeros(batch, 1, device=device)
    written = torch.empty(batch, 1, 0, dtype=torch.long, device=device)
    is_empty = torch.ones(batch, 1, dtype=torch.bool, device=device)
    ended = torch.full((batch, num_beams, longest), eos, device=device)
    ended_scores = torch.full((batch, num_beams), -torch.inf, device=device)
    for length in range(1, longest + 1):
        gains, choices = _best_tokens(states, weights, constraint, is_empty, length - 1, most=2 * num_beams)
        best, order = (scores[:, :, None] + gains).flatten(1).topk(2 * num_beams, dim=1)
        parents = order.div(gains.shape[2], rounding_mode="floor")
        tokens = choices.flatten(1).gather(1, order)
        ends = (tokens == eos) | (length == longest)

        fresh = best.masked_fill(~ends, -torch.inf)[:, :num_beams] / length
        lines = torch.cat([written.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]], 2)
        filled = nn.functional.pad(lines[:, :num_beams], (0, longest - length), value=eos)
        ended_scores, kept = torch.cat([ended_scores, fresh], 1).topk(num_beams, dim=1)
        ended = torch.cat([ended, filled], 1).gather(1, kept[:, :, None].expand(-1, -1, longest))

        scores, going = best.masked_fill(ends, -torch.inf).topk(num_beams, dim=1)
        has_all = ended_scores[:, -1] > -torch.inf
        is_done = has_all if num_beams == 1 else has_all & (scores[:, 0] / length <= ended_scores[:, -1])
        is_done |= scores[:, 0] == -torch.inf
        texts[rows[is_done]], text_scores[rows[is_done]] = ended[is_done, 0], ended_scores[is_done, 0]
        if bool(is_done.all()):
            break
        if bool(is_done.any()):
            left = (~is_done).nonzero().flatten()
            tree.keep(left)
            rows, places, ended, ended_scores = rows[left], places[left], ended[left], ended_scores[left]
            scores, going, parents, tokens, lines, is_empty = (
                part[left] for part in (scores, going, parents, tokens, lines, is_empty)
            )
        parents, tokens = parents.gather(1, going), tokens.gather(1, going)
        written = lines.gather(1, going[:, :, None].expand(-1, -1, length))
        is_empty = constraint.still_empty(is_empty.gather(1, parents), tokens)
        above = tree.prune(places.gather(1, parents))
        size = tree.size
        states = tree.grow(tokens, above)
        places = torch.arange(size, tree.size, device=device).expand(len(rows), -1)
    return Texts(texts[:, : int((texts != eos).sum(1).amax()) + 1][:, :longest], text_scores)


def _best_tokens(
    states: torch.Tensor,
    weights: T5Weights,
    constraint: TextConstraint,
    is_empty: torch.Tensor,
    num_written: int,
    *,
    most: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that best follow each beam, and their log-probabilities, −inf where there are fewer.

    Args:
        states: the decoder's last ones, shape `(batch, beams, width)`.
        weights: of the model.
        constraint: says what may follow.
        is_empty: whether nothing but blanks is written, shape `(batch, beams)`.
        num_written: how many tokens are written.
        most: how many tokens to find.

    Returns:
        Log-probabilities and tokens, shape `(batch, beams, most)`.
    """
    rows = max(1, _BLOCK_NUMBERS // len(weights.head.rows))
    gains, choices = [], []
    for block, empty in zip(states.flatten(0, 1).split(rows), is_empty.flatten().split(rows), strict=True):
        logits = weights.head(block)
        sums = logits.logsumexp(dim=1, keepdim=True)
        # The model may have more tokens than the tokenizer, which are no text.
        logits = logits[:, : len(constraint.vocabulary.forbidden)]
        constraint.forbid_(logits, empty, num_written)
        best, tokens = _largest(logits, min(most, logits.shape[1]))
        if weights.dtype != torch.float32:
            # What tokens are told apart by is not rounded; which of them are looked at, and the sums, may be.
            exact = torch.einsum("nw,nkw->nk", block, weights.head.rows[tokens])
            best = exact.masked_fill(best == -torch.inf, -torch.inf)
        missing = most - best.shape[1]
        gains.append(nn.functional.pad(best - sums, (0, missing), value=-torch.inf))
        choices.append(nn.functional.pad(tokens, (0, missing)))
    shape = (*states.shape[:2], most)
    return torch.cat(gains).view(shape), torch.cat(choices).view(shape)


def _largest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest values of each row and their columns, as `topk` gives them, in a third of its time.

    The largest n lie in the n parts of a row whose largest values are the largest.

    Args:
        values: shape `(rows, columns)`.
        count: how many to find.

    Returns:
        Shape `(rows, count)` each.
    """
    whole = values.shape[1] // _PART
    if whole <= 2 * count:
        return values.topk(count, dim=1)
    parts = values[:, : whole * _PART].unflatten(1, (whole, _PART)).amax(2).topk(count, dim=1).indices
    columns = (parts[:, :, None] * _PART + torch.arange(_PART, device=values.device)).flatten(1)
    rest = torch.arange(whole * _PART, values.shape[1], device=values.device).expand(len(values), -1)
    columns = torch.cat([columns, rest], dim=1)
    largest, places = values.gather(1, columns).topk(count, dim=1)
    return largest, columns.gather(1, places)
