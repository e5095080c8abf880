"""What every (architecture, configuration) must do."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from peft_pod import PODConfig

from .models import ARCHITECTURES, MODES, make_base, make_batch, make_config, train_a_little

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
modes = pytest.mark.parametrize("mode", list(MODES))
numbers_of_prompts = pytest.mark.parametrize("prompts", [3, 0])


def pod_model(architecture: str, mode: str = "frozen", **overrides):
    return get_peft_model(make_base(architecture), make_config(mode, **overrides))


def oracle_logits(model, batch):
    """The assembled input written out by hand: embed, add whole-word rows, put prompt rows in front, call the base."""
    base = model.get_base_model()
    layer = model.base_model.prompts
    prompts, words = list(layer.task_prompts("default").values()), layer.pod_whole_words["default"]
    rows, masks = [], []
    for tokens, mask, word_ids, task in zip(
        batch["input_ids"], batch["attention_mask"], batch["whole_word_ids"], batch["task_id"], strict=True
    ):
        embedded = base.get_input_embeddings()(tokens).clone()
        for position, word in enumerate(word_ids.tolist()):
            if word:
                embedded[position] = embedded[position] + words[word - 1]
        in_front = prompts[task] if prompts else embedded[:0]
        rows.append(torch.cat([in_front, embedded]))
        masks.append(torch.cat([torch.ones(len(in_front), dtype=mask.dtype), mask]))
    return base(inputs_embeds=torch.stack(rows), attention_mask=torch.stack(masks), labels=batch["labels"]).logits


@architectures
@modes
@numbers_of_prompts
@pytest.mark.parametrize("padding", [None, "left", "right"])
def test_logits_equal_the_oracle(architecture, mode, prompts, padding):
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    batch = make_batch(model, padding)
    train_a_little(model, batch)
    torch.testing.assert_close(model(**batch).logits, oracle_logits(model, batch), atol=1e-5, rtol=0)


@architectures
def test_prompts_and_whole_words_each_change_the_output(architecture):
    model = pod_model(architecture)
    batch = make_batch(model)
    train_a_little(model, batch)
    logits = model(**batch).logits
    assert not torch.allclose(logits, model(**{**batch, "task_id": torch.tensor([0, 0, 0])}).logits, atol=1e-3)
    other_words = {**batch, "whole_word_ids": torch.zeros_like(batch["whole_word_ids"])}
    assert not torch.allclose(logits, model(**other_words).logits, atol=1e-4)


@architectures
@modes
@numbers_of_prompts
def test_training_changes_what_it_should_and_nothing_else(architecture, mode, prompts):
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = train_a_little(model, make_batch(model), steps=8)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}
    assert losses[-1] < losses[0]
    tasks = ("sequential", "topn", "explanation") if prompts else ()
    vectors = {f"base_model.prompts.pod_prompts.default.task_{task}" for task in tasks}
    vectors.add("base_model.prompts.pod_whole_words.default")
    assert {name for name in changed if ".prompts." in name} == vectors
    rest = changed - vectors
    if mode == "frozen":
        assert not rest
    elif mode == "lora":
        assert rest
        assert all("lora_" in name for name in rest)
    else:
        assert any("encoder" in name for name in rest)
        assert any("decoder" in name for name in rest)


@architectures
@modes
@numbers_of_prompts
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_saves_and_loads_to_equal_logits(architecture, mode, prompts, low_cpu_mem_usage, tmp_path):
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path)
    # Under full fine-tuning the checkpoint alone must bring the base's weights: load on a base with other ones.
    base = make_base(architecture, seed=99 if mode == "full" else 0)
    loaded = PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=2e-6, rtol=1e-5)
    base = loaded.get_base_model()
    assert base.lm_head.weight is base.get_input_embeddings().weight


@architectures
@modes
@numbers_of_prompts
def test_auto_class_loads_from_a_folder(architecture, mode, prompts, tmp_path):
    make_base(architecture).save_pretrained(tmp_path / "base")
    base = ARCHITECTURES[architecture]().from_pretrained(tmp_path / "base")
    model = get_peft_model(base, make_config(mode, num_virtual_tokens=prompts))
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=2e-6, rtol=1e-5)


def test_full_checkpoint_holds_tied_weights_once(tmp_path):
    model = pod_model("t5", "full")
    model.save_pretrained(tmp_path)
    shapes = [tuple(tensor.shape) for tensor in load_file(tmp_path / "adapter_model.safetensors").values()]
    vocabulary, hidden = model.get_base_model().get_input_embeddings().weight.shape
    assert shapes.count((vocabulary, hidden)) == 1


@architectures
@modes
@numbers_of_prompts
def test_full_checkpoint_resumes_as_trainer_does(architecture, mode, prompts, tmp_path):
    """Trap 4: the stock Trainer saves adapter keys only and resumes full fine-tuning from other base weights."""
    model = pod_model(architecture, mode, num_virtual_tokens=prompts)
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path)
    expected = model(**batch).logits.detach()
    train_a_little(model, batch)
    assert not torch.allclose(model(**batch).logits, expected, atol=1e-3)
    model.load_adapter(tmp_path, "default", is_trainable=True)
    torch.testing.assert_close(model(**batch).logits, expected, atol=2e-6, rtol=1e-5)


@architectures
@torch.no_grad()  # the attention kernel, and with it the last bit, may depend on whether gradients are kept
def test_disabled_adapter_equals_the_base_exactly(architecture):
    base = make_base(architecture)
    batch = make_batch(base)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected = base(**plain).logits.detach().clone()
    model = get_peft_model(base, make_config())
    with model.disable_adapter():
        assert torch.equal(model(**batch).logits, expected)
    assert not torch.allclose(model(**batch).logits, expected, atol=1e-3)
    assert torch.equal(model.unload()(**plain).logits, expected)


@architectures
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generate_equals_the_base_on_the_assembled_input(architecture, num_beams):
    model = pod_model(architecture)
    batch = make_batch(model, "right")
    labels = batch.pop("labels")
    train_a_little(model, {**batch, "labels": labels})
    settings = {"num_beams": num_beams, "max_new_tokens": 5, "do_sample": False}
    generated = model.generate(**batch, **settings)
    inputs = model.base_model.encoder_inputs(
        batch["input_ids"], batch["attention_mask"], None, batch["task_id"], batch["whole_word_ids"], None
    )
    assert torch.equal(generated, model.get_base_model().generate(**inputs, **settings))
    row = {name: value[:1] for name, value in batch.items()}
    alone = model.generate(**row, **settings)
    assert torch.equal(generated[:1, : alone.shape[1]], alone)


@architectures
def test_padding_is_not_attended(architecture):
    """Trap 7: without a mask, it is derived from the padding token."""
    model = pod_model(architecture)
    batch = make_batch(model, "right")
    with_mask = model(**batch).logits
    without_mask = model(**{name: value for name, value in batch.items() if name != "attention_mask"}).logits
    torch.testing.assert_close(without_mask, with_mask)
    shorter = {name: value[1:2] for name, value in batch.items()}
    for name in ("input_ids", "attention_mask", "whole_word_ids"):
        shorter[name] = shorter[name][:, :5]
    torch.testing.assert_close(model(**shorter).logits, with_mask[1:2], atol=1e-5, rtol=1e-5)


@architectures
@numbers_of_prompts
def test_encoder_outputs_given_with_a_short_mask(architecture, prompts):
    """Trap 7: encoder outputs hold the prompts' positions, a mask made for the tokens does not."""
    model = pod_model(architecture, num_virtual_tokens=prompts)
    batch = make_batch(model, "right")
    expected = model(**batch)
    encoder_outputs = (expected.encoder_last_hidden_state,)
    given = {"encoder_outputs": encoder_outputs, "labels": batch["labels"]}
    short = model(attention_mask=batch["attention_mask"], **given)
    torch.testing.assert_close(short.logits, expected.logits)
    long_mask = torch.nn.functional.pad(batch["attention_mask"], (prompts, 0), value=1)
    torch.testing.assert_close(model(attention_mask=long_mask, **given).logits, expected.logits)
    lengths = "that length, or 7 without the 3 prompts" if prompts else "that length"
    message = f"attention_mask has length 6, but encoder_outputs has {7 + prompts}; it must have {lengths}$"
    with pytest.raises(ValueError, match=message):
        model(attention_mask=batch["attention_mask"][:, :6], **given)


