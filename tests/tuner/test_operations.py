"""What a PEFT user does with an adapter works with POD, or is refused with an error that says so."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from peft import (
    AutoPeftModelForSeq2SeqLM,
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file
from transformers.modeling_outputs import BaseModelOutput

from .models import ARCHITECTURES, MODES, make_base, make_batch, make_config, train_a_little

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
modes = pytest.mark.parametrize("mode", list(MODES))
numbers_of_prompts = pytest.mark.parametrize("prompts", [3, 0])
shared_base_modes = pytest.mark.parametrize("mode", ["frozen", "lora"])

compiles_for_long = (
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles for the CPU by g++"),
)

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
NOTHING_ADDED = {"num_virtual_tokens": 0, "whole_word_embedding": False}


def pod_model(architecture: str, mode: str = "frozen", **overrides):
    return get_peft_model(make_base(architecture), make_config(mode, **overrides))


def trained(architecture: str, mode: str = "frozen", **overrides):
    model = pod_model(architecture, mode, **overrides)
    batch = make_batch(model)
    train_a_little(model, batch)
    return model, batch


def two_adapters(architecture: str, mode: str):
    """Adapters "default" and "other", both trained."""
    model, batch = trained(architecture, mode)
    model.add_adapter("other", make_config(mode, init_seed=7))
    model.set_adapter("other")
    train_a_little(model, batch)
    model.set_adapter("default")
    return model, batch


def gradients(model, batch):
    model.train()
    model(**batch).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def is_tied(base) -> bool:
    embeddings = base.get_input_embeddings().weight
    return base.lm_head.weight is embeddings and base.get_encoder().get_input_embeddings().weight is embeddings


# Saving and loading


@architectures
@modes
@numbers_of_prompts
def test_only_the_adapter_is_saved(architecture, mode, prompts, tmp_path):
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "adapter_model.safetensors"))
    tasks = ("sequential", "topn", "explanation") if prompts else ()
    vectors = {f"base_model.prompts.pod_prompts.task_{task}" for task in tasks}
    assert {name for name in names if ".prompts." in name} == {*vectors, "base_model.prompts.pod_whole_words"}
    rest = {name for name in names if ".prompts." not in name}
    assert {"frozen": not rest, "lora": all("lora_" in name for name in rest), "full": len(rest) > 40}[mode]


@architectures
@modes
@numbers_of_prompts
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_load_adapter_beside_another(architecture, mode, prompts, low_cpu_mem_usage, tmp_path):
    """Trap 5: with `low_cpu_mem_usage=True` PEFT moves every layer's vectors to its base layer's device."""
    model, batch = trained(architecture, mode, num_virtual_tokens=prompts)
    model.save_pretrained(tmp_path)
    other = pod_model(architecture, "frozen", init_seed=7)
    if mode == "full":
        with pytest.raises(ValueError, match="train_base=True"):
            other.load_adapter(tmp_path, "loaded", low_cpu_mem_usage=low_cpu_mem_usage)
        return
    before = other(**batch).logits
    other.load_adapter(tmp_path, "loaded", low_cpu_mem_usage=low_cpu_mem_usage)
    assert torch.equal(other(**batch).logits, before)
    other.set_adapter("loaded")
    torch.testing.assert_close(other(**batch).logits, model(**batch).logits, **CLOSE)
    assert all(parameter.device.type == "cpu" for parameter in other.parameters())
    other.set_adapter("default")
    assert torch.equal(other(**batch).logits, before)
    other.delete_adapter("loaded")
    assert torch.equal(other(**batch).logits, before)


@architectures
@shared_base_modes
def test_each_of_several_adapters_is_saved_by_itself(architecture, mode, tmp_path):
    model, batch = two_adapters(architecture, mode)
    expected = {}
    for name in ("default", "other"):
        model.set_adapter(name)
        expected[name] = model(**batch).logits
    model.save_pretrained(tmp_path)
    for name, folder in {"default": tmp_path, "other": tmp_path / "other"}.items():
        loaded = PeftModel.from_pretrained(make_base(architecture), folder, adapter_name="renamed")
        torch.testing.assert_close(loaded(**batch).logits, expected[name], **CLOSE)


def test_an_adapter_called_like_a_task_is_saved_whole(tmp_path):
    """PEFT leaves out of a checkpoint what has another adapter's name in its own."""
    model, batch = trained("t5", tasks=["other", "topn", "default"])
    model.add_adapter("other", make_config())
    expected = model(**batch).logits
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(make_base("t5"), tmp_path)(**batch).logits, expected)
    for name, message in {
        "task_topn": "must not begin with 'task_'",
        "a.b": "holds a '.'",
        "half": "of PyTorch's",
    }.items():
        with pytest.raises(ValueError, match=message):
            model.add_adapter(name, make_config())
    assert list(model.peft_config) == ["default", "other"]


