from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from peft_pod import PODConfig
from peft_pod.generation.prompt_attention import (
    FROM_ANSWER,
    FROM_PROMPTS,
    FROM_TOKENS,
    PLACES,
    attention_shares,
    prompt_attention,
    share_on_prompts,
)
from peft_pod.training.attention import using_attention

from ..tuner.architectures import ARCHITECTURES
from .models import make_inputs, make_model

PROMPTS = 3


def with_answers(model, batch):
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(2, 40, (len(batch["input_ids"]), 4), generator=generator)
    labels[1, 2:] = -100
    return {**batch, "labels": labels}


def shares_of(model, batch):
    with using_attention(model.get_base_model(), "eager"), torch.inference_mode():
        return attention_shares(model, batch, PROMPTS)


def test_share_by_hand():
    weights = torch.tensor([[[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]]])
    # The last query is padding and does not count: (0.75 + 0.3) / 2.
    assert share_on_prompts(weights, torch.tensor([[1, 1, 0]]), 2).item() == pytest.approx(0.525)


def test_weights_that_are_none_are_refused():
    weights = torch.full((1, 1, 2, 4), 0.2)
    with pytest.raises(ValueError, match=r"should sum to 1 and miss it by 0\.200"):
        share_on_prompts(weights, torch.ones(1, 2), 2)
    weights[:, :, 0] = 0.25
    assert share_on_prompts(weights, torch.tensor([[1, 0]]), 2).item() == 0.5


def test_first_layer_of_t5_by_hand():
    """Scores, position bias, mask and softmax written out, from the embedded input on."""
    model = make_model("t5", "frozen")
    batch = with_answers(model, make_inputs(model))
    found = shares_of(model, batch)
    base = model.get_base_model()
    with torch.no_grad():
        inputs = model.base_model.encoder_inputs(
            *(batch[name] for name in ("input_ids", "attention_mask")),
            task_id=batch["task_id"],
            whole_word_ids=batch["whole_word_ids"],
        )
        attention = base.encoder.block[0].layer[0]
        states = attention.layer_norm(inputs["inputs_embeds"])
        rows, length, _ = states.shape
        query, key = (
            layer(states).view(rows, length, 2, 8).transpose(1, 2)
            for layer in (attention.SelfAttention.q, attention.SelfAttention.k)
        )
        scores = query @ key.transpose(2, 3) + attention.SelfAttention.compute_bias(length, length)
        scores = scores.masked_fill(inputs["attention_mask"][:, None, None] == 0, -1e9)
        weights = scores.softmax(dim=-1)
    for row in range(rows):
        tokens = [PROMPTS + place for place in range(length - PROMPTS) if batch["attention_mask"][row, place]]
        on_prompts = weights[row, :, :, :PROMPTS].sum(dim=-1)
        assert torch.allclose(found[FROM_TOKENS][row, 0], on_prompts[:, tokens].mean(dim=1), atol=1e-5)
        assert torch.allclose(found[FROM_PROMPTS][row, 0], on_prompts[:, :PROMPTS].mean(dim=1), atol=1e-5)
    assert found[FROM_TOKENS].shape == (5, 3, 2)  # questions, layers, heads
    assert found[FROM_ANSWER].shape == (5, 2, 2)


def test_uniform_attention_gives_the_share_of_positions():
    model = make_model("t5", "frozen")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".q.weight") or "relative_attention_bias" in name:
                parameter.zero_()
    batch = with_answers(model, make_inputs(model))
    lengths = batch["attention_mask"].sum(dim=1)
    expected = (PROMPTS / (PROMPTS + lengths))[:, None, None]
    for shares in shares_of(model, batch).values():
        assert torch.allclose(shares, expected.expand_as(shares), atol=1e-5)


def test_rows_do_not_depend_on_padding():
    model = make_model("t5", "frozen")
    batch = with_answers(model, make_inputs(model))
    together = shares_of(model, batch)
    alone = {name: tensor[2:3, :9] if tensor.ndim == 2 else tensor[2:3] for name, tensor in batch.items()}
    for place, shares in shares_of(model, alone).items():
        assert torch.allclose(shares[0], together[place][2], atol=1e-5), place


def small_model(name):
    torch.manual_seed(0)
    base = ARCHITECTURES[name].make()
    config = PODConfig(num_tasks=2, num_virtual_tokens=PROMPTS, whole_word_embedding=False)
    model = get_peft_model(base, config).eval()
    inputs = {"input_ids": torch.randint(4, 40, (2, ARCHITECTURES[name].length)), "task_id": torch.tensor([0, 1])}
    return model, {
        **inputs,
        "attention_mask": torch.ones_like(inputs["input_ids"]),
        "labels": torch.randint(4, 40, (2, 4)),
    }


@pytest.mark.parametrize("name", ["bart", "switch", "pegasus", "marian"])
def test_other_architectures(name):
    model, batch = small_model(name)
    base = model.get_base_model()
    attention = "eager" if base._can_set_attn_implementation() else "auto"
    with using_attention(base, attention), torch.inference_mode():
        found = attention_shares(model, batch, PROMPTS)
    assert list(found) == list(PLACES)
    for shares in found.values():
        assert shares.shape[0] == 2
        assert (shares > 0).all()
        assert (shares < 1).all()


@pytest.mark.parametrize(("name", "kind"), [("led", "led"), ("pegasus-x", "pegasus_x")])
def test_local_attention_is_refused(name, kind):
    model, batch = small_model(name)
    message = f"{kind!r} gives encoder_attentions of shape .* local"
    with torch.inference_mode(), pytest.raises(ValueError, match=message):
        attention_shares(model, batch, PROMPTS)


def test_a_model_without_prompts_is_refused():
    model = make_model("t5", "no prompts")
    with pytest.raises(ValueError, match="no prompts on which attention could fall: its num_virtual_tokens is 0"):
        prompt_attention(model, None, [], "topn")


def test_scores_that_are_no_weights_are_refused():
    """Transformers' ProphetNet gives its scores before the softmax."""
    model, batch = small_model("prophetnet")
    with torch.inference_mode(), pytest.raises(ValueError, match="'prophetnet' gives as encoder_attentions are no"):
        attention_shares(model, batch, PROMPTS)


def test_no_weights_are_refused():
    """Such as those of an attention that never makes them."""
    model, batch = small_model("bart")
    with (
        using_attention(model.get_base_model(), "sdpa"),
        torch.inference_mode(),
        pytest.raises(ValueError, match="'bart' gives no encoder_attentions"),
    ):
        attention_shares(model, batch, PROMPTS)
