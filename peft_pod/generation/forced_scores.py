"""Exact scores of listed items under any encoder-decoder: the decoder is given each item's tokens."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from .beam_search import check_search, leading_tokens
from .evaluating import evaluating
from .item_filter import ItemFilter
from .trie import ROOT, ItemTrie

_BLOCK_NUMBERS = 2**24
"""Logits that are held at once: 64 MiB in float32."""


@torch.no_grad()
def force_items(
    model: Any,
    inputs: Mapping[str, Any],
    trie: ItemTrie,
    items: torch.Tensor,
    *,
    decoder_prefix: Sequence[int] | None = None,
    renormalise: bool = False,
) -> torch.Tensor:
    """The log-probability of each listed item, by giving the decoder its tokens as in training.

    The encoder runs once for each input, and its keys and values in the decoder are shared by all items of an input
    where the model has a cache for them. Items of the same number of tokens go through the decoder together, so that
    nothing is padded.

    Args:
        model: see `search_items`.
        inputs: see `search_items`.
        trie: all items' tokens.
        items: by position, −1 for none; shape `(batch, listed)`.
        decoder_prefix: see `search_items`.
        renormalise: whether log-probabilities are those of a softmax over the tokens that lead to a listed item.

    Returns:
        Log-probabilities, float32, −inf for none; shape `(batch, listed)`.

    Raises:
        ValueError: `inputs` do not fit.

    Example:
        >>> from transformers import BartConfig, BartForConditionalGeneration
        >>> config = BartConfig(vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8,
        ...                     decoder_ffn_dim=8, encoder_attention_heads=2, decoder_attention_heads=2)
        >>> inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 1]])}
        >>> trie = ItemTrie([[7, 8], [7, 9], [7]], eos_token_id=2)
        >>> force_items(BartForConditionalGeneration(config), inputs, trie, torch.tensor([[2, 0, -1]])).isfinite()
        tensor([[ True,  True, False]])
    """
    _, device = check_search(inputs, 1, 1)
    trie = trie.to(device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    leading = leading_tokens(base) if decoder_prefix is None else list(decoder_prefix)
    found = torch.full(items.shape, -torch.inf, device=device)
    with evaluating(model):
        given = torch.tensor([leading], device=device).expand(len(items), -1)
        start = model(**inputs, decoder_input_ids=given, use_cache=True, return_dict=True)
        for row, listed in enumerate(items):
            places = (listed >= 0).nonzero().flatten()
            if not len(places):
                continue
            here = listed[places]
            allowed = ItemFilter(trie, batch_size=1, only=[here.cpu().numpy()]) if renormalise else None
            most = _BLOCK_NUMBERS // start.logits.shape[-1]
            for some, nodes in _alike(trie.paths(here), most):
                tokens = trie.tokens[nodes[:, 1:]]
                prefix = given[:1].expand(len(tokens), -1)
                logits = model(
                    **_of_row(inputs, start, base, row, len(tokens)),
                    decoder_input_ids=torch.cat([prefix, tokens[:, :-1]], dim=1),
                    return_dict=True,
                ).logits[:, len(leading) - 1 :]
                logits = logits.float()
                scores = logits.gather(-1, tokens[..., None]).squeeze(-1)
                if allowed is not None:
                    logits = _leading_on(logits, trie, allowed, nodes[:, :-1])
                found[row, places[some]] = (scores - logits.logsumexp(dim=-1)).sum(dim=1)
    return found


def _alike(paths: torch.Tensor, most: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Parts of paths that are equally long, from the root on, and which they are; about `most` nodes at once."""
    lengths = (paths != ROOT).sum(dim=1)
    for length in lengths.unique().tolist():
        alike = (lengths == length).nonzero().flatten()
        for some in alike.split(max(1, most // length)):
            yield some, paths[some, -length - 1 :]


def _of_row(inputs: Mapping[str, Any], start: Any, base: Any, row: int, count: int) -> dict[str, Any]:
    """What the model is given besides decoder tokens: one input, as often as there are items."""
    call = {
        name: value[row : row + 1].expand(count, *value.shape[1:])
        if isinstance(value, torch.Tensor) and value.ndim
        else value
        for name, value in inputs.items()
        if name not in ("input_ids", "inputs_embeds")
    }
    encoded = start.encoder_last_hidden_state[row : row + 1].expand(count, -1, -1)
    call["encoder_outputs"] = BaseModelOutput(last_hidden_state=encoded)
    if isinstance(start.past_key_values, EncoderDecoderCache):
        cross = copy.copy(start.past_key_values.cross_attention_cache)
        cross.layers = [copy.copy(layer) for layer in cross.layers]
        for layer in cross.layers:
            layer.keys, layer.values = (
                numbers[row : row + 1].expand(count, -1, -1, -1) for numbers in (layer.keys, layer.values)
            )
        own = DynamicCache(config=base.config.get_text_config(decoder=True))
        call["past_key_values"] = EncoderDecoderCache(own, cross)
    return call


def _leading_on(logits: torch.Tensor, trie: ItemTrie, allowed: ItemFilter, nodes: torch.Tensor) -> torch.Tensor:
    """Logits of the tokens that lead from each node to an allowed item, −inf of others."""
    places, tokens, children = trie.children(nodes.flatten())
    keep = allowed.leads_to_item(torch.zeros_like(children), children)
    places, tokens = places[keep], tokens[keep]
    flat = logits.flatten(0, 1)
    masked = torch.full_like(flat, -torch.inf)
    masked[places, tokens] = flat[places, tokens]
    return masked.view_as(logits)
