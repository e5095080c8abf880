from __future__ import annotations

import pytest
import torch
from peft import PeftConfig, PeftModelForSeq2SeqLM, TaskType, get_peft_model
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
        ({"tasks": ["a", "a"]}, "twice"),
        ({"tasks": ["a"], "num_tasks": 2}, "num_tasks is 2"),
        ({"num_tasks": 0}, "num_tasks must be a positive whole number, got 0"),
        ({"num_tasks": True}, "num_tasks must be"),
        ({"num_tasks": 1, "num_virtual_tokens": -1}, "num_virtual_tokens must be .* got -1"),
        ({"num_tasks": 1, "max_whole_words": 0}, "max_whole_words must be"),
        ({"num_tasks": 1, "prompt_init": "zeros"}, r"prompt_init must be one of .*'zeros'"),
        ({"num_tasks": 1, "prompt_init_range": 0.0}, "prompt_init_range"),
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
