"""Token embeddings that learn at a rate of their own."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import BartConfig, BartForConditionalGeneration

from peft_pod import PODConfig
from peft_pod.training import PODTrainer, PODTrainingArguments
from peft_pod.training.embedding_rate import set_rate_ratio, token_embeddings

from .test_trainer import make_trainer, weights


def moved(split, processor, folder, **arguments):
    """How far each weight moves in the first step of plain gradient descent."""
    trainer = make_trainer(
        split, processor, folder, with_eval=False, max_steps=1, optim="sgd", max_grad_norm=0, learning_rate=1.0,
        lr_scheduler_type="constant", **arguments,
    )  # fmt: skip
    before = weights(trainer.model)
    trainer.train()
    return {name: value - before[name] for name, value in weights(trainer.model).items()}, trainer


def test_embeddings_alone_move_so_many_times_as_far(split, processor, tmp_path):
    plain, _ = moved(split, processor, tmp_path / "plain")
    faster, trainer = moved(split, processor, tmp_path / "faster", embedding_lr_ratio=3.0)
    embeddings = {id(weight) for weight in token_embeddings(trainer.model)}
    names = {name for name, weight in trainer.model.named_parameters() if id(weight) in embeddings}
    assert len(names) == 1
    for name, step in faster.items():
        torch.testing.assert_close(step, (3 if name in names else 1) * plain[name], rtol=1e-4, atol=1e-6)
    assert any(plain[name].abs().max() > 0 for name in names)


def test_the_schedule_scales_both_rates_and_the_log_has_that_of_the_rest(split, processor, tmp_path):
    trainer = make_trainer(
        split, processor, tmp_path, with_eval=False, max_steps=4, embedding_lr_ratio=2.0, lr_scheduler_type="linear"
    )
    trainer.train()
    *rest, embeddings = [group["lr"] for group in trainer.optimizer.param_groups]
    assert all(rate == rest[0] for rate in rest)
    logged = [line["learning_rate"] for line in trainer.state.log_history if "learning_rate" in line]
    assert logged == pytest.approx([5e-3, 5e-3 * 3 / 4, 5e-3 / 2, 5e-3 / 4])
    assert embeddings == 2 * rest[0]


def test_resuming_goes_on_with_both_rates(split, processor, tmp_path):
    options = {"with_eval": False, "max_steps": 6, "embedding_lr_ratio": 2.0, "save_strategy": "steps", "save_steps": 3}
    whole = make_trainer(split, processor, tmp_path / "whole", **options)
    whole.train()
    again = make_trainer(split, processor, tmp_path / "whole", **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for name, value in weights(whole.model).items():
        assert torch.equal(value, weights(again.model)[name]), name


def test_an_output_layer_of_its_own_counts_as_embeddings():
    config = BartConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, tie_word_embeddings=False,
    )  # fmt: skip
    model = get_peft_model(BartForConditionalGeneration(config), PODConfig(num_tasks=1, train_base=True))
    assert [tuple(weight.shape) for weight in token_embeddings(model)] == [(20, 8), (20, 8)]


def test_where_embeddings_are_frozen_nothing_changes():
    trained, frozen = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = torch.optim.SGD([trained], lr=0.5)
    set_rate_ratio(optimizer, [frozen], 4)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_that_cannot_be_used_is_refused(tmp_path, ratio):
    with pytest.raises(ValueError, match="embedding_lr_ratio must be above 0"):
        PODTrainingArguments(output_dir=str(tmp_path), embedding_lr_ratio=ratio)


def test_an_optimizer_of_the_callers_has_its_own_rates(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, with_eval=False)
    arguments = PODTrainingArguments(output_dir=str(tmp_path), embedding_lr_ratio=2.0, use_cpu=True)
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="embedding_lr_ratio is 2.0, and an optimizer was given"):
        PODTrainer(trainer.model, arguments, processor=processor, optimizers=(optimizer, None))
