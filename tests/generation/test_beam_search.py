"""Beam search against an oracle that scores one item of one user at a time, by teacher forcing."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from peft_pod import PODConfig
from peft_pod.generation import beam_search
from peft_pod.generation.beam_search import ItemBeams, search_items
from peft_pod.generation.trie import ItemTrie

VOCABULARY = 40
EOS = {"t5": 1, "bart": 2}
CATALOGUES: dict[str, list[tuple[int, ...]]] = {
    "one begins another": [(5, 6, 7), (5, 6), (5,), (8, 9), (8,), (9, 5, 6, 7), (8, 9, 9)],
    "common prefix": [(5, 6, 7), (5, 6), (5, 6, 7, 8), (5, 6, 9), (5, 6, 11, 12)],
    "one token": [(5,), (6,), (7,), (8,), (9,), (10,)],
    "one item": [(5, 6, 7)],
}
Inputs = dict[str, Any]


def make_model(kind: str, **overrides: Any) -> PreTrainedModel:
    """A tiny model of weights so large that users get different items."""
    torch.manual_seed(0)
    if kind == "t5":
        settings: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, initializer_factor=4.0, **settings, **overrides)
        )
    else:
        settings = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "init_std": 0.5}
        settings |= {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("attention_heads",)}
        settings |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}
        special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
        forced = {"forced_eos_token_id": 2}
        model = BartForConditionalGeneration(
            BartConfig(vocab_size=VOCABULARY, **settings, **{**special, **forced, **overrides})
        )
    return model.eval()


def make_inputs(model: PreTrainedModel, rows: int = 4, length: int = 7) -> Inputs:
    """Inputs of different lengths, padded on the right."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    for row in range(rows):
        attention_mask[row, length - row :] = 0
    pad = model.config.pad_token_id
    return {"input_ids": input_ids.masked_fill(attention_mask == 0, pad), "attention_mask": attention_mask}


def only(inputs: Inputs, row: int) -> Inputs:
    """One row, without its padding."""
    length = int(inputs["attention_mask"][row].sum())
    return {
        name: value[row : row + 1, :length] if value.ndim > 1 else value[row : row + 1]
        for name, value in inputs.items()
    }


@torch.no_grad()
def teacher_forced(model: Any, inputs: Inputs, row: int, tokens: Sequence[int], leading: Sequence[int]) -> float:
    """The oracle: log-probability of the tokens of one item for one user."""
    written = torch.tensor([[*leading, *tokens]])
    logits = model(**only(inputs, row), decoder_input_ids=written[:, :-1]).logits
    log_probabilities = logits[0, len(leading) - 1 :].log_softmax(dim=-1)
    return sum(log_probabilities[place, token].item() for place, token in enumerate(tokens))


def all_scores(
    model: Any, inputs: Inputs, catalogue: list[tuple[int, ...]], eos: int, leading: Sequence[int]
) -> list[list[float]]:
    rows = range(len(inputs["attention_mask"]))
    return [[teacher_forced(model, inputs, row, (*item, eos), leading) for item in catalogue] for row in rows]