@architectures
def test_inputs_embeds_equal_input_ids(architecture):
    model = pod_model(architecture)
    batch = make_batch(model)
    expected = model(**batch).logits
    embeds = model.get_base_model().get_input_embeddings()(batch.pop("input_ids"))
    torch.testing.assert_close(model(inputs_embeds=embeds, **batch).logits, expected)


def test_task_id_forms_agree():
    model = pod_model("t5")
    batch = make_batch(model)
    forms = [torch.tensor([1, 1, 1]), torch.tensor(1), 1, "topn", torch.tensor([1, 1, 1], dtype=torch.int32)]
    logits = [model(**{**batch, "task_id": form}).logits for form in forms]
    for other in logits[1:]:
        assert torch.equal(logits[0], other)


BAD_TASK_IDS = [
    ("rating", "unknown task 'rating'"),
    (3, "task_id 3 is out of range: this adapter has 3 tasks, 0 to 2"),
    (-1, "task_id -1 is out of range"),
    (torch.tensor([0, 1, 7]), "task_id 7 is out of range"),
    (torch.tensor([0, 1]), r"must have shape \(3,\)"),
    (torch.tensor([0.0, 1.0, 1.0]), "whole numbers"),
    (1.0, "task_id must be a tensor"),
]


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        (None, r"task_id is missing: this adapter has 3 tasks \['sequential', 'topn', 'explanation'\]"),
        *BAD_TASK_IDS,
    ],
)
def test_bad_task_id_is_named(task_id, message):
    """Trap 1: PEFT's own `task_ids` is dropped; a missing task is an error, never silently task 0."""
    model = pod_model("t5")
    batch = make_batch(model)
    batch["task_id"] = task_id
    with pytest.raises(ValueError, match=message):
        model(**batch)
    del batch["labels"]
    with pytest.raises(ValueError, match=message):
        model.generate(**batch, max_new_tokens=2)


