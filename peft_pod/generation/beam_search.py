"""Beam search for items: the best items of each input under the model, by the trie of the items' tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from .constraint import TrieConstraint
from .evaluating import evaluating
from .item_filter import ItemFilter
from .own_settings import OwnSettings
from .trie import ItemTrie

_UNFINISHED = -5e8
"""Beam search marks what is no finished sequence by scores of about −1e9; no sum of log-probabilities comes near."""


class ItemBeams(NamedTuple):
    """The items found for each input, best first.

    Attributes:
        items: positions of the items in the catalogue, −1 where fewer items were allowed; shape `(batch, k)`.
        scores: log-probability of each item's tokens, end-of-sequence token included; −inf where `items` is −1;
            shape `(batch, k)`.
    """

    items: torch.Tensor
    scores: torch.Tensor


@torch.no_grad()
def search_items(
    model: Any,
    inputs: Mapping[str, Any],
    trie: ItemTrie,
    *,
    k: int,
    num_beams: int,
    allowed_items: torch.Tensor | ItemFilter | None = None,
    decoder_prefix: Sequence[int] | None = None,
    renormalise: bool = False,
) -> ItemBeams:
    """Find the k best items of each input by beam search.

    An item's score is the sum of the log-probabilities of its tokens and of the end-of-sequence token, under the
    model's softmax over its whole vocabulary. Only allowed items are found, each at most once. With at least as many
    beams as allowed items the result is exact; with fewer it is what beam search finds. The model's own generation
    settings (lengths, penalties, sampling, forced tokens) are not used, and its training mode is kept.

    Args:
        model: an encoder-decoder of transformers, or a `PeftModel` around one.
        inputs: what the model's `forward` takes, without labels: `input_ids` (or `inputs_embeds`) and
            `attention_mask`, shape `(batch, length)`, and further arguments such as `task_id`.
        trie: the items' tokens.
        k: how many items to find.
        num_beams: how many beginnings of IDs are followed at once for each input, at least `k`.
        allowed_items: the items that may be found for each input, a filter of their number or a BoolTensor of shape
            `(batch, num_items)`; all items where it is left out.
        decoder_prefix: the decoder tokens in front of the ID, which have no part in the score. Where it is left out:
            the model's decoder start token, and its forced first token where it has one.
        renormalise: whether log-probabilities are those of a softmax over the tokens that lead to an allowed item.

    Returns:
        Items and scores.

    Raises:
        ValueError: an argument does not fit the others, or no item is allowed for an input; the message names it.

    Example:
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        ...                   decoder_start_token_id=0)
        >>> inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 1]])}
        >>> trie = ItemTrie([[7, 8], [7, 9], [7]], eos_token_id=1)
        >>> found = search_items(T5ForConditionalGeneration(config), inputs, trie, k=3, num_beams=3)
        >>> sorted(found.items[0].tolist())
        [0, 1, 2]
    """
    batch_size, device = check_search(inputs, k, num_beams)
    trie = trie.to(device)
    if isinstance(allowed_items, torch.Tensor):
        allowed_items = _filter_of(allowed_items, batch_size, trie)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    leading = leading_tokens(base) if decoder_prefix is None else list(decoder_prefix)
    if not leading:
        raise ValueError("decoder_prefix is empty: it must hold at least the token with which the decoder starts")

    # Every item begins with the common prefix: its score is the same for all items of an input and is known from one
    # pass over the inputs, before there are beams. The same pass gives the encoder's output and the cross-attention's
    # keys and values, once per input and not once per beam.
    given = torch.tensor([*leading, *trie.common_prefix], device=device).expand(batch_size, -1)
    with evaluating(model):
        start = model(**inputs, decoder_input_ids=given, use_cache=True, return_dict=True)
        prefix_scores = _token_scores(start.logits[:, len(leading) - 1 : -1], given[:, len(leading) :]).sum(dim=1)
        if renormalise:
            prefix_scores = torch.zeros_like(prefix_scores)  # there is no other token
        constraint = TrieConstraint(trie, num_beams, allowed_items, len(leading), renormalise=renormalise)
        output = model.generate(
            **{name: value for name, value in inputs.items() if name not in ("input_ids", "inputs_embeds")},
            encoder_outputs=BaseModelOutput(last_hidden_state=start.encoder_last_hidden_state),
            past_key_values=_beam_cache(start.past_key_values, base.config, num_beams),
            decoder_input_ids=given,
            generation_config=_search_config(base.generation_config.pad_token_id, trie, leading, k, num_beams),
            logits_processor=LogitsProcessorList([constraint]),
        )
    written = output.sequences[:, given.shape[1] :]
    if num_beams == 1:
        scores = written_scores(output.scores if renormalise else output.logits, written, trie.eos_token_id)
    else:
        scores = output.sequences_scores
    items = trie.item(trie.walk(output.sequences[:, len(leading) :]))
    found = (items >= 0) & (scores > _UNFINISHED)
    scores = scores.view(batch_size, k) + prefix_scores[:, None]
    found = found.view(batch_size, k)
    return ItemBeams(
        items=torch.where(found, items.view(batch_size, k), -1),
        scores=torch.where(found, scores, -torch.inf),
    )


def _search_config(
    pad_token_id: int | None, trie: ItemTrie, leading: Sequence[int], k: int, num_beams: int
) -> GenerationConfig:
    common: dict[str, Any] = {
        "max_length": len(leading) + trie.max_depth,
        "do_sample": False,
        "num_beams": num_beams,
        "num_return_sequences": k,
        "eos_token_id": trie.eos_token_id,
        "pad_token_id": trie.eos_token_id if pad_token_id is None else pad_token_id,
        "decoder_start_token_id": leading[0],
        "return_dict_in_generate": True,
    }
    if num_beams == 1:
        return OwnSettings(**common, output_logits=True, output_scores=True)
    # Log-probabilities only fall as an ID grows, so the search may end where no beam can still rise above what is
    # finished, which "never" means; other settings end it earlier or weigh the length.
    return OwnSettings(**common, output_scores=True, early_stopping="never", length_penalty=0.0)


class _BeamCache(EncoderDecoderCache):
    """A cache for beam search in which beams of one input share what they attend to in the encoder's output."""

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        # Beams only take the place of other beams of the same input, and those have the same cross-attention.
        self.self_attention_cache.reorder_cache(beam_idx)


