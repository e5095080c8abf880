"""POD on every text-to-text architecture of transformers, against an oracle in plain torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import (
    PreTrainedModel,
    SeamlessM4TForTextToSpeech,
    Speech2TextConfig,
    Speech2TextForConditionalGeneration,
    T5Model,
)
from transformers.modeling_outputs import BaseModelOutput

from peft_pod.tuner.architectures import complete_call
from peft_pod.tuner.embedding import embed_tokens

from .architectures import ARCHITECTURES, as_markdown, make_base
from .models import MODES, make_config

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
modes = pytest.mark.parametrize("mode", list(MODES))

PROMPTS = 3
modes_and_prompts = pytest.mark.parametrize(("mode", "prompts"), [*((mode, PROMPTS) for mode in MODES), ("full", 0)])
PADDINGS = (None, "left", "right")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def pod_model(architecture: str, mode: str = "frozen", **overrides: Any) -> Any:
    """POD on a base, with values in everything that starts at zero."""
    if mode == "lora":
        names = ARCHITECTURES[architecture].lora
        overrides["target_modules"] = "|".join(names) if any("*" in name for name in names) else list(names)
    overrides = {"num_virtual_tokens": PROMPTS, **overrides}
    model = get_peft_model(make_base(architecture), make_config(mode, **overrides)).eval()
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "pod_whole_words" in name or "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    for prompts in prompt_parameters(model):
        prompts.data[1, [0, -1]] = 0.0  # which some bases take for padding
    return model


def make_batch(architecture: str, padding: str | None = None) -> dict[str, torch.Tensor]:
    """Three rows, one of which is padded; one task a row, two of them the same."""
    length, generator = ARCHITECTURES[architecture].length, torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, 45, (3, length), generator=generator)
    whole_word_ids = torch.zeros_like(input_ids)
    whole_word_ids[:, 2:4], whole_word_ids[:, 4:6] = 1, 2
    whole_word_ids[2, length - 1] = 3
    attention_mask = torch.ones_like(input_ids)
    if padding:
        columns = slice(length - 2, length) if padding == "right" else slice(0, 2)
        input_ids[1, columns] = padding_token(architecture)
        attention_mask[1, columns] = 0
        whole_word_ids[1, columns] = 0
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "whole_word_ids": whole_word_ids,
        "task_id": torch.tensor([2, 0, 2]),
    }


def prompt_parameters(model: Any) -> list[torch.nn.Parameter]:
    return list(model.base_model.prompts.task_prompts("default").values())


def padding_token(architecture: str) -> int:
    special = ARCHITECTURES[architecture].padding
    return make_base(architecture).config.pad_token_id if special is None else special


def make_targets() -> dict[str, torch.Tensor]:
    labels = torch.randint(5, 45, (3, 5), generator=torch.Generator().manual_seed(2))
    start = torch.full((3, 1), 2)
    return {"decoder_input_ids": torch.cat([start, labels[:, :-1]], dim=1), "labels": labels}


# The oracle


@contextlib.contextmanager
def embeddings_replaced(base: PreTrainedModel, path: str, rows: torch.Tensor) -> Iterator[None]:
    hook = base.get_submodule(path).register_forward_hook(lambda module, arguments, output: rows)
    try:
        yield
    finally:
        hook.remove()


def oracle_rows(model: Any, architecture: str, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the base's encoder is to be given, row by row, by the numbers that the registry states."""
    place = ARCHITECTURES[architecture]
    weight = model.get_base_model().get_submodule(place.embedding).weight
    layer = model.base_model.prompts
    prompts, words = prompt_parameters(model), layer.pod_whole_words["default"]
    rows = []
    for tokens, word_ids, task in zip(batch["input_ids"], batch["whole_word_ids"], batch["task_id"], strict=True):
        embedded = [weight[token] * place.scale for token in tokens]
        for position, word in enumerate(word_ids.tolist()):
            if word:
                embedded[position] = embedded[position] + words[word - 1]
        rows.append(torch.stack([*(prompts[task] if prompts else ()), *embedded]) / place.input_scale)
    ones = torch.ones(len(rows), len(prompts[0]) if prompts else 0, dtype=torch.long)
    return torch.stack(rows), torch.cat([ones, batch["attention_mask"]], dim=1)