def test_checkpoint_of_other_tasks_is_refused(tmp_path):
    trained("t5")[0].save_pretrained(tmp_path)
    other = pod_model("t5", tasks=["sequential", "topn", "rating"])
    with pytest.raises(ValueError, match=r"lacks \['task_rating'\] and has \['task_explanation'\]"):
        other.load_adapter(tmp_path, "default")
    without = pod_model("t5", num_virtual_tokens=0)
    with pytest.raises(ValueError, match=r"lacks \[\] and has \['task_.*Load it as an adapter of its own"):
        without.load_adapter(tmp_path, "default")
    without.save_pretrained(tmp_path / "without")
    with pytest.raises(ValueError, match=r"lacks \['task_sequential', 'task_topn', 'task_rating'\] and has \[\]"):
        other.load_adapter(tmp_path / "without", "default")


ANOTHER_CONFIGURATION = {
    "whole-words-here": ({"whole_word_embedding": False}, {}, "whole-word embeddings is not that .* lacks 1 weights"),
    "whole-words-saved": (
        {},
        {"whole_word_embedding": False},
        r"has 1 \['base_model.*pod_whole_words'\] besides",
    ),
    "lora-saved": ({"r": 2}, {}, r"checkpoint's LoRA is not that .* lacks 0 weights \[\] and has \d+"),
    "other-modules": ({"r": 2}, {"r": 2, "target_modules": ["q"]}, r"has \d+ \['base_model.model.decoder.*lora_A"),
    "number-of-prompts": ({"num_virtual_tokens": 4}, {}, r"shape \(4, 16\) .* an adapter of that name already"),
}


@pytest.mark.parametrize("case", list(ANOTHER_CONFIGURATION))
def test_checkpoint_of_another_configuration_is_refused(case, tmp_path):
    """PEFT keeps the configuration of the adapter that is there, and would drop what does not fit it."""
    saved, here, message = ANOTHER_CONFIGURATION[case]
    trained("t5", **saved)[0].save_pretrained(tmp_path)
    model, batch = trained("t5", **here)
    before = model(**batch).logits
    with pytest.raises(ValueError, match=message):
        model.load_adapter(tmp_path, "default")
    assert torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [("t5", {"train_base": True}), ("bart", {"train_base": True}), ("bart", {"bias": "all"})],
)
def test_a_trained_base_is_not_loaded_under_other_adapters(architecture, overrides, tmp_path):
    trained(architecture, **overrides)[0].save_pretrained(tmp_path)
    model, batch = two_adapters(architecture, "frozen")
    before = model(**batch).logits
    with pytest.raises(ValueError, match=r"train_base=True or bias .* adapter 'default' has train_base=False and bias"):
        model.load_adapter(tmp_path, "default")
    assert torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"bias": "all"}, {}, "'default' has bias='all': it changes the base's weights"),
        ({}, {"bias": "all"}, "'other' has bias='all': it changes the base's weights"),
        ({"trainable_token_indices": [5]}, {}, "trainable_token_indices is None for adapter 'other'"),
        ({}, {"trainable_token_indices": [5]}, r"trainable_token_indices is \[5\] for adapter 'other'"),
    ],
)
def test_adapters_that_could_not_be_trained_or_saved_beside_each_other(first, second, message, tmp_path):
    model = pod_model("bart", **first)
    with pytest.raises(ValueError, match=message):
        model.add_adapter("other", make_config(**second))
    model.save_pretrained(tmp_path)
    assert isinstance(PeftModel.from_pretrained(make_base("bart"), tmp_path), PeftModel)


@pytest.mark.parametrize("name", ["q", "weight", "layer_norm"])
def test_an_adapter_called_like_a_weight_of_the_base(name, tmp_path):
    """Saved with the base, the base's names would lose theirs; saved without, it loads."""
    with pytest.raises(ValueError, match=f"adapter name '{name}' cannot be used with train_base=True"):
        get_peft_model(make_base("t5"), make_config("full"), adapter_name=name)
    model = get_peft_model(make_base("t5"), make_config("lora"), adapter_name=name)
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / name, adapter_name=name)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)


@modes
def test_pickled_checkpoint_loads(mode, tmp_path):
    model, batch = trained("t5", mode)
    model.save_pretrained(tmp_path, safe_serialization=False)
    loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)


