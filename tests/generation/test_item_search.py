"""The fast search against `generate` on the same weights, and exact scores against teacher forcing."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
)

from peft_pod import PODConfig
from peft_pod.generation.item_search import ItemSearch
from peft_pod.generation.t5 import Encoded, T5Inference, T5Weights
from peft_pod.generation.trie import ItemTrie

from .models import ADAPTERS, EOS, KINDS, ROWS, VOCABULARY, make_base, make_inputs, make_model, scattered


def make_items(rng: random.Random, count: int, prefix: tuple[int, ...], depth: int) -> list[list[int]]:
    items: set[tuple[int, ...]] = set()
    while len(items) < count:
        items.add((*prefix, *(rng.randint(2, 30) for _ in range(rng.randint(1, depth)))))
    return [list(item) for item in sorted(items)]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_generate_finds(kind: str, adapter: str) -> None:
    if kind == "flan-t5" and adapter == "new rows":
        pytest.skip("PEFT trains rows of tied embeddings alone")
    model = make_model(kind, adapter)
    inputs = make_inputs(model)
    rng = random.Random(kind + adapter)
    ranked = set()
    for count, prefix, depth in ((6, (), 2), (40, (7, 8), 4), (200, (), 3), (25, (), 1)):
        trie = ItemTrie(make_items(rng, count, prefix, depth), EOS)
        fast = ItemSearch(model, trie, method="fast")
        slow = ItemSearch(model, trie, method="generate")
        for num_beams in (1, 3, 8):
            k = rng.randint(1, num_beams)
            exclude = [rng.sample(range(count), rng.randint(0, 3)) for _ in range(ROWS)]
            only = rng.choice([None, [rng.sample(range(count), 5) for _ in range(ROWS)], [range(count // 2 + 2)]])
            arguments: dict[str, Any] = {"k": k, "num_beams": num_beams, "exclude": exclude, "only": only}
            found, expected = fast(inputs, **arguments), slow(inputs, **arguments)
            assert found.items.tolist() == expected.items.tolist()
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
            ranked.update(map(tuple, found.items.tolist()))
    assert len(ranked) > 20, "inputs are not told apart"


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_normalised_over_children_it_finds_what_generate_finds_with_renormalised_logits(kind: str) -> None:
    model = make_model(kind, "frozen")
    inputs = make_inputs(model)
    rng = random.Random(0)
    for prefix in ((), (7, 8)):
        trie = ItemTrie(make_items(rng, 60, prefix, 3), EOS)
        exclude = [rng.sample(range(60), 20) for _ in range(ROWS)]
        found, expected = (
            ItemSearch(model, trie, method=method, normaliser="children")(inputs, k=6, num_beams=10, exclude=exclude)
            for method in ("fast", "generate")
        )
        assert found.items.tolist() == expected.items.tolist()
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)


@torch.no_grad()
def teacher_forced(model: Any, inputs: dict[str, torch.Tensor], row: int, tokens: list[int]) -> float:
    written = torch.tensor([[0, *tokens, EOS]])
    alone = {name: value[row : row + 1] for name, value in inputs.items()}
    scores = model(**alone, decoder_input_ids=written[:, :-1]).logits[0].log_softmax(-1)
    return float(scores.gather(1, written[0, 1:, None]).sum())


@pytest.mark.parametrize("prefix", [(), (7,), (7, 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_scores_are_those_of_teacher_forcing(kind: str, prefix: tuple[int, ...]) -> None:
    model = make_model(kind, "frozen")
    inputs = make_inputs(model)
    rng = random.Random(1)
    items = make_items(rng, 30, prefix, 3)
    items = items if not prefix else [*items, list(prefix)]  # an item that ends where the others branch off
    search = ItemSearch(model, ItemTrie(items, EOS), method="fast")
    listed = torch.tensor([rng.sample(range(len(items)), 7) for _ in range(ROWS)])
    listed[2, 4:] = -1
    found = search.score(inputs, listed)
    for row, positions in enumerate(listed.tolist()):
        for place, item in enumerate(positions):
            right = -torch.inf if item < 0 else teacher_forced(model, inputs, row, items[item])
            assert float(found[row, place]) == pytest.approx(right, abs=1e-4)


def test_exact_scores_do_not_depend_on_how_many_trees_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("t5", "frozen")
    inputs = make_inputs(model)
    search = ItemSearch(model, ItemTrie(make_items(random.Random(6), 40, (), 3), EOS), method="fast")
    listed = torch.stack([torch.randperm(40)[:12] for _ in range(ROWS)])
    together = search.score(inputs, listed)
    trees = []
    monkeypatch.setattr("peft_pod.generation.item_search._PAIRS_OF_NODES", 2 * (12 * 4) ** 2)
    monkeypatch.setattr(Encoded, "tree", lambda self, make=Encoded.tree: trees.append(len(self.states)) or make(self))
    apart = search.score(inputs, listed)
    assert trees == [2, 2, 1]
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=0)


def test_with_a_beam_for_each_item_the_search_is_exact() -> None:
    model = make_model("t5", "frozen")
    inputs = make_inputs(model)
    items = make_items(random.Random(2), 40, (), 3)
    search = ItemSearch(model, ItemTrie(items, EOS), method="fast")
    exact = search.score(inputs, torch.arange(40).expand(ROWS, -1))
    found = search(inputs, k=40, num_beams=40)
    assert found.items.tolist() == exact.argsort(dim=1, descending=True).tolist()


def test_an_answer_does_not_depend_on_the_rest_of_the_batch_or_on_padding() -> None:
    model = make_model("t5", "lora")
    inputs = make_inputs(model)
    search = ItemSearch(model, ItemTrie(make_items(random.Random(3), 80, (), 3), EOS), method="fast")
    together = search(inputs, k=5, num_beams=8)
    for row in range(ROWS):
        end = int(inputs["attention_mask"][row].nonzero().max()) + 1
        alone = {
            name: value[row : row + 1] if value.ndim == 1 else value[row : row + 1, :end]
            for name, value in inputs.items()
        }
        found = search(alone, k=5, num_beams=8)
        assert found.items.tolist() == together.items[row : row + 1].tolist()
        torch.testing.assert_close(found.scores, together.scores[row : row + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["fast", "generate"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_allowed_and_does_not_depend_on_batches(seed: int, method: Any) -> None:
    rng = random.Random(seed)
    kind = rng.choice(list(KINDS))
    torch.manual_seed(seed)
    model = scattered(make_model(kind, rng.choice(["frozen", "no adapter"])))
    count, k = rng.randint(20, 90), rng.randint(1, 8)
    trie = ItemTrie(make_items(rng, count, (7,) * rng.randint(0, 1), 3), EOS)
    search = ItemSearch(model, trie, method=method)
    inputs = make_inputs(model, seed)
    only = [rng.sample(range(count), rng.randint(1, count)) for _ in range(ROWS)]
    together = search(inputs, k=k, num_beams=k + 3, only=only)
    for row in range(ROWS):
        found = [item for item in together.items[row].tolist() if item >= 0]
        assert len(set(found)) == len(found) > 0
        assert set(found) <= set(only[row])
        scores = together.scores[row, : len(found)]
        assert bool((scores[1:] <= scores[:-1]).all())
        assert bool(torch.isfinite(scores).all())
        assert bool((together.scores[row, len(found) :] == -torch.inf).all())
    order = rng.sample(range(ROWS), ROWS)
    size, wider = rng.randint(1, ROWS - 1), rng.randint(1, 9)
    for start in range(0, ROWS, size):
        rows = order[start : start + size]
        part = {
            name: torch.nn.functional.pad(value[rows], (0, wider)) if value.ndim == 2 else value[rows]
            for name, value in inputs.items()
        }
        found = search(part, k=k, num_beams=k + 3, only=[only[row] for row in rows])
        assert found.items.tolist() == together.items[rows].tolist()
        torch.testing.assert_close(found.scores, together.scores[rows], atol=1e-4, rtol=0)


def test_bfloat16_gives_nearly_the_same_scores() -> None:
    model = make_model("t5", "whole base")
    inputs = make_inputs(model)
    trie = ItemTrie(make_items(random.Random(4), 50, (), 3), EOS)
    listed = torch.arange(50).expand(ROWS, -1)
    exact = ItemSearch(model, trie, method="fast").score(inputs, listed)
    rounded = ItemSearch(model, trie, method="fast", precision="bfloat16").score(inputs, listed)
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).abs().max()) < 0.05 * float(exact.std())


def test_a_base_that_is_held_in_bfloat16_is_searched_in_float32() -> None:
    trie = ItemTrie(make_items(random.Random(4), 50, (), 3), EOS)
    listed = torch.arange(50).expand(ROWS, -1)
    base = make_base("t5").to(torch.bfloat16)
    found = ItemSearch(base, trie, method="fast").score(make_inputs(base), listed)
    # The same numbers, without the rounding of what layers make of them.
    base.float()
    expected = ItemSearch(base, trie, method="fast").score(make_inputs(base), listed)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert not ItemSearch(base.half(), trie).is_fast


def test_changed_weights_and_switched_adapters_are_seen() -> None:
    model = make_model("t5", "frozen")
    model.add_adapter("second", PODConfig(num_tasks=2, num_virtual_tokens=3))
    inputs = make_inputs(model)
    trie = ItemTrie(make_items(random.Random(5), 60, (), 3), EOS)
    fast, slow = (ItemSearch(model, trie, method=method) for method in ("fast", "generate"))
    answers = []
    for change in (
        lambda: None,
        lambda: model.set_adapter("second"),
        lambda: model.set_adapter("default"),
        lambda: model.get_base_model().decoder.block[0].layer[2].DenseReluDense.wo.weight.data.mul_(-1),
    ):
        with torch.no_grad():
            change()
        found, expected = fast(inputs, k=4, num_beams=6), slow(inputs, k=4, num_beams=6)
        assert found.items.tolist() == expected.items.tolist()
        answers.append(found.items.tolist())
    assert answers[0] == answers[2]
    assert answers[0] != answers[1]
    assert answers[0] != answers[3]
    with model.disable_adapter():
        bare = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found, expected = fast(bare, k=4, num_beams=6), slow(bare, k=4, num_beams=6)
    assert found.items.tolist() == expected.items.tolist()


def test_other_architectures_go_through_generate() -> None:
    bart = BartForConditionalGeneration(
        BartConfig(vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16)
    )
    trie = ItemTrie([[5], [6]], 2)
    assert not ItemSearch(bart, trie).is_fast
    assert ItemSearch(make_base("t5"), trie).is_fast
    with pytest.raises(ValueError, match="does not cover this model: its base is of type 'bart'"):
        ItemSearch(bart, trie, method="fast")


@pytest.mark.parametrize("wrong", [{"method": "slow"}, {"precision": "half"}, {"normaliser": "none"}])
def test_wrong_names_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be one of .*got '{next(iter(wrong.values()))}'"):
        ItemSearch(make_base("t5"), ItemTrie([[5]], EOS), **wrong)


def test_a_base_that_is_built_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_base("t5")
    monkeypatch.setattr("peft_pod.generation.t5.weights._output_scale", lambda config: 1.0)
    with pytest.raises(RuntimeError, match="gives other logits than T5ForConditionalGeneration"):
        T5Inference(base).weights()


def test_weights_are_a_copy() -> None:
    base = make_base("t5")
    weights = T5Weights.of(base, torch.float32)
    before = weights.embeddings.clone()
    with torch.no_grad():
        base.shared.weight.zero_()
    assert torch.equal(weights.embeddings, before)
