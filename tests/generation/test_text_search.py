"""Texts written by the fast method against `generate` on the same weights, and against all texts there are."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from peft_pod.generation.t5 import T5Inference
from peft_pod.generation.text_beams import _largest
from peft_pod.generation.text_constraint import TextConstraint, TextVocabulary
from peft_pod.generation.text_search import TextSearch

from .models import ADAPTERS, EOS, KINDS, LENGTH, ROWS, VOCABULARY, make_base, make_inputs, make_model

PAD = 0


def make_vocabulary(forbidden: tuple[int, ...] = (PAD, 7, 8, 9), blank: tuple[int, ...] = (2, 3)) -> TextVocabulary:
    masks = torch.zeros(2, VOCABULARY, dtype=torch.bool)
    masks[0, list(forbidden)] = True
    masks[1, [PAD, EOS, *blank]] = True
    return TextVocabulary(masks[0], masks[1], EOS)


def both(model: Any, vocabulary: TextVocabulary | None = None) -> tuple[TextSearch, TextSearch]:
    vocabulary = vocabulary or make_vocabulary()
    return TextSearch(model, vocabulary, T5Inference(model)), TextSearch(model, vocabulary)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make other tokens likely at each place, also the end, for small models would write the same token on and on."""
    added = torch.randn(12, VOCABULARY, generator=torch.Generator().manual_seed(0))
    added[:, EOS] += 2
    forbid = TextConstraint.forbid_

    def noisily(self: TextConstraint, scores: torch.Tensor, is_empty: torch.Tensor, num_written: int) -> None:
        forbid(self, scores, is_empty, num_written)
        scores += added[num_written]

    monkeypatch.setattr(TextConstraint, "forbid_", noisily)


@pytest.mark.usefixtures("noise")
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_writes_what_generate_writes(kind: str, adapter: str) -> None:
    if kind == "flan-t5" and adapter == "new rows":
        pytest.skip("PEFT trains rows of tied embeddings alone")
    model = make_model(kind, adapter)
    texts, lengths = set(), set()
    fast, slow = both(model)
    for num_beams, (min_tokens, max_tokens) in product((1, 2, 5), ((1, 5), (4, 5), (1, 12), (4, 12))):
        limits = {"num_beams": num_beams, "min_tokens": min_tokens, "max_tokens": max_tokens}
        inputs = make_inputs(model, seed=num_beams)
        found, expected = fast(inputs, **limits), slow(inputs, **limits)
        assert found.tokens.tolist() == expected.tokens.tolist()
        if num_beams > 1:  # greedily, `generate` gives log-probabilities without the noise
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
        texts.update(map(tuple, found.tokens.tolist()))
        lengths.update((found.tokens != EOS).sum(1).tolist())
    assert len(texts) > ROWS, "inputs are not told apart"
    assert len(lengths - {5, 12}) > 1, "texts end at the same place"


def test_with_a_beam_for_each_text_the_best_of_all_is_written() -> None:
    model = make_base("t5")
    vocabulary = make_vocabulary(forbidden=tuple(token for token in range(VOCABULARY) if token not in (1, 2, 4, 5, 6)))
    inputs = make_inputs(model)
    for min_tokens, longest in ((1, 3), (2, 3), (1, 2), (1, 1)):
        allowed = [
            [*words, EOS][:longest]
            for length in range(min_tokens, longest + 1)
            for words in product((2, 4, 5, 6), repeat=length)
            if set(words) != {2}  # a text of blanks is none
        ]
        scores = torch.stack([by_teacher_forcing(model, inputs, text) / len(text) for text in allowed])
        search = TextSearch(model, vocabulary, T5Inference(model))
        found = search(inputs, num_beams=len(allowed), min_tokens=min_tokens, max_tokens=longest)
        best = scores.max(0)
        written = [[token for token in row if token != EOS] for row in found.tokens.tolist()]
        assert written == [[token for token in allowed[place] if token != EOS] for place in best.indices.tolist()]
        torch.testing.assert_close(found.scores, best.values, atol=1e-4, rtol=0)


@torch.no_grad()
def by_teacher_forcing(model: Any, inputs: dict[str, torch.Tensor], text: list[int]) -> torch.Tensor:
    """The log-probability of a text under each input."""
    given = torch.tensor([0, *text[:-1]]).expand(ROWS, -1)
    logits = model(**inputs, decoder_input_ids=given).logits.log_softmax(-1)
    return logits.gather(2, torch.tensor(text).expand(ROWS, -1)[:, :, None]).sum((1, 2))