@architectures
@modes
@numbers_of_prompts
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_is_trainable_goes_on_training(architecture, mode, prompts, low_cpu_mem_usage, tmp_path):
    model, batch = trained(architecture, mode, num_virtual_tokens=prompts)
    model.save_pretrained(tmp_path)
    arguments = {"is_trainable": True, "low_cpu_mem_usage": low_cpu_mem_usage}
    loaded = PeftModel.from_pretrained(make_base(architecture), tmp_path, **arguments)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in loaded.named_parameters() if parameter.requires_grad} == trainable
    torch.testing.assert_close(train_a_little(loaded, batch), train_a_little(model, batch), atol=1e-4, rtol=1e-4)
    frozen = PeftModel.from_pretrained(make_base(architecture), tmp_path)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@architectures
@modes
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_changed_vocabulary(architecture, mode, low_cpu_mem_usage, tmp_path):
    """PEFT saves embeddings whose number changed; they must stay tied however they are loaded."""
    make_base(architecture).save_pretrained(tmp_path / "base")
    load_base = type(make_base(architecture)).from_pretrained
    model = get_peft_model(load_base(tmp_path / "base"), make_config(mode))
    model.resize_token_embeddings(70, mean_resizing=False)  # after the adapter is made
    batch = make_batch(model)
    batch["input_ids"][0, 0] = 69
    train_a_little(model, batch)
    assert model(**batch).logits.shape[-1] == 70
    model.save_pretrained(tmp_path / "adapter")
    base = load_base(tmp_path / "base")
    base.resize_token_embeddings(70, mean_resizing=False)  # before
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter", low_cpu_mem_usage=low_cpu_mem_usage)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)
    assert is_tied(loaded.get_base_model())


@architectures
@shared_base_modes
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_modules_to_save(architecture, mode, low_cpu_mem_usage, tmp_path):
    model, batch = trained(architecture, mode, modules_to_save=["lm_head"])
    head = model.get_base_model().lm_head
    assert not torch.equal(head.modules_to_save["default"].weight, head.original_module.weight)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_base(architecture), tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)
    with loaded.disable_adapter():
        plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        torch.testing.assert_close(loaded(**batch).logits, make_base(architecture)(**plain).logits, **CLOSE)


# PEFT 0.21's LoRA itself cannot load PiSSA with low_cpu_mem_usage, nor tied LoRA on embeddings, so POD cannot either.
VARIANTS = {
    "dora": {"r": 4, "use_dora": True},
    "rank-stabilised": {"r": 4, "use_rslora": True},
    "lora-biases": {"r": 4, "bias": "lora_only"},
    "all-biases": {"bias": "all"},
    "all-linear": {"r": 4, "target_modules": "all-linear"},
    "embeddings": {"r": 4, "target_modules": ["shared", "embed_tokens"]},
    "tokens": {"trainable_token_indices": [5, 6]},
    "tokens-and-lora": {"r": 4, "trainable_token_indices": [5, 6]},
    "saved-embeddings": {"modules_to_save": ["embed_tokens"]},
}


@architectures
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_loras_other_fields(architecture, variant, tmp_path):
    model, batch = trained(architecture, **VARIANTS[variant])
    model.save_pretrained(tmp_path)
    for low_cpu_mem_usage in (False, True):
        loaded = PeftModel.from_pretrained(make_base(architecture), tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)


@architectures
@modes
def test_auto_class_takes_a_device_map(architecture, mode, tmp_path):
    make_base(architecture).save_pretrained(tmp_path / "base")
    model = get_peft_model(ARCHITECTURES[architecture]().from_pretrained(tmp_path / "base"), make_config(mode))
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    for settings in ({"device_map": "auto"}, {"device_map": {"": "cpu"}}, {"low_cpu_mem_usage": True}):
        loaded = AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "adapter", **settings)
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)
        assert is_tied(loaded.get_base_model())


@architectures
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_dispatched_and_offloaded_bases(architecture, where, tmp_path):
    """Accelerate leaves a meta tensor in the place of an offloaded weight, and prompts must not follow it there."""
    model, batch = trained(architecture, "lora")
    model.save_pretrained(tmp_path)
    base = dispatch_model(make_base(architecture), device_map={"": "cpu"}, force_hooks=True)
    loaded = PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)
    cpu = torch.device("cpu")
    base = make_base(architecture)
    base = cpu_offload(base, cpu) if where == "memory" else disk_offload(base, str(tmp_path / "weights"), cpu)
    assert {parameter.device.type for parameter in base.parameters()} == {"meta"}
    offloaded = get_peft_model(base, make_config())
    assert offloaded.base_model.prompts.weight.device.type == "cpu"
    torch.testing.assert_close(offloaded(**batch).logits, pod_model(architecture)(**batch).logits, **CLOSE)


