"""A trained adapter gets one more task, and the others stay as they are to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel, get_peft_model

from peft_pod import PODConfig

from .models import ARCHITECTURES, MODES, make_base, make_batch, make_config, train_a_little

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
modes = pytest.mark.parametrize("mode", list(MODES))

NEW = "base_model.prompts.pod_prompts.default.task_fourth"


def trained(architecture: str, mode: str = "frozen", **overrides):
    model = get_peft_model(make_base(architecture), make_config(mode, **overrides))
    batch = make_batch(model)
    train_a_little(model, batch)
    return model, batch


def grown(architecture: str, mode: str = "frozen", **overrides):
    model, batch = trained(architecture, mode, **overrides)
    model.base_model.add_task("fourth", init="topn")
    model.base_model.set_train_tasks(["fourth"])
    return model, {**batch, "task_id": torch.tensor([3, 3, 3])}, batch


def snapshot(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@architectures
@modes
@pytest.mark.parametrize("init", ["uniform", "vocabulary", "topn", 1])
def test_new_task_touches_nothing_else(architecture, mode, init):
    model, batch = trained(architecture, mode)
    before, logits = snapshot(model), model(**batch).logits
    model.base_model.add_task("fourth", init=init)
    assert torch.equal(model(**batch).logits, logits)
    after = snapshot(model)
    new = after.pop(NEW)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    config = model.peft_config["default"]
    assert (config.tasks[-1], config.num_tasks) == ("fourth", 4)
    if init in ("topn", 1):
        assert torch.equal(new, before["base_model.prompts.pod_prompts.default.task_topn"])
        forms = [model(**{**batch, "task_id": task}).logits for task in ("topn", "fourth", 3)]
        torch.testing.assert_close(forms[1], forms[0])
        assert torch.equal(forms[2], forms[1])
    else:
        # As if the adapter had had the task from its beginning.
        four = make_config("frozen", tasks=["a", "b", "c", "d"], prompt_init=init)
        table = get_peft_model(model.unload(), four).base_model.prompts.prompt_table("default")
        assert torch.equal(new, table[3])


@architectures
@modes
def test_only_the_new_task_trains(architecture, mode):
    """Neither gradients, nor weight decay, nor an optimiser's momentum reach the rest."""
    model, new_batch, batch = grown(architecture, mode)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [NEW]
    assert model.get_nb_trainable_parameters()[0] == 3 * 16
    before, logits = snapshot(model), model(**batch).logits
    # All parameters are given to the optimiser: those without a gradient are left alone, decay and all.
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.5)
    losses = []
    model.train()
    for _ in range(8):
        loss = model(**new_batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    assert losses[-1] < losses[0]
    assert [name for name, parameter in model.named_parameters() if parameter in optimizer.state] == [NEW]
    after = snapshot(model)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [NEW]
    assert torch.equal(model(**batch).logits, logits)


@architectures
@modes
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_grown_adapter_saves_and_loads(architecture, mode, low_cpu_mem_usage, tmp_path):
    model, new_batch, batch = grown(architecture, mode)
    train_a_little(model, new_batch)
    model.save_pretrained(tmp_path)
    arguments = {"low_cpu_mem_usage": low_cpu_mem_usage, "is_trainable": True}
    loaded = PeftModel.from_pretrained(make_base(architecture, seed=99 if mode == "full" else 0), tmp_path, **arguments)
    config = loaded.peft_config["default"]
    assert config.tasks == ["sequential", "topn", "explanation", "fourth"]
    assert config.train_tasks == ["fourth"]
    assert [name for name, parameter in loaded.named_parameters() if parameter.requires_grad] == [NEW]
    for each in (batch, new_batch, {**batch, "task_id": "fourth"}):
        torch.testing.assert_close(loaded(**each).logits, model(**each).logits, atol=1e-5, rtol=1e-4)


@architectures
@modes
def test_train_tasks_of_a_configuration(architecture, mode):
    model = get_peft_model(make_base(architecture), make_config(mode, train_tasks=["topn", "explanation"]))
    trainable = [name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable == ["task_topn", "task_explanation"]
    before = snapshot(model)
    train_a_little(model, make_batch(model))
    changed = [name for name, value in snapshot(model).items() if not torch.equal(value, before[name])]
    assert [name.rpartition(".")[2] for name in changed] == ["task_topn", "task_explanation"]


@architectures
@modes
def test_train_tasks_holds_through_what_peft_does(architecture, mode):
    """Trap 10, and whatever else sets `requires_grad`: switching, disabling, merging, adding and deleting adapters."""
    model, _, _ = grown(architecture, mode)

    def trainable():
        return [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    with model.disable_adapter():
        pass
    assert trainable() == [NEW]
    if mode != "full":
        model.add_adapter("other", make_config(mode))
        assert trainable() == [NEW]
        model.set_adapter("other")
        assert NEW not in trainable()
        assert len(trainable()) >= 4
        model.set_adapter("default")
        assert trainable() == [NEW]
        model.set_adapter("other")
        with pytest.warns(UserWarning, match="Setting active adapter"):
            model.delete_adapter("other")
        assert trainable() == [NEW]
    model.merge_adapter()
    model.unmerge_adapter()
    model.set_requires_grad("default", False)
    assert trainable() == []
    model.set_requires_grad("default", True)
    assert trainable() == [NEW]
    model.set_adapter("default", inference_mode=True)
    assert trainable() == []
    model.base_model.set_train_tasks(None)
    everything = get_peft_model(make_base(architecture), make_config(mode, tasks=["a", "b", "c", "d"]))
    assert len(trainable()) == sum(parameter.requires_grad for parameter in everything.parameters())


def test_modules_to_save_stay_with_the_other_tasks():
    model, new_batch, batch = grown("t5", modules_to_save=["lm_head"])
    logits = model(**batch).logits
    train_a_little(model, new_batch)
    assert torch.equal(model(**batch).logits, logits)


def test_training_goes_on_with_all_tasks_after_growing():
    model, batch = trained("t5")
    model.base_model.add_task("fourth")
    before = snapshot(model)
    train_a_little(model, {**batch, "task_id": torch.tensor([0, 1, 3])})
    changed = [name for name, value in snapshot(model).items() if not torch.equal(value, before[name])]
    assert {"base_model.prompts.pod_whole_words.default", NEW} < set(changed)


def test_loaded_for_inference_a_new_task_waits_for_set_train_tasks(tmp_path):
    trained("t5")[0].save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(make_base("t5"), tmp_path)
    model.base_model.add_task("fourth", init="sequential")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.base_model.set_train_tasks(["fourth"])
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [NEW]


def test_tasks_without_names():
    model = get_peft_model(make_base("t5"), PODConfig(num_tasks=2, num_virtual_tokens=3, whole_word_embedding=False))
    model.base_model.add_task(init=0)
    model.base_model.set_train_tasks([2])
    assert model.peft_config["default"].num_tasks == 3
    trainable = [name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable == ["task_2"]
    table = model.base_model.prompts.prompt_table("default")
    assert torch.equal(table[2], table[0])


def test_one_of_several_adapters_grows_and_configurations_are_not_shared():
    config = make_config()
    model = get_peft_model(make_base("t5"), config)
    model.add_adapter("other", config)
    model.base_model.add_task("fourth", adapter_name="other")
    assert [model.peft_config[name].num_tasks for name in ("default", "other")] == [3, 4]
    assert config.num_tasks == 3
    with pytest.raises(ValueError, match="task_id 3 is out of range"):
        model(**{**make_batch(model), "task_id": 3})
    model.set_adapter("other")
    model(**{**make_batch(model), "task_id": 3})


def test_new_prompts_have_the_type_of_the_others():
    base = make_base("t5").to(torch.bfloat16)
    for autocast, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        model = get_peft_model(copy.deepcopy(base), make_config(), autocast_adapter_dtype=autocast)
        model.base_model.add_task("fourth")
        assert model.get_parameter(NEW).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "topn"}, "tasks names a task twice"),
        ({"name": "a.b"}, "must hold no '.'"),
        ({"name": ""}, "list of names"),
        ({}, "have the names .*, so the new task cannot have the name None"),
        ({"name": "fourth", "init": "rating"}, "init must be 'uniform', 'vocabulary' or one of the tasks .*'rating'"),
        ({"name": "fourth", "init": 3}, "task 3 is out of range"),
        ({"name": "fourth", "init": True}, "init must be .* got True"),
        ({"name": "fourth", "init": None}, "init must be .* got None"),
        ({"name": "fourth", "init": 1.0}, "init must be .* got 1.0"),
        ({"name": "fourth", "adapter_name": "missing"}, "there is no adapter 'missing'"),
    ],
)
def test_bad_tasks_are_named(arguments, message):
    model, _ = trained("t5")
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        model.base_model.add_task(**arguments)
    assert set(snapshot(model)) == set(before)
    assert model.peft_config["default"].num_tasks == 3


