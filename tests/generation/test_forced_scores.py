"""Exact scores under any model against an oracle that scores one item of one input at a time."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from transformers import EncoderDecoderCache

from peft_pod.generation import forced_scores
from peft_pod.generation.forced_scores import force_items
from peft_pod.generation.trie import ItemTrie

from ..tuner.test_architectures import ARCHITECTURES, make_batch, pod_model
from .test_beam_search import EOS, LEADING, make_inputs, make_model, teacher_forced

Items = list[tuple[int, ...]]
LISTED = torch.tensor([[7, 0, 3], [1, -1, 8], [-1, -1, -1], [4, 5, -1]])


def random_items(rng: random.Random, count: int, prefix: tuple[int, ...] = ()) -> Items:
    """Of one to four tokens, so that some begin others."""
    items: set[tuple[int, ...]] = set()
    while len(items) < count:
        items.add((*prefix, *(rng.randint(5, 10) for _ in range(rng.randint(1, 4)))))
    return rng.sample(sorted(items), count)


def random_lists(rng: random.Random, rows: int, count: int) -> torch.Tensor:
    lists = [rng.sample(range(count), rng.randint(0, count)) for _ in range(rows)]
    longest = max(1, *map(len, lists))
    return torch.tensor([[*listed, *[-1] * (longest - len(listed))] for listed in lists])


def oracle(
    model: Any, inputs: dict[str, Any], items: Items, listed: torch.Tensor, leading: list[int], eos: int
) -> torch.Tensor:
    return torch.tensor(
        [
            [
                -math.inf if item < 0 else teacher_forced(model, inputs, row, (*items[item], eos), leading)
                for item in row_items
            ]
            for row, row_items in enumerate(listed.tolist())
        ]
    )


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_one_item_alone(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    model = make_model(kind)
    inputs = make_inputs(model)
    count = rng.randint(1, 20)
    items = random_items(rng, count, rng.choice([(), (7,), (7, 8)]))
    listed = random_lists(rng, 4, count)
    found = force_items(model, inputs, ItemTrie(items, EOS[kind]), listed)
    torch.testing.assert_close(
        found, oracle(model, inputs, items, listed, LEADING[kind], EOS[kind]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_scored_as_in_training(architecture: str) -> None:
    rng = random.Random(architecture)
    model = pod_model(architecture)
    config = model.get_base_model().config
    start = getattr(config, "decoder_start_token_id", None)
    start = start if isinstance(start, int) else 0
    eos = config.eos_token_id if isinstance(config.eos_token_id, int) else 2
    items = random_items(rng, 12)
    listed = random_lists(rng, 3, 12)
    inputs = make_batch(architecture)
    found = force_items(model, inputs, ItemTrie(items, eos), listed, decoder_prefix=[start])
    torch.testing.assert_close(found, oracle(model, inputs, items, listed, [start], eos), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def among_children(
    model: Any, inputs: dict[str, Any], row: int, item: int, items: Items, listed: list[int], kind: str
) -> float:
    """A product of probabilities among the tokens that lead on to a listed item."""
    closed = [(*items[other], EOS[kind]) for other in listed]
    total = 0.0
    tokens = (*items[item], EOS[kind])
    for length, token in enumerate(tokens):
        choices = {other[length] for other in closed if other[:length] == tokens[:length]}
        scores = {
            choice: teacher_forced(model, inputs, row, (*tokens[:length], choice), LEADING[kind]) for choice in choices
        }
        total += scores[token] - math.log(sum(map(math.exp, scores.values())))
    return total


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_renormalised_scores_are_probabilities_among_the_listed_items(kind: str) -> None:
    model = make_model(kind)
    inputs = make_inputs(model)
    items = random_items(random.Random(3), 9)
    found = force_items(model, inputs, ItemTrie(items, EOS[kind]), LISTED, renormalise=True)
    for row, listed in enumerate(LISTED.tolist()):
        there = [item for item in listed if item >= 0]
        expected = [among_children(model, inputs, row, item, items, there, kind) for item in there]
        scores = [score for score in found[row].tolist() if score > -math.inf]
        assert scores == pytest.approx(expected, abs=1e-4)
        assert sum(map(math.exp, scores)) == pytest.approx(1.0 if there else 0.0, abs=1e-5)


def test_scores_do_not_depend_on_how_many_go_together_or_on_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("bart")
    inputs = make_inputs(model)
    trie = ItemTrie(random_items(random.Random(4), 9), EOS["bart"])
    together = force_items(model, inputs, trie, LISTED)
    monkeypatch.setattr(forced_scores, "_BLOCK_NUMBERS", 1)
    torch.testing.assert_close(force_items(model, inputs, trie, LISTED), together, atol=1e-5, rtol=1e-5)
    monkeypatch.undo()
    calls = []
    forward = EncoderDecoderCache.__init__
    monkeypatch.setattr(EncoderDecoderCache, "__init__", lambda self, *given: calls.append(1) or forward(self, *given))
    force_items(model, inputs, trie, LISTED)
    assert calls
    monkeypatch.setattr(forced_scores, "EncoderDecoderCache", type("NoSuchCache", (), {}))
    torch.testing.assert_close(force_items(model, inputs, trie, LISTED), together, atol=1e-5, rtol=1e-5)


def test_the_model_keeps_its_modes_and_the_caller_the_inputs() -> None:
    model = make_model("bart").train()
    model.get_encoder().eval()
    modes = [module.training for module in model.modules()]
    inputs = make_inputs(model)
    before = {name: value.clone() for name, value in inputs.items()}
    found = force_items(model, inputs, ItemTrie(random_items(random.Random(5), 9), EOS["bart"]), LISTED)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    assert not found.requires_grad


def test_inputs_that_do_not_fit_are_named() -> None:
    model = make_model("t5")
    inputs = make_inputs(model)
    with pytest.raises(ValueError, match="attention_mask"):
        force_items(model, {"input_ids": inputs["input_ids"]}, ItemTrie([(5,)], 1), torch.zeros(4, 1, dtype=torch.long))