def oracle_call(model: Any, architecture: str, batch: dict[str, torch.Tensor], run: str, **kwargs: Any) -> Any:
    """Call `run` of the base alone."""
    base = model.get_base_model()
    rows, mask = oracle_rows(model, architecture, batch)
    function = getattr(base, run)
    if ARCHITECTURES[architecture].positions != "from tokens":
        return function(inputs_embeds=rows, attention_mask=mask, **kwargs)
    # Give it tokens, so that it counts positions, and other embeddings for them behind its back.
    tokens = mask * 7 + (1 - mask) * base.config.pad_token_id
    if architecture == "fsmt" and "labels" in kwargs and "decoder_input_ids" not in kwargs:
        kwargs["decoder_input_ids"] = torch.roll(kwargs["labels"], 1, dims=1)
    with embeddings_replaced(base, ARCHITECTURES[architecture].embedding, rows):
        return function(input_ids=tokens, attention_mask=mask, **kwargs)


@architectures
@torch.no_grad()
def test_embeddings_equal_the_base_on_tokens(architecture):
    """Without prompts and whole words: embedding scales, and what positions hang on."""
    place, base = ARCHITECTURES[architecture], make_base(architecture)
    encoder = base.get_encoder()
    for padding in PADDINGS:
        batch = make_batch(architecture, padding)
        mask = batch["attention_mask"]
        expected = encoder(input_ids=batch["input_ids"], attention_mask=mask)[0]
        embeds = embed_tokens(base, batch["input_ids"])
        call = complete_call(base, {"inputs_embeds": embeds, "attention_mask": mask}, 0, generating=True)
        actual = call["encoder_outputs"] if "encoder_outputs" in call else encoder(**call)
        torch.testing.assert_close(actual[0][mask == 1], expected[mask == 1], **CLOSE)
        by_hand = base.get_submodule(place.embedding).weight[batch["input_ids"]] * place.scale / place.input_scale
        torch.testing.assert_close(embeds, by_hand, **CLOSE)


@architectures
@modes_and_prompts
def test_logits_equal_the_oracle(architecture, mode, prompts):
    """With whole words, tasks mixed in one batch, decoder inputs given or made from labels, and either padding."""
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    with torch.no_grad():
        for padding in PADDINGS:
            batch = make_batch(architecture, padding)
            for targets in (make_targets(), {"labels": make_targets()["labels"]}):
                actual = model(**batch, **targets)
                expected = oracle_call(model, architecture, batch, "forward", **targets)
                torch.testing.assert_close(actual.logits, expected.logits, **CLOSE)
                torch.testing.assert_close(actual.loss, expected.loss, **CLOSE)
                assert actual.logits.isfinite().all()


@architectures
@modes
def test_gradients_reach_what_is_trained(architecture, mode):
    model = pod_model(architecture, mode)
    frozen = {name for name, parameter in make_base(architecture).named_parameters() if not parameter.requires_grad}
    model.train()
    batch, labels = make_batch(architecture, "right"), make_targets()["labels"]
    labels[0, -1] = -100
    before = labels.clone()
    model(**batch, labels=labels).loss.backward()
    assert torch.equal(labels, before)

    first, second, third = (prompts.grad.abs().amax(dim=-1) for prompts in prompt_parameters(model))
    assert (torch.cat([first, third]) > 0).all()
    assert (second == 0).all()
    words = model.base_model.prompts.pod_whole_words["default"].grad.abs().amax(dim=-1)
    assert (words[:3] > 0).all()
    assert (words[3:] == 0).all()

    reached = {
        name.removeprefix("base_model.model.")
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and name.startswith("base_model.model.")
    }
    if mode == "frozen":
        assert not reached
    elif mode == "lora":
        assert all("lora_" in name for name in reached)
    if mode != "frozen":
        assert any("encoder." in name for name in reached)
        assert any("decoder." in name for name in reached)
        assert not reached & frozen  # tables of sines stay as they are


@architectures
def test_switching_training_off_and_on_leaves_the_base_as_trainable_as_it_was(architecture):
    """Tables of sines (Pegasus, Marian and others) are parameters that their bases keep from training."""
    model = get_peft_model(make_base(architecture), make_config("full"))
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.set_requires_grad("default", requires_grad=False)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.set_requires_grad("default", requires_grad=True)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


