from __future__ import annotations

import copy

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from peft_pod.training import blockwise_attention
from peft_pod.training.blockwise_attention import BLOCKWISE

HEADS, WIDTH = 4, 8


class Layer(torch.nn.Module):
    """What the attention function asks a layer for."""

    def __init__(self, is_causal=False, is_decoder=True):
        super().__init__()
        self.is_causal, self.is_decoder = is_causal, is_decoder


def plain(query, key, value, mask, bias, scaling, kept=None, scale=1.0):
    """Attention as it is written in papers, on whole tensors in double precision."""
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * scaling
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-torch.inf, dtype=scores.dtype))
    weights = scores.softmax(-1)
    if kept is not None:
        weights = weights * kept * scale
    return torch.einsum("bhqk,bhkd->bqhd", weights, value)


def tensors(batch, queries, keys, bias=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(queries * 100 + keys)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    made = [draw(batch, HEADS, queries, WIDTH), draw(batch, HEADS, keys, WIDTH), draw(batch, HEADS, keys, WIDTH)]
    return [*made, draw(1, HEADS, queries, keys) if bias else None]


def key_mask(lengths, keys):
    return torch.arange(keys)[None, None, None, :] < torch.tensor(lengths)[:, None, None, None]


def causal_mask(queries, keys):
    return (torch.arange(keys)[None, :] <= torch.arange(queries)[:, None])[None, None]


def compare(given, mask, *, layer, scaling=1.0, expected_mask=None, weight=None, **kwargs):
    """Output and gradients of both, weighted as a loss would."""
    results = []
    for ours in (True, False):
        leaves = [None if tensor is None else tensor.detach().clone().requires_grad_() for tensor in given]
        query, key, value, bias = leaves
        if ours:
            output, _ = blockwise_attention.blockwise_attention(
                layer, query, key, value, mask, scaling=scaling, position_bias=bias, **kwargs
            )
            assert "Blockwise" in type(output.grad_fn.next_functions[0][0]).__name__
        else:
            output = plain(query, key, value, expected_mask if expected_mask is not None else mask, bias, scaling)
        factor = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
        if weight is not None:
            factor = factor * weight
        (output * factor).sum().backward()
        results.append(
            [output.detach() * (1 if weight is None else weight), *(leaf.grad for leaf in leaves if leaf is not None)]
        )
    for mine, right in zip(*results, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-9, atol=1e-9)


@pytest.fixture(params=[1, 2000, 10**9], ids=["one head a block", "some samples a block", "one block"])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(blockwise_attention, "_BLOCK_BYTES", request.param)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("lengths", [[7, 7, 7, 7, 7], [7, 2, 5, 1, 4], [3, 3, 3, 3, 3]], ids=str)
def test_encoder_attention_is_that_of_the_formula(lengths, bias, block_bytes):
    mask = key_mask(lengths, 7)
    # Nobody looks at what padded positions become; a loss neither.
    attended = mask[:, 0, 0, :, None, None].double()
    compare(tensors(5, 7, 7, bias), mask, layer=Layer(is_decoder=False), weight=attended)


@pytest.mark.parametrize("scaling", [1.0, 0.3])
def test_cross_attention_is_that_of_the_formula(scaling, block_bytes):
    compare(tensors(3, 4, 9), key_mask([9, 5, 6], 9), layer=Layer(), scaling=scaling)
    # As many answers as questions does not make it the encoder's: every query counts.
    compare(tensors(3, 9, 9), key_mask([9, 5, 6], 9), layer=Layer(), scaling=scaling)


def test_causal_attention_is_that_of_the_formula(block_bytes):
    compare(tensors(3, 6, 6), None, layer=Layer(is_causal=True), expected_mask=causal_mask(6, 6))
    compare(tensors(3, 6, 6), causal_mask(6, 6) & key_mask([6, 4, 1], 6), layer=Layer(is_causal=True))


def test_padding_in_the_middle_and_on_the_left(block_bytes):
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1]]).bool()[:, None, None, :]
    compare(tensors(2, 3, 6), mask, layer=Layer())