def test_loading_needs_one_import_and_the_card_says_which(tmp_path):
    make_base("t5").save_pretrained(tmp_path / "base")
    base = type(make_base("t5")).from_pretrained(tmp_path / "base")
    get_peft_model(base, make_config()).save_pretrained(tmp_path / "adapter")
    get_peft_model(base, make_config(), adapter_name="named").save_pretrained(tmp_path / "several")
    line = "import peft_pod"
    script = (
        "from peft import AutoPeftModelForSeq2SeqLM\n"
        f"print(AutoPeftModelForSeq2SeqLM.from_pretrained({str(tmp_path / 'adapter')!r}).peft_type.value)"
    )
    without = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "KeyError: 'POD'" in without.stderr
    loaded = subprocess.run([sys.executable, "-c", f"{line}\n{script}"], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "POD"
    for folder in ("adapter", "several"):
        card = (tmp_path / folder / "README.md").read_text(encoding="utf-8")
        assert card.count(line + "\nfrom peft import") == 1
        assert "KeyError: 'POD'" in card
    get_peft_model(base, make_config()).save_pretrained(tmp_path / "adapter")
    again = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert again.count(line + "\nfrom peft import") == 1


def test_a_readme_that_peft_did_not_write_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("# My project\n", encoding="utf-8")
    make_config().save_pretrained(str(tmp_path / "settings"))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# My project\n"


# Several adapters


@architectures
def test_deleting_the_active_adapter_leaves_one_adapter_active_everywhere(architecture):
    """Trap 5: LoRA layers would choose among the adapters with LoRA, the prompts among all."""
    model, batch = trained(architecture, "lora")
    model.add_adapter("a", make_config("frozen", init_seed=7))
    model.add_adapter("b", make_config("lora", init_seed=8))
    with pytest.warns(UserWarning, match="Setting active adapter"):
        model.delete_adapter("default")
    status = model.get_model_status()
    assert status.active_adapters == [model.active_adapter]
    assert status.enabled is True
    alone = pod_model(architecture, "frozen", init_seed=7)
    assert model.active_adapter == "a"
    torch.testing.assert_close(model(**batch).logits, alone(**batch).logits, **CLOSE)


@architectures
@shared_base_modes
def test_deleting_an_inactive_adapter_changes_nothing(architecture, mode):
    model, batch = two_adapters(architecture, mode)
    before = model(**batch).logits
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.delete_adapter("other")
    assert torch.equal(model(**batch).logits, before)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable
    assert list(model.peft_config) == model.base_model.prompts._all_available_adapter_names() == ["default"]


def test_no_module_outside_the_tuner_has_its_prefix():
    """Trap 8: PEFT's `delete_adapter` skips modules whose name contains the prefix."""
    model = pod_model("t5", "lora")
    assert not any(model.base_model.prefix in name for name, _ in model.base_model.model.named_modules())
    assert model.base_model.prefix not in "prompts"


@architectures
@shared_base_modes
def test_weighted_adapters(architecture, mode):
    model, batch = two_adapters(architecture, mode)
    for kind, tokens in (("linear", 3), ("cat", 6)):
        model.add_weighted_adapter(["default", "other"], [0.25, 0.75], kind, kind)
        assert model.peft_config[kind].num_virtual_tokens == tokens
        layer = model.base_model.prompts
        first, second = layer.prompt_table("default"), layer.prompt_table("other")
        expected = torch.cat([0.25 * first, 0.75 * second], 1) if kind == "cat" else 0.25 * first + 0.75 * second
        torch.testing.assert_close(layer.prompt_table(kind), expected)
        words = layer.pod_whole_words
        torch.testing.assert_close(words[kind], 0.25 * words["default"] + 0.75 * words["other"])
    assert model.active_adapter == "default"
    assert model(**batch).encoder_last_hidden_state.shape[1] == 7 + 3
    model.set_adapter("cat")
    assert model(**batch).encoder_last_hidden_state.shape[1] == 7 + 6
    train_a_little(model, batch)
    model.add_weighted_adapter(["default"], [1.0], "same")
    model.set_adapter("same")
    same = model(**batch).logits
    model.set_adapter("default")
    torch.testing.assert_close(same, model(**batch).logits, **CLOSE)


def test_weighted_lora_is_pefts():
    model, _ = two_adapters("t5", "lora")
    targets = sorted(model.peft_config["default"].target_modules)
    lora = get_peft_model(make_base("t5"), LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=targets))
    lora.add_adapter("other", LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=targets))
    own = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    lora.load_state_dict(own, strict=False)
    for kind in ("linear", "cat"):
        for each in (model, lora):
            each.add_weighted_adapter(["default", "other"], [0.25, 0.75], kind, kind)
    combined = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    theirs = lora.state_dict()
    assert len(combined) == 2 * len(own)
    for name, value in combined.items():
        assert torch.equal(value, theirs[name]), name