@pytest.mark.usefixtures("noise")
@pytest.mark.parametrize(("adapter", "left"), [("frozen", 0), ("no adapter", 3)])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_text_does_not_depend_on_the_rest_of_the_batch_or_on_padding(num_beams: int, adapter: str, left: int) -> None:
    # Prompts stand in front of padding on the left, which so counts in distances from them; without them none does.
    model = make_model("umt5", adapter)
    inputs = make_inputs(model)
    fast, _ = both(model)
    limits = {"num_beams": num_beams, "min_tokens": 1, "max_tokens": 12}
    together = fast(inputs, **limits)
    assert len(set(map(tuple, together.tokens.tolist()))) > 1, "inputs are not told apart"
    for row in range(ROWS):
        places = inputs["attention_mask"][row].nonzero().flatten()
        first = 0 if adapter == "frozen" else int(places.min())
        alone = {
            name: value[row : row + 1, first : int(places.max()) + 1] if value.ndim == 2 else value[row : row + 1]
            for name, value in inputs.items()
        }
        wider = {
            name: torch.nn.functional.pad(value, (left, 2)) if value.ndim == 2 else value
            for name, value in alone.items()
        }
        for given in (alone, wider):
            found = fast(given, **limits)
            length = found.tokens.shape[1]
            assert found.tokens[0].tolist() == together.tokens[row, :length].tolist()
            assert (together.tokens[row, length:] == EOS).all()
            torch.testing.assert_close(found.scores[0], together.scores[row], atol=1e-5, rtol=0)


def test_bfloat16_gives_nearly_the_same_scores() -> None:
    model = make_model("t5", "frozen")
    inputs = make_inputs(model)
    limits = {"num_beams": 5, "min_tokens": 1, "max_tokens": 5}
    exact = TextSearch(model, make_vocabulary(), T5Inference(model))(inputs, **limits)
    rounded = TextSearch(model, make_vocabulary(), T5Inference(model, torch.bfloat16))(inputs, **limits)
    assert (rounded.scores - exact.scores).abs().max() < 0.1
    assert not torch.equal(rounded.scores, exact.scores)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_settings_of_the_base_do_not_count(num_beams: int) -> None:
    model = make_base("t5")
    inputs = make_inputs(model)
    limits = {"num_beams": num_beams, "min_tokens": 1, "max_tokens": 8}
    before = [search(inputs, **limits).tokens.tolist() for search in both(model)]
    own = model.generation_config
    own.min_length, own.no_repeat_ngram_size, own.length_penalty, own.repetition_penalty = 8, 1, -3.0, 9.0
    own.forced_eos_token_id, own.num_beams, own.early_stopping, own.suppress_tokens = EOS, 4, True, [5, 6]
    assert [search(inputs, **limits).tokens.tolist() for search in both(model)] == before
    assert before[0] == before[1]
    fast, slow = (search(inputs, **limits).scores for search in both(model))
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)


def test_the_mode_of_the_model_stays() -> None:
    model = make_base("t5").train()
    model.encoder.block[0].eval()
    modes = [module.training for module in model.modules()]
    for search in both(model):
        search(make_inputs(model), num_beams=2, min_tokens=1, max_tokens=3)
        assert [module.training for module in model.modules()] == modes


def test_fewer_tokens_than_beams() -> None:
    model = make_base("t5")
    vocabulary = make_vocabulary(forbidden=tuple(token for token in range(VOCABULARY) if token not in (1, 4, 5)))
    found = TextSearch(model, vocabulary, T5Inference(model))(
        make_inputs(model), num_beams=VOCABULARY, min_tokens=1, max_tokens=1
    )
    assert set(found.tokens.flatten().tolist()) <= {4, 5}
    assert found.tokens.shape == (ROWS, 1)
    assert bool(torch.isfinite(found.scores).all())


@pytest.mark.parametrize(("columns", "count"), [(5, 3), (64, 1), (200, 1), (1000, 4), (1024, 7), (1025, 14)])
def test_the_largest_values_are_those_of_topk(columns: int, count: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    values = torch.randn(9, columns, generator=generator)
    values[torch.rand(9, columns, generator=generator) < 0.5] = -torch.inf
    values[:, -1] = torch.arange(9.0)  # beyond the last whole part
    values[0, 3:] = -torch.inf
    found, places = _largest(values, count)
    assert torch.equal(found, values.topk(count, dim=1).values)
    assert torch.equal(values.gather(1, places), found)
    assert all(len(set(row)) == count for row in places.tolist())


def test_inputs_are_checked() -> None:
    model = make_base("t5")
    for search in both(model):
        with pytest.raises(ValueError, match="labels"):
            search(
                make_inputs(model, length=LENGTH) | {"labels": torch.ones(ROWS, 2)},
                num_beams=1,
                min_tokens=1,
                max_tokens=2,
            )
        with pytest.raises(ValueError, match="min_tokens=3 is more than max_tokens=2"):
            search(make_inputs(model), num_beams=1, min_tokens=3, max_tokens=2)