@modes
def test_an_adapter_without_prompts_neither_grows_nor_trains_tasks(mode):
    model, batch = trained("t5", mode, num_virtual_tokens=0)
    before, logits = snapshot(model), model(**batch).logits
    for init in ("uniform", "topn", 0):
        with pytest.raises(ValueError, match="adapter 'default' has num_virtual_tokens=0: a task is added by prompts"):
            model.base_model.add_task("fourth", init=init)
    message = r"train_tasks=\['topn'\] trains prompts alone, but num_virtual_tokens is 0"
    with pytest.raises(ValueError, match=message):
        model.base_model.set_train_tasks(["topn"])
    with pytest.raises(ValueError, match=message):
        make_config(mode, num_virtual_tokens=0, train_tasks=["topn"])
    model.base_model.set_train_tasks(None)
    assert set(snapshot(model)) == set(before)
    assert (model.peft_config["default"].num_tasks, model.peft_config["default"].train_tasks) == (3, None)
    assert torch.equal(model(**batch).logits, logits)
    train_a_little(model, batch)
    assert not torch.equal(model(**batch).logits, logits)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["rating"], "unknown task 'rating'"),
        ([], "at least one task"),
        ("topn", "list of"),
        ({"topn"}, "list of"),
        (iter(["topn"]), "list of"),
        (5, "list of"),
        ([3], "out of range"),
        ([True], "by its name or number, got True"),
    ],
)
def test_bad_train_tasks_are_named(tasks, message):
    model, _ = trained("t5")
    with pytest.raises(ValueError, match=message):
        model.base_model.set_train_tasks(tasks)
    assert model.peft_config["default"].train_tasks is None
    with pytest.raises(ValueError, match=message):
        make_config(train_tasks=tasks)