@architectures
@shared_base_modes
@pytest.mark.parametrize("with_prompts", [[], ["default"], ["other"]])
def test_weighted_adapters_without_prompts(architecture, mode, with_prompts, tmp_path):
    """Side by side, those that have none add none; summed, all have to have none."""
    numbers = {name: 3 if name in with_prompts else 0 for name in ("default", "other")}
    model, batch = trained(architecture, mode, num_virtual_tokens=numbers["default"])
    model.add_adapter("other", make_config(mode, init_seed=7, num_virtual_tokens=numbers["other"]))
    model.set_adapter("other")
    train_a_little(model, batch)
    weights, layer = {"default": 0.25, "other": 0.75}, model.base_model.prompts
    for kind in ("linear", "cat"):
        if kind == "linear" and with_prompts:
            with pytest.raises(ValueError, match=r"num_virtual_tokens is \d in the one and \d in the other"):
                model.add_weighted_adapter(list(weights), list(weights.values()), kind, kind)
            continue
        model.add_weighted_adapter(list(weights), list(weights.values()), kind, kind)
        assert model.peft_config[kind].num_virtual_tokens == (3 if with_prompts else 0)
        model.set_adapter(kind)
        for name in with_prompts:
            torch.testing.assert_close(layer.prompt_table(kind), weights[name] * layer.prompt_table(name))
        assert len(layer.task_prompts(kind)) == 3 * len(with_prompts)
        words = layer.pod_whole_words
        torch.testing.assert_close(words[kind], 0.25 * words["default"] + 0.75 * words["other"])
        assert model(**batch).encoder_last_hidden_state.shape[1] == 7 + (3 if with_prompts else 0)
        model.save_pretrained(tmp_path, selected_adapters=[kind])
        loaded = PeftModel.from_pretrained(make_base(architecture), tmp_path / kind)
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)


@shared_base_modes
def test_weighted_adapter_saves_and_loads(mode, tmp_path):
    model, batch = two_adapters("t5", mode)
    model.add_weighted_adapter(["default", "other"], [0.5, 0.5], "both", "cat")
    model.set_adapter("both")
    model.save_pretrained(tmp_path, selected_adapters=["both"])
    loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / "both")
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["default", "other"], [0.5, 0.5], "new", "svd"), "combination_type must be one of .* got 'svd'"),
        ((["default", "other"], [0.5], "new"), "one weight an adapter"),
        ((["default", "missing"], [0.5, 0.5], "new"), "there is no adapter 'missing'"),
        ((["default", "longer"], [0.5, 0.5], "new"), "num_virtual_tokens is 3 in the one and 5 in the other"),
        ((["default", "tasks"], [0.5, 0.5], "new", "cat"), "tasks is "),
        ((["default", "lora"], [0.5, 0.5], "new", "cat"), "uses_lora is False in the one and True in the other"),
        ((["default", "other"], [0.5, 0.5], "other"), "already an adapter 'other'"),
        ((["default", "head"], [0.5, 0.5], "new"), "adapter 'head' has modules_to_save"),
    ],
)
def test_adapters_that_do_not_fit_are_not_combined(arguments, message):
    model = pod_model("t5")
    model.add_adapter("other", make_config())
    model.add_adapter("longer", make_config(num_virtual_tokens=5))
    model.add_adapter("tasks", make_config(tasks=["a", "b", "c"]))
    model.add_adapter("lora", make_config("lora"))
    model.add_adapter("head", make_config(modules_to_save=["lm_head"]))
    with pytest.raises(ValueError, match=message):
        model.add_weighted_adapter(*arguments)
    assert list(model.peft_config) == ["default", "other", "longer", "tasks", "lora", "head"]


def test_full_adapter_is_not_combined():
    with pytest.raises(ValueError, match="train_base=True"):
        pod_model("t5", "full").add_weighted_adapter(["default"], [0.5], "half")


# Merging, disabling, unloading