def test_without_prompts_the_task_may_be_left_out_and_is_checked_where_it_is_given():
    model = pod_model("t5", num_virtual_tokens=0)
    batch = make_batch(model)
    logits = model(**batch).logits
    for task_id in (None, "topn", 2):
        assert torch.equal(model(**{**batch, "task_id": task_id}).logits, logits)
    for task_id, message in BAD_TASK_IDS:
        with pytest.raises(ValueError, match=message):
            model(**{**batch, "task_id": task_id})


def test_one_task_needs_no_task_id():
    model = get_peft_model(make_base("t5"), PODConfig(num_tasks=1, whole_word_embedding=False))
    batch = make_batch(model)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    assert torch.equal(model(**plain).logits, model(**plain, task_id=0).logits)


def test_whole_word_ids_are_checked():
    model = pod_model("t5")
    batch = make_batch(model)
    with pytest.raises(ValueError, match="whole_word_ids is missing"):
        model(**{name: value for name, value in batch.items() if name != "whole_word_ids"})
    with pytest.raises(ValueError, match="max_whole_words=8"):
        model(**{**batch, "whole_word_ids": batch["whole_word_ids"] * 5})
    with pytest.raises(ValueError, match="holds -1"):
        model(**{**batch, "whole_word_ids": batch["whole_word_ids"] - 1})
    with pytest.raises(ValueError, match=r"shape \(3, 6\)"):
        model(**{**batch, "whole_word_ids": batch["whole_word_ids"][:, :6]})


def test_decoder_only_base_is_refused():
    base = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match="needs an encoder-decoder .*'gpt2' is not one"):
        get_peft_model(base, PODConfig(num_tasks=1))


def test_base_with_lora_layers_is_refused():
    """Trap 9: both would be saved under one configuration."""
    lora = get_peft_model(make_base("t5"), LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q"]))
    with pytest.raises(ValueError, match="already holds adapter layers"):
        get_peft_model(lora.get_base_model(), make_config())


@modes
def test_adapter_for_another_size_is_refused(mode, tmp_path):
    pod_model("t5", mode).save_pretrained(tmp_path)
    other = make_base("t5")
    other_config = copy.deepcopy(other.config)
    other_config.d_model = 24
    with pytest.raises(ValueError, match="does not fit this base model"):
        PeftModel.from_pretrained(type(other)(other_config), tmp_path)


def test_full_adapter_for_another_architecture_is_refused(tmp_path):
    pod_model("t5", "full").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks .* of the base's weights"):
        PeftModel.from_pretrained(make_base("bart"), tmp_path)


@architectures
@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_second_adapter_leaves_trainability_as_it_was(architecture, mode):
    """Trap 10: adding an adapter must leave the base's `requires_grad` as it was."""
    model = pod_model(architecture, mode)
    model.get_base_model().get_input_embeddings().weight.requires_grad = True
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.add_adapter("other", make_config(mode))
    after = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name: after[name] for name in before} == before