def assert_ranking(found: ItemBeams, scores: list[list[float]], allowed: torch.Tensor | None = None) -> None:
    """The result is the ranking of all allowed items, by scores counted elsewhere."""
    for row, row_scores in enumerate(scores):
        items = [item for item in range(len(row_scores)) if allowed is None or allowed[row, item]]
        ranking = sorted(items, key=lambda item: -row_scores[item])[: found.items.shape[1]]
        missing = found.items.shape[1] - len(ranking)
        assert found.items[row].tolist() == ranking + [-1] * missing
        expected = [row_scores[item] for item in ranking] + [-math.inf] * missing
        torch.testing.assert_close(found.scores[row], torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=["t5", "bart"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> PreTrainedModel:
    return make_model(kind)


LEADING = {"t5": [0], "bart": [2]}


@pytest.mark.parametrize("name", CATALOGUES)
@pytest.mark.parametrize("spare_beams", [0, 3])
def test_with_a_beam_for_every_item_the_search_is_exhaustive(
    model: PreTrainedModel, kind: str, name: str, spare_beams: int
) -> None:
    catalogue = CATALOGUES[name]
    inputs = make_inputs(model)
    beams = len(catalogue) + spare_beams
    found = search_items(model, inputs, ItemTrie(catalogue, EOS[kind]), k=beams, num_beams=beams)
    assert_ranking(found, all_scores(model, inputs, catalogue, EOS[kind], LEADING[kind]))


def test_the_random_models_tell_users_apart(model: PreTrainedModel, kind: str) -> None:
    scores = all_scores(model, make_inputs(model), CATALOGUES["one begins another"], EOS[kind], LEADING[kind])
    rankings = {tuple(sorted(range(len(row)), key=row.__getitem__)) for row in scores}
    assert len(rankings) > 1


@pytest.mark.parametrize("seed", range(4))
def test_each_row_finds_its_own_allowed_items(model: PreTrainedModel, kind: str, seed: int) -> None:
    catalogue = CATALOGUES["one begins another"]
    inputs = make_inputs(model)
    allowed = torch.rand(4, len(catalogue), generator=torch.Generator().manual_seed(seed)) < 0.5
    allowed[0] = torch.arange(len(catalogue)) == seed
    allowed[:, 6] |= ~allowed.any(dim=1)
    beams = len(catalogue)
    trie = ItemTrie(catalogue, EOS[kind])
    found = search_items(model, inputs, trie, k=beams, num_beams=beams, allowed_items=allowed)
    assert_ranking(found, all_scores(model, inputs, catalogue, EOS[kind], LEADING[kind]), allowed)


def many_items(seed: int) -> list[tuple[int, ...]]:
    """60 items of one to three tokens."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(5, 12, (200, 3), generator=generator).tolist()
    lengths = torch.randint(1, 4, (200,), generator=generator).tolist()
    distinct = dict.fromkeys(tuple(row[:length]) for row, length in zip(rows, lengths, strict=True))
    return list(distinct)[:60]


@pytest.mark.parametrize(("k", "num_beams"), [(1, 2), (3, 3), (5, 10)])
def test_with_fewer_beams_results_are_allowed_distinct_sorted_and_rightly_scored(
    model: PreTrainedModel, kind: str, k: int, num_beams: int
) -> None:
    catalogue = many_items(0)
    inputs = make_inputs(model, rows=3)
    allowed = torch.rand(3, len(catalogue), generator=torch.Generator().manual_seed(k)) < 0.4
    trie = ItemTrie(catalogue, EOS[kind])
    found = search_items(model, inputs, trie, k=k, num_beams=num_beams, allowed_items=allowed)
    for row, (items, scores) in enumerate(zip(found.items.tolist(), found.scores.tolist(), strict=True)):
        assert allowed[row, items].all()
        assert len(set(items)) == k
        assert scores == sorted(scores, reverse=True)
        for item, score in zip(items, scores, strict=True):
            expected = teacher_forced(model, inputs, row, (*catalogue[item], EOS[kind]), LEADING[kind])
            assert score == pytest.approx(expected, rel=1e-5, abs=1e-5)


def step_by_step(
    model: Any, inputs: Inputs, row: int, items: list[tuple[int, ...]], num_beams: int, leading: Sequence[int]
) -> list[tuple[int, ...]]:
    """Beam search for IDs of equal length, written as its definition."""
    beams: list[tuple[int, ...]] = [()]
    for length in range(1, len(items[0]) + 1):
        begun = {item[:length] for item in items if item[: length - 1] in beams}
        scores = {prefix: teacher_forced(model, inputs, row, prefix, leading) for prefix in begun}
        beams = sorted(begun, key=lambda prefix: -scores[prefix])[:num_beams]
    return beams


@pytest.mark.parametrize("num_beams", [1, 2, 4, 7])
def test_the_search_is_beam_search(model: PreTrainedModel, kind: str, num_beams: int) -> None:
    generator = torch.Generator().manual_seed(3)
    catalogue = sorted({tuple(row) for row in torch.randint(5, 10, (50, 3), generator=generator).tolist()})
    inputs = make_inputs(model, rows=3)
    found = search_items(model, inputs, ItemTrie(catalogue, EOS[kind]), k=num_beams, num_beams=num_beams)
    closed = [(*item, EOS[kind]) for item in catalogue]
    for row in range(3):
        expected = step_by_step(model, inputs, row, closed, num_beams, LEADING[kind])
        assert [closed[item] for item in found.items[row].tolist()] == expected
        scores = [teacher_forced(model, inputs, row, item, LEADING[kind]) for item in expected]
        torch.testing.assert_close(found.scores[row], torch.tensor(scores), rtol=1e-5, atol=1e-5)


def test_one_beam_stops_at_the_end_of_short_items(model: PreTrainedModel, kind: str) -> None:
    catalogue = CATALOGUES["one begins another"]
    inputs = make_inputs(model)
    # Row by row, the only item allowed: its score does not depend on which the search would choose.
    allowed = torch.eye(len(catalogue), dtype=torch.bool)[[2, 5, 1, 4]]
    trie = ItemTrie(catalogue, EOS[kind])
    found = search_items(model, inputs, trie, k=1, num_beams=1, allowed_items=allowed)
    assert_ranking(found, all_scores(model, inputs, catalogue, EOS[kind], LEADING[kind]), allowed)


@pytest.mark.parametrize("num_beams", [1, 7])
def test_a_row_does_not_depend_on_the_others_of_its_batch(model: PreTrainedModel, kind: str, num_beams: int) -> None:
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    inputs = make_inputs(model)
    together = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    for row in range(4):
        alone = search_items(model, only(inputs, row), trie, k=num_beams, num_beams=num_beams)
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_models_own_generation_settings_do_not_interfere(
    model: PreTrainedModel, kind: str, num_beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    inputs = make_inputs(model)
    expected = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    hostile = GenerationConfig(
        **{name: getattr(model.generation_config, name) for name in ("decoder_start_token_id", "pad_token_id")},
        bos_token_id=0,
        eos_token_id=[5, 9],
        max_length=3,
        min_length=8,
        min_new_tokens=7,
        no_repeat_ngram_size=1,
        repetition_penalty=3.0,
        encoder_repetition_penalty=2.0,
        encoder_no_repeat_ngram_size=1,
        length_penalty=5.0,
        num_beams=2,
        do_sample=True,
        temperature=9.0,
        top_k=1,
        early_stopping=True,
        forced_eos_token_id=9,
        suppress_tokens=[5, 8],
        begin_suppress_tokens=[9],
        bad_words_ids=[[6]],
        sequence_bias=[[[5], -100.0]],
        exponential_decay_length_penalty=(1, 5.0),
        renormalize_logits=True,
        output_attentions=False,
        use_cache=False,
        max_time=0.0,
    )
    before = copy.deepcopy(hostile)
    monkeypatch.setattr(model, "generation_config", hostile)
    found = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    assert torch.equal(found.items, expected.items)
    assert torch.equal(found.scores, expected.scores)
    assert model.generation_config is hostile
    assert hostile.to_dict() == before.to_dict()


def test_a_search_says_nothing(
    model: PreTrainedModel, kind: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        for num_beams in (1, 4):
            search_items(model, make_inputs(model), trie, k=num_beams, num_beams=num_beams)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert not recwarn.list


@pytest.mark.parametrize("num_beams", [1, 5])
def test_a_forced_first_token_stands_in_front_and_does_not_count(num_beams: int) -> None:
    model = make_model("bart")
    model.generation_config.forced_bos_token_id = 0
    catalogue = CATALOGUES["common prefix"]
    inputs = make_inputs(model)
    trie = ItemTrie(catalogue, EOS["bart"])
    found = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    given = search_items(make_model("bart"), inputs, trie, k=num_beams, num_beams=num_beams, decoder_prefix=[2, 0])
    assert torch.equal(found.items, given.items)
    scores = all_scores(model, inputs, catalogue, EOS["bart"], [2, 0])
    if num_beams == 5:
        assert_ranking(found, scores)
    expected = [[scores[row][item] for item in items] for row, items in enumerate(found.items.tolist())]
    torch.testing.assert_close(found.scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given.scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_a_forced_first_token_can_be_left_out() -> None:
    model = make_model("bart")
    model.generation_config.forced_bos_token_id = 0
    catalogue = CATALOGUES["one begins another"]
    inputs = make_inputs(model)
    found = search_items(model, inputs, ItemTrie(catalogue, 2), k=7, num_beams=7, decoder_prefix=[2])
    assert_ranking(found, all_scores(model, inputs, catalogue, 2, [2]))


def test_a_model_with_lora_is_searched_with_it(model: PreTrainedModel, kind: str) -> None:
    torch.manual_seed(2)
    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, init_lora_weights=False, lora_alpha=64)
    catalogue = CATALOGUES["one begins another"]
    inputs = make_inputs(model)
    trie = ItemTrie(catalogue, EOS[kind])
    without = search_items(model, inputs, trie, k=7, num_beams=7)
    adapted = get_peft_model(make_model(kind), config).eval()
    found = search_items(adapted, inputs, trie, k=7, num_beams=7)
    assert_ranking(found, all_scores(adapted, inputs, catalogue, EOS[kind], LEADING[kind]))
    assert not torch.allclose(found.scores, without.scores, atol=0.1)


@pytest.mark.parametrize("whole_word_embedding", [True, False])
def test_a_model_with_pod_is_searched_with_its_prompts(kind: str, whole_word_embedding: bool) -> None:
    torch.manual_seed(2)
    config = PODConfig(
        tasks=["sequential", "topn"],
        num_virtual_tokens=3,
        prompt_init_range=2.0,
        whole_word_embedding=whole_word_embedding,
        max_whole_words=8,
    )
    adapted = get_peft_model(make_model(kind), config)
    for name, parameter in adapted.named_parameters():
        if "whole_words" in name:
            torch.nn.init.normal_(parameter)
    inputs = {**make_inputs(adapted), "task_id": torch.tensor([1, 0, 0, 1])}
    if whole_word_embedding:
        inputs["whole_word_ids"] = torch.tensor([[0, 1, 1, 2, 2, 3, 3]] * 4) * inputs["attention_mask"]
    catalogue = CATALOGUES["one begins another"]
    trie = ItemTrie(catalogue, EOS[kind])
    found = search_items(adapted, inputs, trie, k=7, num_beams=7)
    adapted.eval()
    assert_ranking(found, all_scores(adapted, inputs, catalogue, EOS[kind], LEADING[kind]))
    other = search_items(adapted, {**inputs, "task_id": 1 - inputs["task_id"]}, trie, k=7, num_beams=7)
    assert not torch.allclose(found.scores, other.scores, atol=1e-2)


def test_embedded_inputs_are_searched_like_tokens(model: PreTrainedModel, kind: str) -> None:
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    inputs = make_inputs(model)
    embedded = {
        "inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]).detach(),
        "attention_mask": inputs["attention_mask"],
    }
    tokens, embeds = (search_items(model, given, trie, k=7, num_beams=7) for given in (inputs, embedded))
    assert torch.equal(tokens.items, embeds.items)
    torch.testing.assert_close(tokens.scores, embeds.scores)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_sharing_the_cross_attention_between_beams_changes_nothing(
    model: PreTrainedModel, kind: str, num_beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trie = ItemTrie(many_items(1), EOS[kind])
    inputs = make_inputs(model)
    shared = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    # As for a model that brings a cache of its own kind: `generate` then makes it.
    monkeypatch.setattr(beam_search, "EncoderDecoderCache", type("NoSuchCache", (), {}))
    separate = search_items(model, inputs, trie, k=num_beams, num_beams=num_beams)
    assert torch.equal(shared.items, separate.items)
    torch.testing.assert_close(shared.scores, separate.scores, rtol=1e-5, atol=1e-5)


def test_the_search_runs_in_evaluation_mode_and_gives_every_module_its_mode_back(kind: str) -> None:
    model = make_model(kind)
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    inputs = make_inputs(model)
    expected = search_items(model, inputs, trie, k=4, num_beams=4)
    model.train()
    model.get_encoder().eval()
    modes = [module.training for module in model.modules()]
    found = search_items(model, inputs, trie, k=4, num_beams=4)
    assert [module.training for module in model.modules()] == modes
    assert len(set(modes)) == 2
    assert torch.equal(found.scores, expected.scores)
    assert not found.scores.requires_grad
    with pytest.raises(ValueError, match="not used by the model"):
        search_items(model, {**inputs, "no_such_input": torch.zeros(4)}, trie, k=1, num_beams=1)
    assert [module.training for module in model.modules()] == modes


def test_the_callers_tensors_are_left_alone(model: PreTrainedModel, kind: str) -> None:
    inputs = make_inputs(model)
    allowed = torch.ones(4, 7, dtype=torch.bool)
    before = copy.deepcopy(inputs)
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    search_items(model, inputs, trie, k=2, num_beams=4, allowed_items=allowed)
    assert inputs.keys() == before.keys()
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    assert allowed.all()


def test_half_precision_gives_scores_in_float32(model: PreTrainedModel, kind: str) -> None:
    trie = ItemTrie(CATALOGUES["one begins another"], EOS[kind])
    inputs = make_inputs(model)
    exact = search_items(model, inputs, trie, k=7, num_beams=7)
    rough = search_items(copy.deepcopy(model).bfloat16(), inputs, trie, k=7, num_beams=7)
    assert rough.scores.dtype == torch.float32
    by_item = [found.scores.gather(1, found.items.argsort(dim=1)) for found in (exact, rough)]
    assert rough.items.sort().values.tolist() == exact.items.sort().values.tolist()
    assert (by_item[0] - by_item[1]).abs().max() < 0.1 * exact.scores.abs().max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": 3, "num_beams": 2}, "num_beams=2 beams can find 2 items at most, but k=3"),
        ({"allowed_items": torch.ones(4, 6, dtype=torch.bool)}, "shape \\(4, 7\\).*of shape \\(4, 6\\)"),
        ({"allowed_items": torch.ones(4, 7)}, "BoolTensor"),
        ({"allowed_items": torch.tensor([[1] * 7, [0] * 7, [1] * 7, [0] * 7]).bool()}, "for row 1 .*\\[1, 3\\]"),
        ({"decoder_prefix": []}, "decoder_prefix"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    model = make_model("t5")
    trie = ItemTrie(CATALOGUES["one begins another"], EOS["t5"])
    with pytest.raises(ValueError, match=message):
        search_items(model, make_inputs(model), trie, **{"k": 2, "num_beams": 2, **arguments})


def test_inputs_that_do_not_fit_are_named() -> None:
    model = make_model("t5")
    trie = ItemTrie([(5,), (6,)], EOS["t5"])
    inputs = make_inputs(model)
    for wrong, message in (
        ({"input_ids": inputs["input_ids"]}, "attention_mask.*holds \\['input_ids'\\]"),
        ({"attention_mask": inputs["attention_mask"]}, "input_ids or inputs_embeds"),
        ({**inputs, "labels": inputs["input_ids"]}, "labels"),
    ):
        with pytest.raises(ValueError, match=message):
            search_items(model, wrong, trie, k=1, num_beams=1)
    with pytest.raises(ValueError, match="token 77, but the model's vocabulary ends at 39"):
        search_items(model, inputs, ItemTrie([(77,), (6,)], EOS["t5"]), k=1, num_beams=1)


def test_an_unknown_start_of_the_decoder_is_asked_for() -> None:
    model = make_model("t5")
    model.generation_config.decoder_start_token_id = None
    model.generation_config.bos_token_id = None
    trie = ItemTrie(CATALOGUES["one begins another"], EOS["t5"])
    inputs = make_inputs(model)
    with pytest.raises(ValueError, match="pass decoder_prefix"):
        search_items(model, inputs, trie, k=2, num_beams=2)
    found = search_items(model, inputs, trie, k=7, num_beams=7, decoder_prefix=[0])
    assert_ranking(found, all_scores(model, inputs, CATALOGUES["one begins another"], EOS["t5"], [0]))