@architectures
@numbers_of_prompts
def test_merged_lora_keeps_prompts_in_use(architecture, prompts):
    model, batch = trained(architecture, "lora", num_virtual_tokens=prompts)
    expected = model(**batch).logits
    weights = copy.deepcopy(model.state_dict())
    model.merge_adapter()
    assert model.get_model_status().merged_adapters == ["default"]
    assert model.base_model.prompts.merged
    torch.testing.assert_close(model(**batch).logits, expected, **CLOSE)
    with pytest.raises(ValueError, match="while they are merged"):
        model.delete_adapter("default")
    model.unmerge_adapter()
    assert model.get_model_status().merged_adapters == []
    torch.testing.assert_close(model(**batch).logits, expected, **CLOSE)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], atol=1e-6, rtol=1e-6)


@architectures
def test_merged_adapter_can_be_disabled_and_switched(architecture):
    model, batch = two_adapters(architecture, "lora")
    first = model(**batch).logits
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    model.merge_adapter()
    with model.disable_adapter():
        torch.testing.assert_close(model(**batch).logits, make_base(architecture)(**plain).logits, **CLOSE)
    assert model.get_model_status().merged_adapters == []
    torch.testing.assert_close(model(**batch).logits, first, **CLOSE)
    model.merge_adapter()
    with pytest.warns(UserWarning, match="Unmerging the model first"):
        model.set_adapter("other")
    assert model.get_model_status().merged_adapters == []
    model.set_adapter("default")
    torch.testing.assert_close(model(**batch).logits, first, **CLOSE)


@architectures
@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_merging_without_lora_changes_nothing(architecture, mode):
    model, batch = trained(architecture, mode)
    expected = model(**batch).logits
    model.merge_adapter()
    assert model.get_model_status().merged_adapters == []
    assert torch.equal(model(**batch).logits, expected)
    model.unmerge_adapter()
    assert torch.equal(model(**batch).logits, expected)


@architectures
@modes
def test_merge_and_unload_is_refused_and_unload_works(architecture, mode):
    model, batch = trained(architecture, mode)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    for safe_merge in (False, True):
        with pytest.raises(ValueError, match=r"cannot be merged into its base.*merge_adapter\(\).*unload\(\)"):
            model.merge_and_unload(safe_merge=safe_merge)
    with model.disable_adapter():
        expected = model(**batch).logits
    base = model.unload()
    assert type(base) is type(make_base(architecture))
    torch.testing.assert_close(base(**plain).logits, expected, **CLOSE)
    if mode != "full":
        torch.testing.assert_close(expected, make_base(architecture)(**plain).logits, **CLOSE)
    assert is_tied(base)
    assert isinstance(get_peft_model(base, make_config()), PeftModel)


@architectures
def test_unload_takes_merged_lora_out(architecture):
    model, batch = trained(architecture, "lora")
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    model.merge_adapter()
    torch.testing.assert_close(model.unload()(**plain).logits, make_base(architecture)(**plain).logits, **CLOSE)


@architectures
@pytest.mark.parametrize("before", ["frozen", "unloaded", "lora"])
def test_all_of_a_base_is_trained_whatever_was_done_with_it_before(architecture, before):
    base = make_base(architecture)
    if before == "frozen":
        base.requires_grad_(False)
    elif before == "unloaded":
        base = get_peft_model(base, make_config()).unload()
    else:
        target = {"t5": "q", "bart": "q_proj"}[architecture]
        lora = LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=[target], modules_to_save=["lm_head"])
        base = get_peft_model(base, lora).merge_and_unload()
    model = get_peft_model(base, make_config("full"))
    assert all(parameter.requires_grad for parameter in model.parameters())


@architectures
@modes
@numbers_of_prompts
def test_disabling_is_undone(architecture, mode, prompts):
    model, batch = trained(architecture, mode, num_virtual_tokens=prompts)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    expected = model(**batch).logits
    with model.disable_adapter():
        assert not model.has_active_enabled_adapter
        without_task = {name: batch[name] for name in ("input_ids", "labels")}
        model(**without_task)  # the base needs neither task nor whole words
    assert torch.equal(model(**batch).logits, expected)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


# What is trained, and in which type


