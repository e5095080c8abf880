"""A saved adapter put in the place of a loaded one."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from peft_pod.tuner import hotswap_adapter

from .models import ARCHITECTURES, MODES, make_base, make_batch, make_config, train_a_little

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def saved_adapter(architecture, mode, folder, steps=3, **overrides):
    model = get_peft_model(make_base(architecture), make_config(mode, init_seed=7, **overrides))
    train_a_little(model, make_batch(model), steps)
    model.save_pretrained(folder)
    return model


def loaded_adapter(architecture="t5", mode="frozen", **overrides):
    model = get_peft_model(make_base(architecture), make_config(mode, **overrides)).eval()
    return model, make_batch(model)


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("prompts", [3, 0])
def test_the_swapped_adapter_is_the_saved_one(architecture, mode, prompts, tmp_path):
    other = saved_adapter(architecture, mode, tmp_path, num_virtual_tokens=prompts)
    model, batch = loaded_adapter(architecture, mode, num_virtual_tokens=prompts)
    places = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    hotswap_adapter(model, str(tmp_path))
    torch.testing.assert_close(model(**batch).logits, other(**batch).logits, **CLOSE)
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == places
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trainable


def test_only_the_named_adapter_is_swapped(tmp_path):
    other = saved_adapter("t5", "lora", tmp_path)
    model, batch = loaded_adapter(mode="lora")
    before = model(**batch).logits
    model.add_adapter("second", make_config("lora"))
    hotswap_adapter(model, str(tmp_path), "second")
    assert torch.equal(model(**batch).logits, before)
    model.set_adapter("second")
    torch.testing.assert_close(model(**batch).logits, other(**batch).logits, **CLOSE)


def test_saved_modules_are_swapped_too(tmp_path):
    other = saved_adapter("t5", "frozen", tmp_path, modules_to_save=["lm_head"])
    model, batch = loaded_adapter(modules_to_save=["lm_head"])
    hotswap_adapter(model, str(tmp_path))
    torch.testing.assert_close(model(**batch).logits, other(**batch).logits, **CLOSE)


def test_tokens_of_other_numbers_are_not_swapped(tmp_path):
    """The rows have the same names and shapes."""
    saved_adapter("t5", "frozen", tmp_path, trainable_token_indices=[5, 6])
    model, _ = loaded_adapter(trainable_token_indices=[6, 7])
    with pytest.raises(ValueError, match=r"trainable_token_indices is \[6, 7\] here and \[5, 6\]"):
        hotswap_adapter(model, str(tmp_path))
    model, batch = loaded_adapter(trainable_token_indices=[5, 6])
    other = saved_adapter("t5", "frozen", tmp_path, trainable_token_indices=[5, 6])
    hotswap_adapter(model, str(tmp_path))
    torch.testing.assert_close(model(**batch).logits, other(**batch).logits, **CLOSE)


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_lora_of_the_head_is_swapped(architecture, tmp_path):
    """PEFT saves the head's own weights beside it."""
    lora = {"r": 2, "target_modules": ["lm_head", {"t5": "q", "bart": "q_proj"}[architecture]]}
    other = saved_adapter(architecture, "frozen", tmp_path, **lora)
    model, batch = loaded_adapter(architecture, **lora)
    hotswap_adapter(model, str(tmp_path))
    torch.testing.assert_close(model(**batch).logits, other(**batch).logits, **CLOSE)


@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_a_compiled_model_is_not_compiled_again(mode, tmp_path):
    other = saved_adapter("t5", mode, tmp_path)
    model, batch = loaded_adapter(mode=mode)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        compiled(**batch)
        hotswap_adapter(compiled, str(tmp_path))
        with torch.compiler.set_stance("fail_on_recompile"):
            found = compiled(**batch).logits
        torch.testing.assert_close(found, other(**batch).logits, **CLOSE)


@pytest.mark.parametrize(
    ("mode", "overrides", "message"),
    [
        ("frozen", {"tasks": ["topn", "sequential", "explanation"]}, "tasks is"),
        ("frozen", {"num_virtual_tokens": 4}, r"has shape \(3, 16\) here and \(4, 16\)"),
        ("frozen", {"num_virtual_tokens": 0}, r"lacks \['base_model.prompts.pod_prompts.task_explanation', "),
        ("frozen", {"whole_word_embedding": False}, r"lacks \['base_model.prompts.pod_whole_words'\]"),
        ("frozen", {"trainable_token_indices": [7, 8]}, r"trainable_token_indices is None here and \[7, 8\]"),
        ("lora", {"lora_alpha": 32}, "lora_alpha is 8 here and 32"),
        ("lora", {"r": 2}, "has shape"),
        ("lora", {"target_modules": ["q"]}, r"lacks .*12 and 0 in all"),
        ("lora", {"use_dora": True}, "lora_magnitude_vector"),
    ],
)
def test_what_differs_in_more_than_weights_is_refused_and_changes_nothing(mode, overrides, message, tmp_path):
    saved_adapter("t5", mode, tmp_path, steps=1, **overrides)
    model, _ = loaded_adapter(mode=mode)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        hotswap_adapter(model, str(tmp_path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_bad_input(tmp_path):
    saved_adapter("t5", "lora", tmp_path / "pod", steps=1)
    model, _ = loaded_adapter(mode="lora")
    with pytest.raises(ValueError, match=r"no adapter 'missing'; this model has \['default'\]"):
        hotswap_adapter(model, str(tmp_path / "pod"), "missing")
    with pytest.raises(ValueError, match="must be a PEFT model"):
        hotswap_adapter(make_base("t5"), str(tmp_path / "pod"))
    with pytest.raises((OSError, ValueError), match="nothing"):
        hotswap_adapter(model, str(tmp_path / "nothing"))
    lora = get_peft_model(make_base("t5"), LoraConfig(target_modules=["q"]))
    lora.save_pretrained(tmp_path / "lora")
    with pytest.raises(ValueError, match="is not a POD adapter"):
        hotswap_adapter(model, str(tmp_path / "lora"))
    with pytest.raises(ValueError, match="is not a POD adapter"):
        hotswap_adapter(lora, str(tmp_path / "pod"))
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        hotswap_adapter(model, str(tmp_path / "pod"))
    model.unmerge_adapter()
    hotswap_adapter(model, str(tmp_path / "pod"))
    assert isinstance(model, PeftModel)