def test_train_tasks_and_trained_biases_exclude_each_other():
    with pytest.raises(ValueError, match="bias='all'"):
        make_config("lora", train_tasks=["topn"], bias="all")


def test_the_list_of_trained_tasks_is_the_models_own():
    model, _ = trained("t5")
    tasks = ["topn"]
    model.base_model.set_train_tasks(tasks)
    tasks.append("rating")
    assert model.peft_config["default"].train_tasks == ["topn"]
    model.set_adapter("default")


@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_tasks_of_an_inactive_adapter_wait_until_it_is_active(mode):
    model, _ = trained("t5", mode)
    model.add_adapter("other", make_config(mode))

    def trainable():
        return [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    before = trainable()
    for tasks in (["topn"], None, ["topn"]):
        model.base_model.set_train_tasks(tasks, adapter_name="other")
        assert trainable() == before
    model.set_adapter("other")
    assert trainable() == ["base_model.prompts.pod_prompts.other.task_topn"]


@pytest.mark.parametrize("order", [["default", "other"], ["other", "default"]])
def test_a_weighted_adapter_trains_all_it_has(order):
    model, _, _ = grown("t5")
    model.add_adapter("other", make_config(tasks=["sequential", "topn", "explanation", "fourth"]))
    model.add_weighted_adapter(order, [0.5, 0.5], "both")
    assert model.peft_config["both"].train_tasks is None
    assert model.peft_config["default"].train_tasks == ["fourth"]
    model.set_adapter("both")
    assert sum(parameter.requires_grad for parameter in model.parameters()) == 5


@pytest.mark.parametrize("mode", ["frozen", "lora"])
@pytest.mark.parametrize(
    ("adapters", "weights", "name", "message"),
    [
        (["default", "other"], ["a", "b"], "new", "weights must be finite numbers, got 'a'"),
        (["default", "other"], [None, 1.0], "new", "weights must be finite numbers, got None"),
        (["default", "other"], [float("nan"), 1.0], "new", "weights must be finite numbers, got nan"),
        (["default", "other"], [True, 1.0], "new", "weights must be finite numbers, got True"),
        (["default", "other"], 1.0, "new", "weights must be a list, got 1.0"),
        ("default", [1.0], "new", "adapters must be a list, got 'default'"),
        (["default", "other"], [1.0, 1.0], None, "adapter_name must be a name, got None"),
        (["default", "other"], [1.0, 1.0], "task_new", "must not begin with"),
    ],
)
def test_a_weighted_adapter_that_fails_leaves_nothing(mode, adapters, weights, name, message):
    model, _ = trained("t5", mode)
    model.add_adapter("other", make_config(mode))
    before = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        model.add_weighted_adapter(adapters, weights, name)
    assert list(model.state_dict()) == before
    assert list(model.peft_config) == ["default", "other"]


def test_weighted_lora_that_fails_half_way_leaves_nothing():
    """PEFT compares the largest ranks, and finds out when the new layers are there that others differ."""
    model, batch = trained("t5", "lora")
    model.add_adapter("other", make_config("lora", r=2, target_modules=["q", "v"], rank_pattern={"q": 4}))
    before, logits = list(model.state_dict()), model(**batch).logits
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    with pytest.raises(RuntimeError, match="equal size"):
        model.add_weighted_adapter(["default", "other"], [0.5, 0.5], "new")
    assert list(model.state_dict()) == before
    assert list(model.peft_config) == ["default", "other"]
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable
    assert torch.equal(model(**batch).logits, logits)
    model.add_weighted_adapter(["default"], [1.0], "new")
