from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftModelForSeq2SeqLM, TaskType, get_peft_model
from peft.utils import PeftType

from peft_pod import PODConfig, PromptDistillationConfig

from .models import make_base


def test_short_and_long_name_are_one_class():
    assert PODConfig is PromptDistillationConfig


def test_defaults_are_the_papers():
    config = PODConfig(num_tasks=3)
    assert config.num_virtual_tokens == 10
    assert config.prompt_init == "uniform"
    assert config.prompt_init_range == 0.1
    assert config.whole_word_embedding
    assert not config.uses_lora
    assert not config.train_base
    assert config.peft_type is PeftType.POD


def test_num_tasks_follows_from_tasks():
    assert PODConfig(tasks=["a", "b"]).num_tasks == 2


def test_round_trip_through_a_folder(tmp_path):
    config = PODConfig(tasks=["a", "b"], r=4, target_modules=["q"], max_whole_words=7, init_seed=3)
    config.save_pretrained(str(tmp_path))
    loaded = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(loaded, PODConfig)
    assert loaded.to_dict() == config.to_dict()


def test_task_type_none_is_forced_to_seq2seq():
    """Trap 2: with `task_type=None` PEFT calls the base past the tuner, and the output silently equals the base's."""
    assert PODConfig(num_tasks=1, task_type=None).task_type == TaskType.SEQ_2_SEQ_LM


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs `tasks`"),
        ({"tasks": "sequential"}, "list of names"),
        ({"tasks": ["a", ""]}, "list of names"),
        ({"tasks": {"a", "b"}}, "tasks must be a list of names"),
        ({"tasks": 5}, "tasks must be a list of names, got 5"),
        ({"tasks": ["a", "a"]}, "twice"),
        ({"tasks": ["a"], "num_tasks": 2}, "num_tasks is 2"),
        ({"num_tasks": 0}, "num_tasks must be a positive whole number, got 0"),
        ({"num_tasks": True}, "num_tasks must be"),
        ({"num_tasks": 1, "num_virtual_tokens": -1}, r"num_virtual_tokens must be 0 \(no prompts\) or .* got -1"),
        ({"num_tasks": 1, "num_virtual_tokens": False}, "num_virtual_tokens must be .* got False"),
        ({"num_tasks": 1, "num_virtual_tokens": 0.0}, "num_virtual_tokens must be .* got 0.0"),
        ({"num_tasks": 1, "num_virtual_tokens": None}, "num_virtual_tokens must be .* got None"),
        ({"num_tasks": 1, "max_whole_words": 0}, "max_whole_words must be"),
        ({"num_tasks": 1, "prompt_init": "zeros"}, r"prompt_init must be one of .*'zeros'"),
        ({"num_tasks": 1, "prompt_init_range": 0.0}, "prompt_init_range"),
        ({"num_tasks": 1, "prompt_init_range": "0.1"}, "prompt_init_range must be a number above 0, got '0.1'"),
        ({"num_tasks": 1, "prompt_init_range": float("inf")}, "prompt_init_range must be .* got inf"),
        ({"num_tasks": 1, "prompt_init_range": True}, "prompt_init_range must be .* got True"),
        ({"num_tasks": 1, "init_seed": "x"}, "init_seed must be a whole number of at most 64 bits, got 'x'"),
        ({"num_tasks": 1, "init_seed": 2**64}, "init_seed must be"),
        ({"num_tasks": 1, "init_seed": None}, "init_seed must be .* got None"),
        ({"num_tasks": 1, "whole_word_embedding": "false"}, "whole_word_embedding must be True or False, got 'false'"),
        ({"num_tasks": 1, "train_base": "false"}, "train_base must be True or False, got 'false'"),
        ({"num_tasks": 1, "r": True}, "r must be 0 .* got True"),
        ({"num_tasks": 1, "lora_alpha": 32}, "lora_alpha is set but r is 0"),
        ({"num_tasks": 1, "use_dora": True}, "use_dora is set but r is 0"),
        ({"num_tasks": 1, "layers_to_transform": [0]}, "layers_to_transform is set but r is 0"),
        ({"num_tasks": 1, "exclude_modules": ["q"]}, "exclude_modules is set but r is 0"),
        ({"num_tasks": 1, "lora_bias": True}, "lora_bias is set but r is 0"),
        ({"num_tasks": 1, "bias": "lora_only"}, "bias='lora_only' is set but r is 0"),
        ({"num_tasks": 1, "task_type": "CAUSAL_LM"}, "task_type must be 'SEQ_2_SEQ_LM'"),
        ({"num_tasks": 1, "r": -2}, "r must be 0"),
        ({"num_tasks": 1, "target_modules": ["q"]}, "target_modules is set but r is 0"),
        ({"num_tasks": 1, "train_base": True, "r": 4}, "exclude each other"),
        ({"num_tasks": 1, "train_base": True, "modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_bad_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PODConfig(**arguments)


def test_a_configuration_that_trains_nothing_is_refused():
    nothing = {"num_tasks": 1, "num_virtual_tokens": 0, "whole_word_embedding": False}
    message = "nothing would be trained: num_virtual_tokens is 0, whole_word_embedding is False, r is 0 and train_base"
    for more in ({}, {"modules_to_save": []}, {"trainable_token_indices": []}):
        with pytest.raises(ValueError, match=message):
            PODConfig(**nothing, **more)
    for more in (
        {"num_virtual_tokens": 1},
        {"whole_word_embedding": True},
        {"r": 2},
        {"train_base": True},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [5]},
    ):
        model = get_peft_model(make_base("t5"), PODConfig(**{**nothing, **more}))
        assert model.get_nb_trainable_parameters()[0] > 0, more
    model = get_peft_model(make_base("bart"), PODConfig(**nothing, bias="all"))
    assert model.get_nb_trainable_parameters()[0] > 0
    with pytest.raises(ValueError, match="nothing would be trained: .* this base has no weights that bias='all'"):
        get_peft_model(make_base("t5"), PODConfig(**nothing, bias="all"))  # T5 has no biases


@pytest.mark.parametrize("seed", [-1, 0, 2**64 - 1])
def test_seeds_that_pytorch_takes(seed):
    get_peft_model(make_base("t5"), PODConfig(num_tasks=1, init_seed=seed))


@pytest.mark.parametrize("task", [True, 1.0, None, [1]])
def test_what_is_neither_name_nor_number_is_no_task(task):
    with pytest.raises(ValueError, match="must be given by its name or number"):
        PODConfig(num_tasks=2).task_key(task)


def test_paths_and_tuples_are_saved(tmp_path):
    """A configuration that cannot be saved as JSON would fail after the training."""
    config = PODConfig(
        tasks=("a", "b"), train_tasks=("b",), prompt_init="adapter", prompt_init_adapter=tmp_path / "first"
    )
    config.tokenizer_name_or_path = tmp_path
    config.__post_init__()
    config.save_pretrained(str(tmp_path))
    loaded = PeftConfig.from_pretrained(str(tmp_path))
    assert (loaded.tasks, loaded.train_tasks) == (["a", "b"], ["b"])
    assert loaded.prompt_init_adapter == str(tmp_path / "first")
    assert loaded.tokenizer_name_or_path == str(tmp_path)


def test_model_cards_of_others_are_left_alone(tmp_path):
    """The card is looked for one folder up too, where other things may be."""
    lora = get_peft_model(make_base("t5"), LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q"]))
    lora.save_pretrained(tmp_path / "lora")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("# Cards\n\nlibrary_name: peft\n---\n", encoding="utf-8")
    (tmp_path / "matter").mkdir()
    text = "---\nlicense: mit\n---\n\nlibrary_name: peft\n"
    (tmp_path / "matter" / "README.md").write_text(text, encoding="utf-8")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "README.md").write_text("# \u00dcbersicht\n", encoding="latin-1")
    for folder in ("lora", "project", "matter", "old"):
        before = (tmp_path / folder / "README.md").read_bytes()
        PODConfig(num_tasks=1).save_pretrained(str(tmp_path / folder / "settings"))
        assert (tmp_path / folder / "README.md").read_bytes() == before, folder


def test_card_of_an_adapter_with_a_name_says_where_it_is(tmp_path):
    config = PODConfig(num_tasks=1, whole_word_embedding=False)
    model = get_peft_model(make_base("t5"), config, adapter_name="named")
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert 'PeftModel.from_pretrained(base_model, "this repository or folder", subfolder="named")' in card
    assert "AutoPeftModelForSeq2SeqLM" not in card  # it would look for the base in the subfolder too
    loaded = PeftModel.from_pretrained(make_base("t5"), str(tmp_path), subfolder="named")
    batch = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[7]])}
    torch.testing.assert_close(loaded(**batch).logits, model.eval()(**batch).logits)