@architectures
@torch.no_grad()
def test_without_prompts_and_whole_words_it_is_the_base_exactly(architecture):
    """On tokens, not on embeddings of them, and whether tasks are given or not."""
    base = make_base(architecture)
    model = pod_model(architecture, "full", num_virtual_tokens=0, whole_word_embedding=False)
    for padding in PADDINGS:
        batch, targets = make_batch(architecture, padding), make_targets()
        plain = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        shifted = {"decoder_input_ids": torch.roll(targets["labels"], 1, dims=1)} if architecture == "fsmt" else {}
        for given, task in ((targets, batch["task_id"]), ({"labels": targets["labels"]}, None)):
            expected = base(**plain, **{**shifted, **given})  # FSMT alone does not make decoder inputs from labels
            found = model(**plain, **given, task_id=task)
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.loss, expected.loss)
        for settings in ({"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}):
            settings = {**settings, "max_new_tokens": 4, "do_sample": False}
            written = model.generate(**plain, **settings, task_id=batch["task_id"])
            assert torch.equal(written, base.generate(**plain, **settings))
    with pytest.raises(ValueError, match="task_id 3 is out of range"):
        model(**plain, **targets, task_id=3)


@architectures
@torch.no_grad()
def test_generation_equals_the_oracle(architecture):
    model = pod_model(architecture)
    eos = model.generation_config.eos_token_id

    def allowed(row: int, tokens: torch.Tensor) -> list[int]:
        return [10 + 4 * row + step for step in range(4)] + [eos]

    for settings in (
        {"num_beams": 1},
        {"num_beams": 4, "num_return_sequences": 3},
        {"num_beams": 3, "num_return_sequences": 2, "prefix_allowed_tokens_fn": allowed},
    ):
        padding = "left" if "prefix_allowed_tokens_fn" in settings else "right"
        batch, settings = make_batch(architecture, padding), {**settings, "max_new_tokens": 4, "do_sample": False}
        generated = model.generate(**batch, **settings)
        assert len(generated) == 3 * settings.get("num_return_sequences", 1)
        assert torch.equal(generated, oracle_call(model, architecture, batch, "generate", **settings))
    for row in range(3):
        written = set(generated[2 * row : 2 * row + 2, 1:].flatten().tolist())
        assert written <= {*allowed(row, generated), model.generation_config.pad_token_id, 0}
        assert written & set(allowed(row, generated)[:-1])


@architectures
@torch.no_grad()
def test_padding_is_not_attended(architecture):
    model, targets = pod_model(architecture), make_targets()
    for padding in ("left", "right"):
        batch = make_batch(architecture, padding)
        expected = model(**batch, **targets).logits
        other = {**batch, "input_ids": torch.where(batch["attention_mask"] == 0, 9, batch["input_ids"])}
        assert not torch.equal(other["input_ids"], batch["input_ids"])
        torch.testing.assert_close(model(**other, **targets).logits, expected, **CLOSE)
        derived = {name: value for name, value in batch.items() if name != "attention_mask"}
        torch.testing.assert_close(model(**derived, **targets).logits, expected, **CLOSE)
        if ARCHITECTURES[architecture].row_alone:
            columns = slice(2, None) if padding == "left" else slice(None, -2)
            row = {name: value[1:2, columns] if value.ndim == 2 else value[1:2] for name, value in batch.items()}
            alone = model(**row, **{name: value[1:2] for name, value in targets.items()}).logits
            # Left padding stands between prompts and tokens, which keeps them apart except where it is not counted.
            same = padding == "right" or ARCHITECTURES[architecture].positions == "from tokens"
            assert torch.allclose(alone, expected[1:2], **CLOSE) is same


@architectures
@torch.no_grad()
def test_decoder_does_not_see_what_it_is_to_write(architecture):
    model, batch = pod_model(architecture), make_batch(architecture)
    labels = make_targets()["labels"][:, :4].contiguous()
    changed = labels.clone()
    changed[:, 2] = 46
    for name, seen in (("labels", 3), ("decoder_input_ids", 2)):
        first, second = (model(**batch, **{name: given}).logits for given in (labels, changed))
        torch.testing.assert_close(first[:, :seen], second[:, :seen], **CLOSE)
        assert not torch.allclose(first[:, seen], second[:, seen], atol=1e-4)
    shorter = model(**batch, decoder_input_ids=changed[:, :2].contiguous()).logits
    assert torch.allclose(shorter, second[:, :2], **CLOSE) is ARCHITECTURES[architecture].length_of_output_is_free


@architectures
@torch.no_grad()
def test_encoder_outputs_are_taken_as_they_are(architecture):
    """As a tuple or as an output, with a mask for the tokens or for the prompts too, and with a cache asked for."""
    model, batch = pod_model(architecture), make_batch(architecture, "right")
    targets = {"decoder_input_ids": torch.tensor([[2]] * 3)}
    expected = model(**batch, **targets)
    cached = model(**batch, **targets, use_cache=True)
    torch.testing.assert_close(cached.logits, expected.logits, **CLOSE)
    assert cached.past_key_values is not None
    hidden, mask = expected.encoder_last_hidden_state, batch["attention_mask"]
    long_mask = torch.nn.functional.pad(mask, (PROMPTS, 0), value=1)
    settings = {"num_beams": 3, "max_new_tokens": 3, "do_sample": False}
    written = model.generate(**batch, **settings)
    for given in (mask, long_mask):
        for outputs in ((hidden,), BaseModelOutput(last_hidden_state=hidden)):
            logits = model(encoder_outputs=outputs, attention_mask=given, **targets).logits
            torch.testing.assert_close(logits, expected.logits, **CLOSE)
        outputs = BaseModelOutput(last_hidden_state=hidden)
        assert torch.equal(model.generate(encoder_outputs=outputs, attention_mask=given, **settings), written)


@architectures
@pytest.mark.parametrize("mode", ["frozen", "lora"])
@torch.no_grad()
def test_without_the_adapter_it_is_the_base_exactly(architecture, mode):
    batch, targets = make_batch(architecture, "right"), make_targets()
    plain = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    settings = {"max_new_tokens": 3, "num_beams": 2, "do_sample": False}
    base = make_base(architecture)
    base.requires_grad_(False)  # torch multiplies another way where gradients may be asked for, to another last bit
    expected = base(**plain, **targets).logits
    written = base.generate(**plain, **settings)
    state = {name: value.clone() for name, value in base.state_dict().items()}

    model = pod_model(architecture, mode)
    with_adapter = model(**batch, **targets).logits
    assert not torch.allclose(with_adapter, expected, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(model(**batch, **targets).logits, expected)
        assert torch.equal(model.generate(**plain, **settings), written)
    torch.testing.assert_close(model(**batch, **targets).logits, with_adapter)
    base = model.unload()
    assert torch.equal(base(**plain, **targets).logits, expected)
    assert base.state_dict().keys() == state.keys()
    for name, value in base.state_dict().items():
        assert torch.equal(value, state[name])
    assert not [module for module in base.modules() if module._forward_pre_hooks or module._forward_hooks]


@architectures
@modes_and_prompts
@torch.no_grad()
def test_saves_and_loads_to_equal_logits(architecture, mode, prompts, tmp_path):
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    batch, targets = make_batch(architecture), make_targets()
    if mode == "full":
        for parameter in model.get_base_model().parameters():
            if parameter.requires_grad:
                parameter.mul_(1.1)
    model.save_pretrained(tmp_path)
    base = make_base(architecture, seed=9 if mode == "full" else 0)
    loaded = PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(loaded(**batch, **targets).logits, model(**batch, **targets).logits, **CLOSE)


@architectures
def test_missing_decoder_inputs_are_named(architecture):
    """Trap: with embeddings alone, some bases would shift the encoder's tokens, and fail without a reason."""
    model = pod_model(architecture)
    with pytest.raises(ValueError, match="the decoder has no input: pass labels="):
        model(**make_batch(architecture))


@architectures
def test_prompts_start_as_the_encoder_sees_tokens(architecture):
    model = get_peft_model(make_base(architecture), make_config(prompt_init="vocabulary"))
    place = ARCHITECTURES[architecture]
    table = model.get_base_model().get_submodule(place.embedding).weight * place.scale
    for prompt in torch.cat(prompt_parameters(model)):
        assert (table - prompt).abs().amax(dim=1).min() < 1e-5


@architectures
@torch.no_grad()
def test_encoder_is_told_what_to_return(architecture):
    model, batch, targets = pod_model(architecture), make_batch(architecture), make_targets()
    expected = model(**batch, **targets)
    detailed = model(**batch, **targets, output_hidden_states=True)
    assert len(detailed.encoder_hidden_states) == 3
    torch.testing.assert_close(model(**batch, **targets, return_dict=False)[1], expected.logits)


@pytest.mark.parametrize("architecture", ["switch", "nllb-moe"])
@torch.no_grad()
def test_mixtures_of_experts_have_their_routers_loss(architecture):
    model, batch, targets = pod_model(architecture), make_batch(architecture), make_targets()
    output = model(**batch, **targets, output_router_logits=True)
    rows, mask = oracle_rows(model, architecture, batch)
    base = model.get_base_model()
    expected = base(inputs_embeds=rows, attention_mask=mask, **targets, output_router_logits=True)
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(output.encoder_aux_loss, expected.encoder_aux_loss)
    assert output.loss > model(**batch, **targets).loss


@pytest.mark.parametrize("prompts", [PROMPTS, 0])
@torch.no_grad()
def test_led_global_attention_covers_the_prompts(prompts):
    model, batch, targets = pod_model("led", num_virtual_tokens=prompts), make_batch("led"), make_targets()
    looked_at = torch.zeros_like(batch["input_ids"])
    looked_at[:, 0] = 1
    actual = model(**batch, **targets, global_attention_mask=looked_at).logits
    longer = torch.cat([torch.ones(3, prompts, dtype=torch.long), looked_at], dim=1)
    expected = oracle_call(model, "led", batch, "forward", **targets, global_attention_mask=longer).logits
    torch.testing.assert_close(actual, expected, **CLOSE)
    assert not torch.allclose(actual, model(**batch, **targets).logits, atol=1e-3)
    torch.testing.assert_close(model(**batch, **targets, global_attention_mask=longer).logits, actual)
    settings = {"max_new_tokens": 3, "num_beams": 2, "do_sample": False}
    generated = model.generate(**batch, **settings, global_attention_mask=looked_at)
    assert torch.equal(
        generated, oracle_call(model, "led", batch, "generate", **settings, global_attention_mask=longer)
    )
    with pytest.raises(ValueError, match="global_attention_mask has length 4, but the input 19"):
        model(**batch, **targets, global_attention_mask=looked_at[:, :4])


@torch.no_grad()
def test_bigbird_stays_block_sparse_on_long_inputs():
    model = pod_model("bigbird-pegasus-sparse")
    model(**make_batch("bigbird-pegasus-sparse"), **make_targets())
    assert model.get_base_model().get_encoder().attention_type == "block_sparse"


def test_a_base_without_a_head_is_refused():
    with pytest.raises(ValueError, match="T5Model has no head"):
        get_peft_model(T5Model(make_base("t5").config), make_config())


def test_a_base_that_reads_sound_is_refused():
    config = Speech2TextConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, input_feat_per_channel=8, conv_channels=8,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Speech2TextForConditionalGeneration reads 'input_features'"):
        get_peft_model(Speech2TextForConditionalGeneration(config), make_config())


def test_a_base_that_speaks_is_refused():
    config = ARCHITECTURES["seamless-m4t"].make().config
    config.update({"unit_hifi_gan_vocab_size": 10, "unit_embed_dim": 8, "upsample_initial_channel": 32})
    with pytest.raises(ValueError, match="SeamlessM4TForTextToSpeech speaks; use its class ...ForTextToText"):
        get_peft_model(SeamlessM4TForTextToSpeech(config), make_config())


def test_a_base_whose_encoder_takes_no_embeddings_is_refused(monkeypatch):
    base = make_base("t5")
    monkeypatch.setattr(type(base.get_encoder()), "forward", lambda self, input_ids: None)
    with pytest.raises(ValueError, match="T5Stack, the encoder of T5ForConditionalGeneration, takes no inputs_embeds"):
        get_peft_model(base, make_config())


def test_docs_are_up_to_date():
    """`python -m tests.tuner.architectures > docs/architectures.md`"""
    assert (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8") == as_markdown()