def _beam_cache(cache: Any, config: Any, num_beams: int) -> EncoderDecoderCache | None:
    """Cross-attention of `cache` for every beam, with nothing decoded yet; `None` for models with their own cache."""
    if not isinstance(cache, EncoderDecoderCache):
        return None
    cache.cross_attention_cache.batch_repeat_interleave(num_beams)
    return _BeamCache(DynamicCache(config=config.get_text_config(decoder=True)), cache.cross_attention_cache)


def leading_tokens(base: Any) -> list[int]:
    """The decoder tokens with which a model starts.

    Raises:
        ValueError: its generation settings do not say.
    """
    own = base.generation_config
    start = own.bos_token_id if own.decoder_start_token_id is None else own.decoder_start_token_id
    if not isinstance(start, int):
        raise ValueError(
            f"the model's generation_config has decoder_start_token_id={own.decoder_start_token_id!r} and "
            f"bos_token_id={own.bos_token_id!r}, so it is not known how its decoder starts; pass decoder_prefix"
        )
    return [start] if own.forced_bos_token_id is None else [start, own.forced_bos_token_id]


def _token_scores(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of tokens: `(batch, length, vocabulary)` and `(batch, length)` to `(batch, length)`."""
    return logits.float().log_softmax(dim=-1).gather(-1, tokens[..., None]).squeeze(-1)


def written_scores(logits: Sequence[torch.Tensor], written: torch.Tensor, eos_token_id: int) -> torch.Tensor:
    """Scores of rows written greedily, up to and with their end-of-sequence token; shape `(rows,)`."""
    scores = _token_scores(torch.stack(tuple(logits), dim=1), written)
    is_eos = written == eos_token_id
    after_end = is_eos.cumsum(dim=1) - is_eos.long() > 0
    return scores.masked_fill(after_end, 0.0).sum(dim=1)


def check_search(inputs: Mapping[str, Any], k: int, num_beams: int) -> tuple[int, torch.device]:
    """Check inputs and numbers of a search; returns how many inputs there are, and where.

    Raises:
        ValueError: one of them cannot be used.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if num_beams < k:
        raise ValueError(f"num_beams={num_beams} beams can find {num_beams} items at most, but k={k} are asked for")
    given = [name for name in ("input_ids", "inputs_embeds") if name in inputs]
    if len(given) != 1 or "attention_mask" not in inputs:
        raise ValueError(
            "inputs must hold input_ids or inputs_embeds, and attention_mask (1 for tokens, 0 for padding); "
            f"it holds {sorted(inputs)}"
        )
    if "labels" in inputs:
        raise ValueError("inputs holds labels; a search is given the input alone, drop them")
    tensor = inputs[given[0]]
    return tensor.shape[0], tensor.device


def _filter_of(allowed_items: torch.Tensor, batch_size: int, trie: ItemTrie) -> ItemFilter:
    if allowed_items.dtype != torch.bool or allowed_items.shape != (batch_size, trie.num_items):
        raise ValueError(
            f"allowed_items must be a BoolTensor of shape ({batch_size}, {trie.num_items}), one row an input and one "
            f"column an item, got {allowed_items.dtype} of shape {tuple(allowed_items.shape)}"
        )
    forbidden = (~allowed_items.any(dim=1)).nonzero().flatten().tolist()
    if forbidden:
        raise ValueError(f"no item is allowed for row {forbidden[0]} of the batch (rows without any: {forbidden[:10]})")
    lists = [row.nonzero().flatten().numpy() for row in allowed_items.cpu()]
    return ItemFilter(trie, batch_size=batch_size, only=lists)