@architectures
@modes
@numbers_of_prompts
def test_trainable_parameters_counted_by_hand(architecture, mode, prompts, capsys):
    # 60 tokens, width 16, 2 + 2 layers, 2 heads (T5: of 8), feed-forward 32.
    attention = {"t5": 4 * 16 * 16, "bart": 4 * (16 * 16 + 16)}[architecture]
    feed_forward = {"t5": 2 * 16 * 32, "bart": 2 * 16 * 32 + 32 + 16}[architecture]
    norm = {"t5": 16, "bart": 32}[architecture]
    # T5 has position buckets by head in the first layer of each side, BART a table of 2 positions more on each side.
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    sizes = model.get_base_model().config
    if architecture == "t5":
        positions = sizes.relative_attention_num_buckets * 2
    else:
        positions = (sizes.max_position_embeddings + 2) * 16
    encoder = 2 * (attention + feed_forward + 2 * norm) + positions + norm
    decoder = 2 * (2 * attention + feed_forward + 3 * norm) + positions + norm
    base = 60 * 16 + encoder + decoder
    vectors = 3 * prompts * 16 + 8 * 16
    lora = 6 * 2 * 4 * (16 + 16)  # 6 attention blocks, query and value, rank 4
    trainable = vectors + {"frozen": 0, "lora": lora, "full": base}[mode]
    every = base + vectors + (lora if mode == "lora" else 0)
    model.print_trainable_parameters()
    printed = capsys.readouterr().out
    assert printed.startswith(f"trainable params: {trainable:,d} || all params: {every:,d} ||")
    status = model.get_model_status()
    assert (status.trainable_params, status.total_params) == (trainable, every)
    assert status.available_adapters == ["default"]
    assert status.peft_types == {"default": "POD"}


@architectures
@pytest.mark.parametrize(
    ("mode", "overrides"), [*((mode, {}) for mode in MODES), ("lora", NOTHING_ADDED), ("full", NOTHING_ADDED)]
)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(architecture, mode, overrides, use_reentrant):
    model = pod_model(architecture, mode, **overrides)
    batch = make_batch(model)
    expected = gradients(model, batch)
    base = make_base(architecture)
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    found = gradients(get_peft_model(base, make_config(mode, **overrides)), batch)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)


@architectures
@shared_base_modes
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_base(architecture, mode, dtype, tmp_path):
    model = get_peft_model(make_base(architecture).to(dtype), make_config(mode))
    batch = make_batch(model)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trainable} == {torch.float32}
    train_a_little(model, batch)
    with torch.no_grad():
        logits = model(**batch).logits
    assert logits.dtype == dtype
    model.save_pretrained(tmp_path)
    for low_cpu_mem_usage in (False, True):
        base = make_base(architecture).to(dtype)
        loaded = PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
        prompts = loaded.base_model.prompts.prompt_table("default")
        assert prompts.dtype == torch.float32
        assert torch.equal(prompts, model.base_model.prompts.prompt_table("default"))
        # With low_cpu_mem_usage PEFT takes LoRA through the base's type, whatever the method.
        tolerance = 0.1 if low_cpu_mem_usage and mode == "lora" else 0
        with torch.no_grad():
            assert (loaded(**batch).logits - logits).abs().max() <= tolerance
    kept = get_peft_model(make_base(architecture).to(dtype), make_config(mode), autocast_adapter_dtype=False)
    assert kept.base_model.prompts.weight.dtype == dtype


@architectures
@modes
def test_autocast(architecture, mode):
    model, batch = trained(architecture, mode)
    expected = model(**batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
    output.loss.backward()
    assert (output.logits.float() - expected).abs().max() < 0.1 * expected.abs().max()
    assert model.base_model.prompts.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("architecture", "mode", "backend"),
    [
        ("t5", "lora", "aot_eager"),
        ("bart", "frozen", "aot_eager"),
        pytest.param("t5", "full", "inductor", marks=compiles_for_long),
        pytest.param("bart", "lora", "inductor", marks=compiles_for_long),
    ],
)
def test_compiles_whole_forward_and_backward(architecture, mode, backend):
    model, batch = trained(architecture, mode)
    expected = model(**batch).logits
    wanted = {name: gradient.clone() for name, gradient in gradients(model, batch).items()}
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    output = compiled(**batch)
    output.loss.backward()
    torch.testing.assert_close(output.logits, expected, **CLOSE)
    for name, parameter in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad, wanted[name], **CLOSE)


@pytest.mark.parametrize("task_id", [-1, 3])
def test_compiled_code_refuses_a_task_that_is_not_there(task_id):
    model, batch = trained("t5")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad(), pytest.raises((IndexError, RuntimeError), match="out of range"):
        compiled(**{**batch, "task_id": torch.full((3,), task_id)})


@architectures
@modes
def test_deepcopy_is_whole_and_independent(architecture, mode):
    model, batch = trained(architecture, mode)
    expected = model(**batch).logits.detach()
    copied = copy.deepcopy(model)
    torch.testing.assert_close(copied(**batch).logits, expected, **CLOSE)
    assert is_tied(copied.get_base_model())
    train_a_little(copied, batch)
    torch.testing.assert_close(model(**batch).logits, expected, **CLOSE)
    copied.base_model.add_task("more")
    assert model.peft_config["default"].num_tasks == 3


