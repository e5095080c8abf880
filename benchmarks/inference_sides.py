"""The two sides of `benchmarks.inference`: what a user of transformers would write, and the fast method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from transformers import LogitsProcessorList

from peft_pod.generation.item_search import ItemSearch
from peft_pod.generation.t5 import T5Inference
from peft_pod.generation.text_constraint import TextConstraint, TextVocabulary
from peft_pod.generation.text_search import TextSearch
from peft_pod.generation.trie import ItemTrie
from peft_pod.tasks import Sample

from .inference_setup import Asked, listed

BEAMS, TOP, TEXT_BEAMS = 20, 10, 7
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Inputs = Mapping[str, torch.Tensor]


class Answers(NamedTuple):
    """Of each input the items or the tokens of the text, −1 for none, and their scores."""

    values: torch.Tensor
    scores: torch.Tensor


class Side(Protocol):
    """Answers a batch."""

    def __call__(self, batch: Inputs, samples: Sequence[Sample]) -> Answers:
        """Answer the inputs, which were made from the samples."""
        ...


def sides(asked: Asked) -> tuple[dict[str, Side], dict[str, Callable[[Inputs], Any]]]:
    """By name: `generate`, the fast method in both precisions, and beside it the encoder alone in both."""
    fast = {name: T5Inference(asked.model, dtype) for name, dtype in PRECISIONS.items()}
    encoders: dict[str, Callable[[Inputs], Any]] = {name: inference.encode for name, inference in fast.items()}
    if asked.task == "explanation":
        return _text_sides(asked, fast), encoders
    trie = ItemTrie(asked.processor.item_tokens(), asked.processor.tokenizer.eos_token_id)
    return {"generate": _items_by_generate(asked.model, trie), **_items_fast(asked.model, trie)}, encoders


def _items_fast(model: Any, trie: ItemTrie) -> dict[str, Side]:
    def side(search: ItemSearch) -> Side:
        def find(batch: Inputs, samples: Sequence[Sample]) -> Answers:
            return Answers(*search(batch, k=TOP, num_beams=BEAMS, only=listed(samples)))

        return find

    return {
        "fp32": side(ItemSearch(model, trie, method="fast")),
        "bf16": side(ItemSearch(model, trie, method="fast", precision="bfloat16")),
    }


def _items_by_generate(model: Any, trie: ItemTrie) -> Side:
    """A dictionary of prefixes, looked up for each beam by `prefix_allowed_tokens_fn`."""
    whole: dict[tuple[int, ...], list[int]] = {}

    def find(batch: Inputs, samples: Sequence[Sample]) -> Answers:
        lists = listed(samples)
        if lists is None and not whole:
            whole.update(_prefixes(trie, range(trie.num_items)))
        tables = [whole] * len(samples) if lists is None else [_prefixes(trie, items) for items in lists]

        def allowed(row: int, written: torch.Tensor) -> list[int]:
            return tables[row].get(tuple(written.tolist()[1:]), [trie.eos_token_id])

        output = model.generate(
            **batch,
            num_beams=BEAMS,
            num_return_sequences=TOP,
            max_length=trie.max_depth + 1,
            do_sample=False,
            length_penalty=0.0,
            early_stopping="never",
            prefix_allowed_tokens_fn=allowed,
            return_dict_in_generate=True,
            output_scores=True,
        )
        items = trie.item(trie.walk(output.sequences[:, 1:]))
        return Answers(items.view(-1, TOP), output.sequences_scores.view(-1, TOP))

    return find


def _prefixes(trie: ItemTrie, items: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
    table: dict[tuple[int, ...], set[int]] = {}
    for item in items:
        node, path = int(trie.leaf_nodes[trie.item_leaf[item]]), []
        while node:
            path.append(int(trie.tokens[node]))
            node = int(trie.parents[node])
        path = path[::-1]
        for length, token in enumerate(path):
            table.setdefault(tuple(path[:length]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in table.items()}


def _text_sides(asked: Asked, fast: Mapping[str, T5Inference]) -> dict[str, Side]:
    """The same constraint on both sides: text, not IDs, and never nothing."""
    tokenizer = asked.processor.tokenizer
    vocabulary = TextVocabulary.of(tokenizer, asked.processor.id_token_ids())
    longest = asked.processor.max_target_length

    def by_generate(batch: Inputs, samples: Sequence[Sample]) -> Answers:
        output = asked.model.generate(
            **batch,
            num_beams=TEXT_BEAMS,
            max_new_tokens=longest,
            do_sample=False,
            logits_processor=LogitsProcessorList([TextConstraint(vocabulary, 1, longest)]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        return _texts(output.sequences[:, 1:], output.sequences_scores)

    def _texts(tokens: torch.Tensor, scores: torch.Tensor) -> Answers:
        values = torch.full((len(tokens), longest), -1)
        is_text = (tokens != tokenizer.eos_token_id) & (tokens != tokenizer.pad_token_id)
        values[:, : tokens.shape[1]] = tokens.masked_fill(~is_text, -1)
        return Answers(values, scores)

    def side(inference: T5Inference) -> Side:
        search = TextSearch(asked.model, vocabulary, inference)

        def write(batch: Inputs, samples: Sequence[Sample]) -> Answers:
            return _texts(*search(batch, num_beams=TEXT_BEAMS, min_tokens=1, max_tokens=longest))

        return write

    return {"generate": by_generate, **{name: side(inference) for name, inference in fast.items()}}
