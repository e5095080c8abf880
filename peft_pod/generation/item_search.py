"""Finding and scoring items under a model: fast where the model is of T5's type, else by `generate`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from .beam_search import ItemBeams, check_search, leading_tokens, search_items
from .edge_scores import EdgeScores, Normaliser, check_normaliser
from .forced_scores import force_items
from .item_filter import ItemFilter, ItemLists, ItemSet
from .t5 import T5Inference, T5Weights, why_not
from .tree_search import score_items, search_tree
from .trie import ItemTrie

Method = Literal["auto", "fast", "generate"]
Precision = Literal["float32", "bfloat16"]

_PAIRS_OF_NODES = 2**21
_LOGGER = logging.getLogger(__name__)


class ItemSearch:
    """Searches the items of a trie under a model.

    Args:
        model: an encoder-decoder of transformers, or a `PeftModel` around one.
        trie: the items' tokens.
        method: `"fast"` for T5, mT5 and UMT5 (flan-T5 and byT5 are of type T5), `"generate"` for any model;
            `"auto"` takes the former where it can. Both find the same.
        precision: of products and attention in the fast method; with `"generate"` the model's own type counts.
        normaliser: see `EdgeScores`.

    Raises:
        ValueError: an argument is none of what it may be, or `"fast"` does not cover the model.

    Example:
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        ...                   decoder_start_token_id=0)
        >>> search = ItemSearch(T5ForConditionalGeneration(config), ItemTrie([[7, 8], [7, 9], [7]], eos_token_id=1))
        >>> inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 1]])}
        >>> found = search(inputs, k=2, num_beams=3, exclude=[[2]])
        >>> sorted(found.items[0].tolist())
        [0, 1]
    """

    def __init__(
        self,
        model: Any,
        trie: ItemTrie,
        *,
        method: Method = "auto",
        precision: Precision = "float32",
        normaliser: Normaliser = "vocabulary",
    ) -> None:
        check_method(method)
        check_precision(precision)
        check_normaliser(normaliser)
        self.model = model
        self.trie = trie
        self.normaliser = normaliser
        reason = "it was asked for" if method == "generate" else why_not(model)
        if reason and method == "fast":
            raise ValueError(f'method="fast" does not cover this model: {reason}; use "auto" or "generate"')
        if reason:
            _LOGGER.debug("items are searched by generate: %s", reason)
        self._fast = None if reason else T5Inference(model, getattr(torch, precision))
        self._scores: tuple[T5Weights, EdgeScores] | None = None

    @property
    def is_fast(self) -> bool:
        """Whether the fast method is used."""
        return self._fast is not None

    @property
    def inference(self) -> T5Inference | None:
        """What the fast method runs on; `None` where `generate` is used."""
        return self._fast

    @torch.no_grad()
    def __call__(
        self,
        inputs: Mapping[str, Any],
        *,
        k: int,
        num_beams: int,
        only: ItemLists | ItemSet | None = None,
        exclude: ItemLists | None = None,
        decoder_prefix: Sequence[int] | None = None,
    ) -> ItemBeams:
        """Find the k best items of each input by beam search.

        Args:
            inputs: see `search_items`.
            k: how many items to find.
            num_beams: how many beginnings of IDs are followed at once for each input, at least `k`.
            only: the items that may be found, see `ItemFilter`; all items where it is left out.
            exclude: for each input items that may not be found.
            decoder_prefix: see `search_items`.

        Raises:
            ValueError: an argument does not fit the others, or no item may be found for an input.
        """
        batch_size, device = check_search(inputs, k, num_beams)
        trie = self.trie = self.trie.to(device)
        allowed = ItemFilter(trie, batch_size=batch_size, only=only, exclude=exclude)
        if self._fast is None:
            return search_items(
                self.model,
                inputs,
                trie,
                k=k,
                num_beams=num_beams,
                allowed_items=allowed,
                decoder_prefix=decoder_prefix,
                renormalise=self.normaliser == "children",
            )
        encoded = self._fast.encode(inputs)
        items, scores = search_tree(
            encoded.tree(),
            self._edge_scores(encoded.weights),
            trie,
            allowed,
            leading=_leading(self._fast, decoder_prefix),
            k=k,
            num_beams=num_beams,
        )
        return ItemBeams(items, scores)

    @torch.no_grad()
    def score(
        self, inputs: Mapping[str, Any], items: torch.Tensor, *, decoder_prefix: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The log-probability of listed items, exactly.

        The fast method takes one pass of the decoder over the tree of their tokens. Of any other model, each item's
        tokens are given to the decoder, see `force_items`.

        Args:
            inputs: see `search_items`.
            items: by position, −1 for none; shape `(batch, listed)`.
            decoder_prefix: see `search_items`.

        Returns:
            Log-probabilities, −inf for none; shape `(batch, listed)`.
        """
        if self._fast is None:
            return force_items(
                self.model,
                inputs,
                self.trie,
                items,
                decoder_prefix=decoder_prefix,
                renormalise=self.normaliser == "children",
            )
        trie = self.trie = self.trie.to(items.device)
        encoded = self._fast.encode(inputs)
        edge_scores = self._edge_scores(encoded.weights)
        leading = _leading(self._fast, decoder_prefix)
        # Every node of a tree is asked whether it sees every other.
        nodes = items.shape[1] * trie.max_depth
        rows = max(1, _PAIRS_OF_NODES // nodes**2)
        scores = [
            score_items(part.tree(), edge_scores, trie, listed, leading=leading)
            for part, listed in zip(encoded.split(rows), items.split(rows), strict=True)
        ]
        return torch.cat(scores)

    def _edge_scores(self, weights: T5Weights) -> EdgeScores:
        if self._scores is None or self._scores[0] is not weights:
            self._scores = weights, EdgeScores(weights, self.trie, self.normaliser)
        return self._scores[1]


def _leading(fast: T5Inference, decoder_prefix: Sequence[int] | None) -> list[int]:
    return leading_tokens(fast.base) if decoder_prefix is None else list(decoder_prefix)


def check_method(method: str) -> None:
    """Check the name of a method.

    Raises:
        ValueError: it is none.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {list(get_args(Method))}, got {method!r}")


def check_precision(precision: str) -> None:
    """Check the name of a precision.

    Raises:
        ValueError: it is none.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {list(get_args(Precision))}, got {precision!r}")