def test_a_card_that_users_wrote_on_keeps_its_text(tmp_path):
    """With Windows' line endings too."""
    card = tmp_path / "README.md"
    card.write_bytes(b"---\r\nlicense: mit\r\nlibrary_name: peft\r\n---\r\n# Mine\r\n\r\nText\r\n")
    config = PODConfig(num_tasks=1)
    for _ in range(2):
        get_peft_model(make_base("t5"), config).save_pretrained(tmp_path)
        text = card.read_text(encoding="utf-8")
        assert text.count("\nimport peft_pod\n") == 1
        assert "# Mine\n\nText\n" in text
        assert "license: mit" in text


def test_task_index():
    config = PODConfig(tasks=["a", "b"])
    assert config.task_index("b") == 1
    with pytest.raises(ValueError, match=r"unknown task 'c'; this adapter has \['a', 'b'\]"):
        config.task_index("c")
    with pytest.raises(ValueError, match="have no names"):
        PODConfig(num_tasks=2).task_index("a")


def test_the_base_is_never_called_past_the_tuner(tmp_path):
    """Trap 2, on a saved adapter whose `task_type` somebody took out: the model must still be one that runs POD."""
    PODConfig(num_tasks=1, whole_word_embedding=False, inference_mode=True).save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_config.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"SEQ_2_SEQ_LM"', "null"), encoding="utf-8")
    model = get_peft_model(make_base("t5"), PeftConfig.from_pretrained(str(tmp_path)))
    assert isinstance(model, PeftModelForSeq2SeqLM)
    batch = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[7]])}
    assert not torch.equal(model(**batch).logits, make_base("t5")(**batch).logits)