@architectures
@modes
def test_base_model_stays_itself(architecture, mode):
    base = make_base(architecture)
    model = get_peft_model(base, make_config(mode))
    assert model.get_base_model() is base
    assert type(base).forward is type(make_base(architecture)).forward
    assert is_tied(base)
    assert base.get_input_embeddings().weight.shape == (60, 16)
    if mode != "lora":
        assert set(base.state_dict()) == set(make_base(architecture).state_dict())


# Running


@architectures
@modes
def test_generate_from_inputs_embeds_and_encoder_outputs(architecture, mode):
    """Trap 7: encoder outputs hold the prompts' positions, and a mask made for the tokens is extended."""
    model, batch = trained(architecture, mode)
    del batch["labels"]
    settings = {"max_new_tokens": 5, "do_sample": False}
    expected = model.generate(**batch, **settings)
    tokens = batch.pop("input_ids")
    embeds = model.get_base_model().get_input_embeddings()(tokens)
    assert torch.equal(model.generate(inputs_embeds=embeds, **batch, **settings), expected)
    full = model(input_ids=tokens, decoder_input_ids=expected, **batch)
    encoder_outputs = BaseModelOutput(last_hidden_state=full.encoder_last_hidden_state)
    mask = batch["attention_mask"]
    given = model.generate(encoder_outputs=encoder_outputs, attention_mask=mask, **settings)
    assert torch.equal(given, expected)


@architectures
def test_generate_takes_what_lora_takes(architecture):
    """PEFT's seq2seq `generate` takes keywords alone, whatever the method."""
    target = {"t5": "q", "bart": "q_proj"}[architecture]
    lora = get_peft_model(make_base(architecture), LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=[target]))
    pod = pod_model(architecture)
    batch = make_batch(pod)
    messages = []
    for model in (lora, pod):
        with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given") as caught:
            model.generate(batch["input_ids"])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
    more = {name: batch[name] for name in ("task_id", "whole_word_ids")}
    for settings in (
        {"num_beams": 2, "num_return_sequences": 2},
        {"return_dict_in_generate": True, "output_scores": True},
    ):
        theirs = lora.generate(**plain, **settings, max_new_tokens=3)
        ours = pod.generate(**plain, **more, **settings, max_new_tokens=3)
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
    named = {"inputs": batch["input_ids"], "attention_mask": batch["attention_mask"], **more}
    expected = pod.generate(**plain, **more, max_new_tokens=3)
    assert torch.equal(pod.generate(**named, max_new_tokens=3), expected)


@architectures
@shared_base_modes
def test_mixed_batches_are_refused(architecture, mode):
    """PEFT would mix the rows' LoRA and give all of them the active adapter's prompts."""
    model, batch = two_adapters(architecture, mode)
    names = ["default", "other", "default"]
    with pytest.raises(ValueError, match="adapter_names is not supported by POD"):
        model(**batch, adapter_names=names)
    del batch["labels"]
    with pytest.raises(ValueError, match="adapter_names is not supported by POD"):
        model.generate(**batch, adapter_names=names)
    assert model.generate(**batch, max_new_tokens=2).shape[0] == 3


def test_hot_swapping_is_refused_by_peft(tmp_path):
    """PEFT's own knows LoRA alone; ours is in `test_hotswap.py`."""
    model, _ = trained("t5", "lora")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Hotswapping only supports .* but POD was passed"):
        hotswap_adapter(model, str(tmp_path), "default", torch_device="cpu")


@modes
@numbers_of_prompts
def test_state_dict_functions(mode, prompts):
    model, batch = trained("t5", mode, num_virtual_tokens=prompts)
    other = get_peft_model(make_base("t5"), make_config(mode, num_virtual_tokens=prompts), adapter_name="other")
    result = set_peft_model_state_dict(other, get_peft_model_state_dict(model), adapter_name="other")
    assert not result.unexpected_keys
    torch.testing.assert_close(other(**batch).logits, model(**batch).logits, **CLOSE)


def test_ways_past_the_tuner_are_refused():
    with pytest.raises(ValueError, match="`inject_adapter_in_model` does not support"):
        inject_adapter_in_model(make_config(), make_base("t5"))
    with pytest.raises(ValueError, match="not compatible with the `PeftMixedModel`"):
        get_peft_model(make_base("t5"), make_config(), mixed=True)
    assert not pod_model("t5", "lora").supports_lora_conversion()


def test_two_active_adapters_are_refused():
    model, batch = two_adapters("t5", "frozen")
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(ValueError, match="exactly one active adapter"):
        model.base_model(**batch)