def test_dropped_weights_are_those_that_were_drawn(monkeypatch):
    monkeypatch.setattr(blockwise_attention, "_BLOCK_BYTES", 10**9)
    batch, length, probability = 2, 16, 0.25
    query, key, value, _ = tensors(batch, length, length, bias=False)
    # With the identity as values, the output shows the weights.
    value = torch.eye(length, dtype=torch.float64).expand(batch, HEADS, -1, -1).contiguous().requires_grad_()
    torch.manual_seed(3)
    output, _ = blockwise_attention.blockwise_attention(
        Layer(), query, key, value, None, dropout=probability, scaling=1.0, is_causal=False
    )
    kept = (output.transpose(1, 2) != 0).double().detach()
    assert 0.65 < kept.mean() < 0.85
    factor = torch.randn(output.shape, dtype=torch.float64)
    (output * factor).sum().backward()
    mine = [query.grad.clone(), key.grad.clone(), value.grad.clone()]
    for leaf in (query, key, value):
        leaf.grad = None
    expected = plain(query, key, value, None, None, 1.0, kept, 1 / (1 - probability))
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    (expected * factor).sum().backward()
    for ours, leaf in zip(mine, (query, key, value), strict=True):
        torch.testing.assert_close(ours, leaf.grad, rtol=1e-9, atol=1e-9)
    torch.manual_seed(3)
    again, _ = blockwise_attention.blockwise_attention(
        Layer(), query, key, value, None, dropout=probability, scaling=1.0, is_causal=False
    )
    assert torch.equal(again, output)


def t5(dropout=0.0):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=dropout,
        decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).train()


def bart():
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=50, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    return BartForConditionalGeneration(config).train()


def batch(padded):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(3, 50, (4, 24), generator=generator)
    labels = torch.randint(3, 50, (4, 5), generator=generator)
    lengths = torch.tensor([24, 11, 17, 3]) if padded else torch.full((4,), 24)
    mask = (torch.arange(24)[None] < lengths[:, None]).long()
    return {"input_ids": inputs, "attention_mask": mask, "labels": labels}


def losses_and_gradients(model, implementation, inputs, autocast=False):
    model = copy.deepcopy(model)
    model.set_attn_implementation(implementation)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(**inputs).loss
    loss.backward()
    return loss, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("make", [t5, bart])
def test_whole_models_learn_the_same_as_with_eager_attention(make, padded):
    model, inputs = make(), batch(padded)
    mine, my_gradients = losses_and_gradients(model, BLOCKWISE, inputs)
    right, gradients = losses_and_gradients(model, "eager", inputs)
    assert mine.item() == pytest.approx(right.item(), rel=1e-5)
    assert gradients.keys() == my_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(my_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_bf16_differs_by_its_rounding_alone():
    model, inputs = t5(), batch(True)
    exact, exact_gradients = losses_and_gradients(model, "eager", inputs)
    mine, my_gradients = losses_and_gradients(model, BLOCKWISE, inputs, autocast=True)
    _, usual_gradients = losses_and_gradients(model, "eager", inputs, autocast=True)
    assert mine.item() == pytest.approx(exact.item(), rel=2e-2)
    for name in exact_gradients:
        error = (my_gradients[name] - exact_gradients[name]).norm()
        assert error <= 3 * (usual_gradients[name] - exact_gradients[name]).norm() + 1e-3, name


def test_what_is_not_covered_is_left_to_pytorch():
    query, key, value, bias = tensors(2, 4, 6, dtype=torch.float32)
    float_mask = torch.zeros(2, 1, 4, 6)
    output, _ = blockwise_attention.blockwise_attention(
        Layer(), query, key, value, float_mask, scaling=1.0, position_bias=bias
    )
    assert "Blockwise" not in str(output.grad_fn.next_functions)
    torch.testing.assert_close(output, plain(query, key, value, None, bias, 1.0), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        free, _ = blockwise_attention.blockwise_attention(
            Layer(), query, key, value, None, scaling=1.0, position_bias=bias, is_causal=False
        )
    torch.testing.assert_close(free, output, rtol=1e-4, atol=1e-5)