@architectures
@pytest.mark.parametrize("mode", ["frozen", "lora"])
@pytest.mark.parametrize("trainable", [True, False])
def test_adding_an_adapter_leaves_the_active_ones_trainability_as_it_was(architecture, mode, trainable, tmp_path):
    """Trap 10, where the two differ: what is trained goes on being trained, what is used goes on being used."""
    model = pod_model(architecture, mode)
    model.save_pretrained(tmp_path)
    if not trainable:
        model = PeftModel.from_pretrained(make_base(architecture), tmp_path)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    prompts = [name for name in before if ".prompts." in name]
    assert {before[name] for name in prompts} == {trainable}
    model.load_adapter(tmp_path, "loaded")
    model.add_adapter("added", make_config(mode))
    model.add_weighted_adapter(["loaded", "default"], [0.5, 0.5], "weighted")
    after = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name: after[name] for name in before} == before


@architectures
@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_switching_and_deleting_adapters(architecture, mode):
    """Traps 5 and 8: PEFT's helpers walk the base, where the prompts are not, and skip names with the prefix."""
    model = pod_model(architecture, mode)
    batch = make_batch(model)
    train_a_little(model, batch)
    first = model(**batch).logits
    model.add_adapter("other", make_config(mode, init_seed=7))
    assert torch.equal(model(**batch).logits, first)
    model.set_adapter("other")
    second = model(**batch).logits
    assert not torch.allclose(first, second, atol=1e-3)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "base_model.prompts.pod_prompts.other.task_topn" in trainable
    assert not any(".default" in name for name in trainable)
    model.delete_adapter("default")
    assert torch.equal(model(**batch).logits, second)
    assert not any(".default" in name for name, _ in model.named_parameters())


def test_deleting_the_active_adapter_activates_another():
    model = pod_model("t5")
    batch = make_batch(model)
    model.add_adapter("other", make_config(init_seed=7))
    model.set_adapter("other")
    second = model(**batch).logits
    model.set_adapter("default")
    with pytest.warns(UserWarning, match="Setting active adapter to other"):
        model.delete_adapter("default")
    assert model.active_adapter == "other"
    assert torch.equal(model(**batch).logits, second)


def test_full_adapter_must_be_alone():
    model = pod_model("t5", "full")
    with pytest.raises(ValueError, match="adapter 'default' has train_base=True"):
        model.add_adapter("other", make_config())
    assert list(model.peft_config) == ["default"]
    assert "other" not in model.base_model.prompts.pod_prompts


def test_merge_and_unload_is_refused():
    with pytest.raises(ValueError, match="cannot be merged"):
        pod_model("t5", "lora").merge_and_unload()


def test_prompts_stay_float32_on_a_bfloat16_base():
    model = get_peft_model(make_base("t5").to(torch.bfloat16), make_config())
    assert model.base_model.prompts.prompt_table("default").dtype == torch.float32
    assert model(**make_batch(model)).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("init", ["uniform", "vocabulary"])
def test_prompt_start_is_reproducible(init):
    def prompts(seed):
        config = make_config(prompt_init=init, init_seed=seed)
        return get_peft_model(make_base("bart"), config).base_model.prompts.prompt_table("default")

    torch.manual_seed(123)
    first = prompts(0)
    torch.manual_seed(321)
    assert torch.equal(first, prompts(0))
    assert not torch.equal(first, prompts(1))
    if init == "vocabulary":
        table = make_base("bart").get_input_embeddings()(torch.arange(60))
        for row in first.flatten(0, 1):
            assert (table == row).all(dim=1).any()
    else:
        assert first.abs().max() <= 1.0
        assert first.abs().max() > 0.8


def test_print_trainable_parameters_counts(capsys):
    model = pod_model("t5")
    model.print_trainable_parameters()
    trainable = 3 * 3 * 16 + 8 * 16
    assert f"trainable params: {trainable} " in capsys.readouterr().out


def test_deepcopy_is_independent():
    model = pod_model("t5", "lora")
    batch = make_batch(model)
    expected = model(**batch).logits.detach()
    copied = copy.deepcopy(model)
    train_a_little(copied, batch)
    assert torch.equal(model(**batch).logits, expected)
