"""Writing texts under a model: fast where the model is of T5's type, else by `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList

from .beam_search import check_search, leading_tokens, written_scores
from .evaluating import evaluating
from .own_settings import OwnSettings
from .t5 import T5Inference
from .text_beams import Texts, search_texts
from .text_constraint import TextConstraint, TextVocabulary


class TextSearch:
    """Writes texts under a model.

    Args:
        model: an encoder-decoder of transformers, or a `PeftModel` around one.
        vocabulary: which tokens are text.
        inference: of the model, for the fast method, as `ItemSearch` has it; `None`: `generate` is used. Both write the
            same.

    Example:
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        ...                   decoder_start_token_id=0)
        >>> model = T5ForConditionalGeneration(config).eval()
        >>> special = torch.arange(20) < 2
        >>> search = TextSearch(model, TextVocabulary(special & (torch.arange(20) != 1), special, eos_token_id=1),
        ...                     T5Inference(model))
        >>> inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 1]])}
        >>> search(inputs, num_beams=3, min_tokens=2, max_tokens=2).tokens.shape
        torch.Size([1, 2])
    """

    def __init__(self, model: Any, vocabulary: TextVocabulary, inference: T5Inference | None = None) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.inference = inference

    @torch.no_grad()
    def __call__(
        self,
        inputs: Mapping[str, Any],
        *,
        num_beams: int,
        min_tokens: int,
        max_tokens: int,
        decoder_prefix: Sequence[int] | None = None,
    ) -> Texts:
        """Write the best text of each input by beam search, greedily with one beam.

        Args:
            inputs: see `search_items`.
            num_beams: how many beginnings of texts are followed at once for each input.
            min_tokens: the fewest tokens of a text, see `TextConstraint`.
            max_tokens: the most.
            decoder_prefix: see `search_items`.

        Raises:
            ValueError: an argument does not fit the others.
        """
        check_search(inputs, 1, num_beams)
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        leading = leading_tokens(base) if decoder_prefix is None else list(decoder_prefix)
        constraint = TextConstraint(self.vocabulary, min_tokens, max_tokens, len(leading))
        if self.inference is not None:
            encoded = self.inference.encode(inputs)
            return search_texts(encoded.tree(), encoded.weights, constraint, leading=leading, num_beams=num_beams)
        return self._by_generate(inputs, constraint, leading, num_beams)

    def _by_generate(
        self, inputs: Mapping[str, Any], constraint: TextConstraint, leading: Sequence[int], num_beams: int
    ) -> Texts:
        eos = self.vocabulary.eos_token_id
        given = torch.tensor(leading, device=inputs["attention_mask"].device).expand(len(inputs["attention_mask"]), -1)
        with evaluating(self.model):
            output = self.model.generate(
                **inputs,
                decoder_input_ids=given,
                generation_config=OwnSettings(
                    max_new_tokens=constraint.max_tokens,
                    do_sample=False,
                    num_beams=num_beams,
                    eos_token_id=eos,
                    pad_token_id=eos,
                    decoder_start_token_id=leading[0],
                    return_dict_in_generate=True,
                    output_scores=num_beams > 1,
                    output_logits=num_beams == 1,
                ),
                logits_processor=LogitsProcessorList([constraint]),
            )
        tokens = output.sequences[:, len(leading) :]
        if num_beams > 1:
            return Texts(tokens, output.sequences_scores)
        lengths = ((tokens != eos).sum(dim=1) + 1).clamp(max=constraint.max_tokens)
        return Texts(tokens, written_scores(output.logits, tokens, eos) / lengths)
