"""How prompts start: each way gives the vectors it says, everywhere the same."""

from __future__ import annotations

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from peft_pod.tasks import load_task
from peft_pod.tuner import template_texts

from .models import ARCHITECTURES, make_base, make_batch, make_config, train_a_little

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))

TEXTS = ["what comes next", "pick", "tell the user why this one"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer that has a token for each word of the texts, from 5 on."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = list(dict.fromkeys(" ".join(TEXTS).split()))
    vocabulary = {"[UNK]": 0} | {word: 5 + place for place, word in enumerate(words)}
    words_to_tokens = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words_to_tokens.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words_to_tokens, unk_token="[UNK]").save_pretrained(folder)
    return folder


def prompts_of(architecture: str = "t5", base=None, **overrides):
    config = make_config(**overrides)
    model = get_peft_model(make_base(architecture) if base is None else base, config)
    return model.base_model.prompts.prompt_table("default").detach(), model


@architectures
def test_text(architecture, tokenizer):
    arguments = {"prompt_init": "text", "prompt_init_text": TEXTS, "tokenizer_name_or_path": str(tokenizer)}
    table, model = prompts_of(architecture, num_virtual_tokens=4, **arguments)
    tokens = torch.tensor([[5, 6, 7, 5], [8, 8, 8, 8], [9, 10, 11, 12]])  # repeated, repeated, cut
    torch.testing.assert_close(table, make_base(architecture).get_input_embeddings()(tokens))
    # Once read, a text is token IDs, and the same comes out of them without a tokenizer.
    assert model.peft_config["default"].prompt_init_token_ids == [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
    ids, _ = prompts_of(
        architecture, num_virtual_tokens=4, prompt_init="text", prompt_init_token_ids=[[5, 6, 7], [8], [9, 10, 11, 12]]
    )
    assert torch.equal(ids, table)


def test_text_of_the_librarys_tasks():
    names = ["sequential", "topn", "explanation"]
    texts = template_texts([load_task(name) for name in names])
    assert len(texts) == 3
    for name, text in zip(names, texts, strict=True):
        words = text.split()
        assert len(words) > 15
        assert not any("{" in word for word in words)
        literal = [word for template in load_task(name).templates for word in template.text.split() if word[0] != "{"]
        assert words == literal


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("is_trainable", [False, True])
def test_text_is_not_needed_to_load(low_cpu_mem_usage, is_trainable, tokenizer, tmp_path):
    shutil.copytree(tokenizer, tmp_path / "tokenizer")
    arguments = {"prompt_init_text": TEXTS, "tokenizer_name_or_path": str(tmp_path / "tokenizer")}
    _, model = prompts_of(prompt_init="text", **arguments)
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    shutil.rmtree(tmp_path / "tokenizer")
    settings = {"low_cpu_mem_usage": low_cpu_mem_usage, "is_trainable": is_trainable}
    loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / "adapter", **settings)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained adapter with the tasks "sequential", "topn" and "explanation", its folder and its prompts."""
    folder = tmp_path_factory.mktemp("saved")
    _, model = prompts_of()
    train_a_little(model, make_batch(model))
    model.save_pretrained(folder)
    return folder, model.base_model.prompts.prompt_table("default").detach()


def test_adapter(saved):
    folder, theirs = saved
    same, _ = prompts_of(prompt_init="adapter", prompt_init_adapter=str(folder))
    assert torch.equal(same, theirs)
    arguments = {"prompt_init": "adapter", "prompt_init_adapter": str(folder)}
    fewer, _ = prompts_of(tasks=["explanation", "sequential"], **arguments)
    assert torch.equal(fewer, theirs[[2, 0]])
    others, _ = prompts_of(tasks=["new", "newer"], prompt_init_tasks=["topn", "topn"], **arguments)
    assert torch.equal(others, theirs[[1, 1]])
    numbers, _ = prompts_of(tasks=["new", "newer"], prompt_init_tasks=[2, 0], **arguments)
    assert torch.equal(numbers, theirs[[2, 0]])


def test_adapter_of_several_with_names(tmp_path):
    model = get_peft_model(make_base("t5"), make_config(), adapter_name="one")
    model.add_adapter("two", make_config(init_seed=3))
    model.save_pretrained(tmp_path)
    for name in ("one", "two"):
        table, started = prompts_of(prompt_init="adapter", prompt_init_adapter=tmp_path / name)
        assert torch.equal(table, model.base_model.prompts.prompt_table(name).detach())
        started.save_pretrained(tmp_path / "started")  # a path is saved too


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_the_adapter_started_from_is_not_needed_to_load(low_cpu_mem_usage, saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "first")
    _, model = prompts_of(prompt_init="adapter", prompt_init_adapter=str(tmp_path / "first"))
    batch = make_batch(model)
    train_a_little(model, batch)
    model.save_pretrained(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / "second", low_cpu_mem_usage=low_cpu_mem_usage)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)
    if not low_cpu_mem_usage:
        with pytest.warns(UserWarning, match="uniform until a checkpoint fills them"):
            loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / "second", is_trainable=True)
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)


def test_an_adapter_started_from_text_or_another_grows(saved, tokenizer, tmp_path):
    starts = [
        {"prompt_init": "adapter", "prompt_init_adapter": str(saved[0])},
        {"prompt_init": "text", "prompt_init_text": TEXTS, "tokenizer_name_or_path": str(tokenizer)},
    ]
    for number, start in enumerate(starts):
        table, model = prompts_of(**start)
        model.base_model.add_task("fourth", init="sequential")
        model.add_weighted_adapter(["default"], [0.5], "weaker")
        model.save_pretrained(tmp_path / str(number))
        loaded = PeftModel.from_pretrained(make_base("t5"), tmp_path / str(number), is_trainable=True)
        assert torch.equal(loaded.base_model.prompts.prompt_table("default"), torch.cat([table, table[:1]]))


@architectures
@pytest.mark.parametrize("init", ["uniform", "vocabulary"])
def test_starts_depend_on_the_seed_alone(architecture, init):
    torch.manual_seed(1)
    first, _ = prompts_of(architecture, prompt_init=init, init_seed=3)
    torch.manual_seed(2)
    again, _ = prompts_of(architecture, prompt_init=init, init_seed=3)
    more, _ = prompts_of(architecture, prompt_init=init, init_seed=3, tasks=["a", "b", "c", "d", "e"])
    other, _ = prompts_of(architecture, prompt_init=init, init_seed=4)
    assert torch.equal(first, again)
    assert torch.equal(first, more[:3])
    assert not torch.equal(first, other)


def test_uniform_is_the_papers():
    table, _ = prompts_of(num_virtual_tokens=50, prompt_init_range=0.1)
    assert -0.1 <= table.min() < -0.099
    assert 0.099 < table.max() < 0.1
    assert abs(table.mean()) < 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt_init": "text"}, "prompt_init='text' needs prompt_init_text"),
        ({"prompt_init": "text", "prompt_init_text": TEXTS}, "prompt_init_text needs tokenizer_name_or_path"),
        ({"prompt_init_text": TEXTS}, "prompt_init_text is set but prompt_init is 'uniform': set prompt_init='text'"),
        ({"prompt_init": "text", "prompt_init_text": TEXTS[:2]}, "prompt_init_text must be a list of 3 entries"),
        ({"prompt_init": "text", "prompt_init_text": "one"}, "prompt_init_text must be a list of 3 entries.*'one'"),
        ({"prompt_init": "text", "prompt_init_token_ids": [[1]]}, "prompt_init_token_ids must be a list of 3"),
        (
            {"prompt_init": "text", "prompt_init_token_ids": [5, 6, 7]},
            "entry of prompt_init_token_ids must be .* got 5",
        ),
        ({"prompt_init": "text", "prompt_init_token_ids": [[5], [6.0], [7]]}, r"a list of token IDs, got \[6.0\]"),
        ({"prompt_init": "text", "prompt_init_token_ids": [[5], [True], [7]]}, r"a list of token IDs, got \[True\]"),
        ({"prompt_init": "text", "prompt_init_token_ids": 5}, "prompt_init_token_ids must be a list of 3 entries"),
        ({"prompt_init": "text", "prompt_init_text": ["a", None, "b"]}, "entry of prompt_init_text must be a text"),
        ({"prompt_init": "text", "prompt_init_text": {"a", "b", "c"}}, "prompt_init_text must be a list"),
        (
            {"prompt_init": "text", "prompt_init_text": TEXTS, "tokenizer_name_or_path": 5},
            "tokenizer_name_or_path must",
        ),
        (
            {"prompt_init": "adapter", "prompt_init_adapter": 5},
            "prompt_init_adapter must be a folder or a Hub ID, got 5",
        ),
        (
            {"prompt_init": "adapter", "prompt_init_adapter": "x", "prompt_init_tasks": [0, None, 1]},
            "entry of prompt_init_tasks must be a task's name or number, got None",
        ),
        ({"prompt_init": "adapter"}, "prompt_init='adapter' needs prompt_init_adapter"),
        ({"prompt_init_adapter": "folder"}, "prompt_init_adapter is set but prompt_init is 'uniform'"),
        ({"prompt_init": "random"}, "prompt_init must be one of .* got 'random'"),
        (
            {"num_virtual_tokens": 0, "prompt_init": "vocabulary"},
            "prompt_init is 'vocabulary', but num_virtual_tokens is 0",
        ),
        (
            {"num_virtual_tokens": 0, "prompt_init": "text", "prompt_init_token_ids": [[5], [6], [7]]},
            "prompt_init is 'text', but num_virtual_tokens is 0",
        ),
        (
            {"num_virtual_tokens": 0, "prompt_init": "adapter", "prompt_init_adapter": "folder"},
            "prompt_init is 'adapter', but num_virtual_tokens is 0",
        ),
    ],
)
def test_bad_configurations_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_config(**arguments)


def test_what_cannot_be_read_is_named(saved, tmp_path):
    text = {"prompt_init": "text", "prompt_init_text": TEXTS}
    adapter = {"prompt_init": "adapter", "prompt_init_adapter": str(saved[0])}
    lora = get_peft_model(make_base("t5"), LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q"]))
    lora.save_pretrained(tmp_path)
    (tmp_path / "broken").mkdir()
    shutil.copy(saved[0] / "adapter_config.json", tmp_path / "broken")
    (tmp_path / "broken" / "adapter_model.bin").write_bytes(b"no weights")
    cases = [
        ({**adapter, "prompt_init_adapter": str(tmp_path / "broken")}, "broken' is no adapter that can be read"),
        ({**text, "tokenizer_name_or_path": "no/such-folder"}, "tokenizer_name_or_path='no/such-folder' cannot be"),
        ({"prompt_init": "text", "prompt_init_token_ids": [[5], [], [6]]}, "at least one token"),
        ({"prompt_init": "text", "prompt_init_token_ids": [[5], [60], [6]]}, "token 60 is not in .* vocabulary of 60"),
        ({**adapter, "prompt_init_adapter": "no/such-folder"}, "prompt_init_adapter='no/such-folder' is no adapter"),
        ({**adapter, "prompt_init_adapter": str(tmp_path)}, "is no POD adapter but"),
        ({**adapter, "tasks": ["rating"]}, "unknown task 'rating'.*prompt_init_tasks"),
        ({**adapter, "num_virtual_tokens": 4}, r"have shape \(3, 16\), here it must be \(4, 16\)"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            prompts_of(**arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_trained_adapters_prompts_are_not_rounded_to_the_bases_type(dtype, tmp_path):
    source = get_peft_model(make_base("t5"), make_config())
    source.save_pretrained(tmp_path)
    config = make_config(prompt_init="adapter", prompt_init_adapter=str(tmp_path))
    model = get_peft_model(make_base("t5").to(dtype), config)
    table = model.base_model.prompts.prompt_table("default")
    assert torch.equal(table, source.base_model.prompts.prompt_table("default"))
    kept = get_peft_model(make_base("t5").to(dtype), config, autocast_adapter_dtype=False)
    assert torch.equal(kept.base_model.prompts.prompt_table("default"), table.to(dtype))
