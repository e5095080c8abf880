from __future__ import annotations

import contextlib
import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, BartForConditionalGeneration, TrainerCallback

from peft_pod.processing import TrainingSamples
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model
from peft_pod.training.attention import base_of, resolve_attention, using_attention
from peft_pod.training.blockwise_attention import BLOCKWISE

from ..tuner.models import make_base
from .test_trainer import make_trainer


def implementations(model):
    return {module.config._attn_implementation for module in model.modules() if hasattr(module, "config")}


def test_auto_is_blockwise_where_a_bias_is_learned():
    t5 = make_base("t5")
    assert resolve_attention(t5, "auto") == BLOCKWISE
    bart = BartForConditionalGeneration(BartConfig(vocab_size=9, d_model=16, encoder_layers=1, decoder_layers=1))
    assert resolve_attention(bart, "auto") is None
    assert resolve_attention(bart, "blockwise") == BLOCKWISE
    with pytest.raises(ValueError, match="attention must be one of"):
        resolve_attention(t5, "flash")


def test_a_base_whose_attention_cannot_be_chosen_is_refused(monkeypatch):
    base = make_base("t5")
    monkeypatch.setattr(type(base), "_can_set_attn_implementation", classmethod(lambda cls: False))
    assert resolve_attention(base, "auto") is None
    with pytest.raises(ValueError, match="'t5' does not let its attention be chosen"):
        resolve_attention(base, "blockwise")


def test_a_base_has_its_own_attention_again_also_after_an_error():
    base = make_base("t5")
    before = implementations(base)
    with contextlib.suppress(RuntimeError), using_attention(base, "auto"):
        assert implementations(base) == {BLOCKWISE}
        raise RuntimeError("stop")
    assert implementations(base) == before


class Watcher(TrainerCallback):
    def __init__(self):
        self.seen = set()

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen |= implementations(base_of(model))


@pytest.mark.parametrize(("asked", "used"), [("auto", BLOCKWISE), ("eager", "eager"), ("sdpa", "sdpa")])
def test_training_uses_what_was_asked_for(split, processor, tmp_path, asked, used):
    watcher = Watcher()
    trainer = make_trainer(
        split, processor, tmp_path, with_eval=False, max_steps=1, attention=asked, callbacks=[watcher]
    )
    trainer.train()
    assert watcher.seen == {used}
    assert BLOCKWISE not in implementations(base_of(trainer.model))


def test_all_attentions_train_to_the_same_weights(split, processor, tmp_path):
    trained = []
    for attention in ("eager", "blockwise"):
        trainer = make_trainer(
            split, processor, tmp_path / attention, with_eval=False, max_steps=6, attention=attention, optim="sgd"
        )
        trainer.train()
        trained.append({name: weight.detach() for name, weight in trainer.model.named_parameters()})
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, rtol=1e-5, atol=1e-6, msg=name)


def test_a_saved_model_knows_nothing_of_it(split, processor, tmp_path):
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, max_whole_words=16, train_base=True)
    arguments = PODTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=2, eval_strategy="no",
        load_best_model_at_end=False, save_strategy="steps", save_steps=1, disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    PODTrainer(model, arguments, processor=processor, train_dataset=TrainingSamples(split.train, processor)).train()
    base = base_of(model).eval()
    base.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    for path in tmp_path.rglob("*.json"):
        assert BLOCKWISE not in path.read_text(encoding="utf-8"), path
    config = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    assert not any("attn" in name for name in config)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base").eval()
    inputs = torch.tensor([[5, 6, 7, 1]])
    assert torch.equal(again.generate(inputs, max_new_tokens=5), base.generate(inputs, max_new_tokens=5))


def test_generation_with_it_still_set_is_that_of_sdpa():
    base = make_base("t5").eval()
    inputs = torch.tensor([[5, 6, 7, 8, 1], [5, 6, 1, 0, 0]])
    asked = {"attention_mask": (inputs != 0).long(), "max_new_tokens": 6, "num_beams": 3}
    expected = base.generate(inputs, **asked)
    with using_attention(base, "blockwise"):
        assert torch.equal(base.generate(inputs, **asked), expected)
