"""Each of these ends with status 2 and says on standard error which argument, which value and what to do."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from .runs import call, contents, save_bart, save_t5, small, train


def refused(done, message):
    assert done.status == 2, done
    assert "Traceback" not in done.err
    assert re.search(message, done.err.replace("\n", " ")), done.err


@pytest.mark.parametrize("arguments", [["recomend"], ["--run", "x"]])
def test_unknown_verb(arguments):
    done = call(*arguments)
    refused(done, f"unknown verb {arguments[0]!r}.*usage: peft-pod VERB.*train .*evaluate .*recommend ")


def test_no_verb_and_help():
    assert call().status == 2
    assert call("--help").status == 0
    assert re.fullmatch(r"\d+\.\d+\S*\n", call("--version").out)


@pytest.mark.parametrize("verb", ["train", "evaluate", "recommend"])
def test_help_of_each_verb(verb):
    done = call(verb, "--help")
    assert done.status == 0
    assert done.out.startswith(f"usage: peft-pod {verb} ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["sequentiel"]}, r"unknown task 'sequentiel'; known are \['sequential', 'topn', 'explanation'\]"),
        ({"tasks": ["topn", "topn"]}, r"none twice; got \['topn', 'topn'\]"),
        ({"corpus": "beauty"}, "there is no corpus 'beauty'; known are amazon-2014, amazon-2014/beauty, "),
        ({"corpus": "pod", "corpus_options": ["name=x"]}, "'pod' is read from files: give data_dir, a folder with seq"),
        ({"data_dir": "nowhere"}, "'embedded' is made, not read: leave data_dir out, got 'nowhere'"),
        (
            {"corpus": "movielens-100k", "corpus_options": None, "data_dir": "nowhere"},
            "data_dir nowhere does not exist; 'movielens-100k' needs a folder with u.data and u.item",
        ),
        ({"corpus_options": ["num_users"]}, "--corpus_options takes name=value, got 'num_users'"),
        ({"corpus_options": ["num_users=[1"]}, r"--corpus_options 'num_users=\[1': the value is not YAML"),
        ({"corpus_options": ["users=3"]}, "'embedded' has no option 'users'; its options are num_users, "),
        ({"corpus_options": ["num_users=many"]}, "num_users must be a .*got 'many'"),
        ({"indexing": "alphabetical"}, "unknown indexing 'alphabetical'; known are "),
        ({"base_model": "scratch:huge"}, r"unknown size 'huge' in base model 'scratch:huge'; sizes are \['tiny', "),
        ({"base_model": "no/such"}, "base model 'no/such' is neither a folder that exists nor a model that can be loa"),
        ({"base_model": "no/such/folder"}, "base model 'no/such/folder' is neither a folder that exists nor a model"),
        ({"evaluation_limit": 0}, "--evaluation_limit must be at least 1, or left out to evaluate all users; got 0"),
        ({"history_length": 0}, "history_length must be a positive whole number, got 0"),
        ({"num_negatives": 0}, "num_negatives must be a positive whole number, got 0"),
        ({"segments": "all"}, r"argument --segments\S*: invalid choice: 'all' .choose from '?random"),
        ({"bare_probability": 2}, "bare_probability must be from 0 to 1, got 2.0"),
        ({"prompt_init": "adapter"}, "prompt_init='adapter' needs prompt_init_adapter"),
        ({"prompt_init_adapter": "x"}, "prompt_init_adapter is set but prompt_init is 'uniform': set prompt_init="),
        ({"prompt_init": "adapter", "prompt_init_adapter": "nowhere"}, "prompt_init_adapter='nowhere' is no adapter"),
        ({"num_virtual_tokens": -1}, r"num_virtual_tokens must be 0 \(no prompts\) or a positive whole number, got -1"),
        ({"vocabulary_size": -1}, "vocabulary_size must be at least 200, got -1"),
        ({"id_tokens": "letters"}, r"argument --id_tokens\S*: invalid choice: 'letters'"),
        ({"dropout": 2}, "dropout.* must be .*between 0 and 1.*got 2.0|dropout probability has to be between 0 and 1"),
        ({"item_beams": 0}, "item_beams must be a positive whole number, got 0"),
        ({"text_beams": -2}, "text_beams must be a positive whole number, got -2"),
        ({"lora_r": 4}, "--lora_r asks for LoRA: add --no_train_base"),
        ({"lora_r": -1, "train_base": False}, r"--lora_r must be 0 \(no LoRA\) or a positive whole number, got -1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be above 0, got 0"),
        ({"max_steps": None, "num_train_epochs": 0}, "num_train_epochs must be above 0, got 0.0; or set max_steps"),
        ({"early_stopping_patience": 0}, "early_stopping_patience must be at least 1, or None to never stop.*got 0"),
        ({"metric_for_best_model": "hr@10"}, r"metric_for_best_model must be one of \['eval_loss', .*got 'hr@10'"),
        ({"eval_strategy": "steps"}, "--load_best_model_at_end requires the save and eval strategy to match"),
        ({"learning_rate": "high"}, r"argument --learning_rate\S*: invalid float value: 'high'"),
        ({"learning_speed": 1}, "unknown argument '--learning_speed'; `peft-pod train --help` lists those there are"),
        ({"push_to_hub": True}, "--push_to_hub would push a checkpoint; push the folder model/ of the run"),
        ({"resume_from_checkpoint": "true"}, "--output-dir .*new holds no run that could be resumed"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_arguments_of_train(tmp_path, changes, message):
    refused(train(small(**changes), tmp_path / "new"), message)
    # Nothing is left that would be in the way of the next try.
    assert contents(tmp_path) == {}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def corpus_files(folder, sequential=b"1 1 2 3 4\n2 2 3 1 4\n", cut=0):
    folder.mkdir()
    packed = gzip.compress(sequential)
    (folder / "sequential.txt.gz").write_bytes(packed[: len(packed) - cut])
    maps = {"id2user": {"1": "ann", "2": "bob"}, "id2item": {"1": "a", "2": "b", "3": "c", "4": "d"}}
    (folder / "datamaps.json").write_text(json.dumps(maps), encoding="utf-8")
    return folder


def test_a_corpus_that_was_cut_off(tmp_path):
    options = small(corpus="pod", corpus_options=["name=toy"], data_dir=corpus_files(tmp_path / "data", cut=12))
    refused(train(options, tmp_path / "new"), r"sequential\.txt\.gz, line \d: the compressed file is damaged or cut of")
    assert not (tmp_path / "new").exists()


def test_a_corpus_with_a_malformed_line(tmp_path):
    (tmp_path / "u.data").write_text("1\t1\t5\t880000000\n1\t2\tgood\t880000001\n", encoding="latin-1")
    item = "|01-Jan-1995||http://x|" + "|".join("0" * 19) + "\n"
    (tmp_path / "u.item").write_text(f"1|One{item}2|Two{item}", encoding="latin-1")
    options = small(corpus="movielens-100k", corpus_options=None, data_dir=tmp_path)
    refused(train(options, tmp_path / "new"), r"u\.data, line 2: .*'good'")


def test_a_corpus_too_small_to_hold_anything_out(tmp_path):
    data = corpus_files(tmp_path / "data", b"1 1 2\n2 2 3\n")
    options = small(corpus="pod", corpus_options=["name=toy"], data_dir=data)
    refused(train(options, tmp_path / "new"), "nobody has a test item: .* at least 3 interactions out, .*--eval_str")
    options["evaluation_part"] = "none"
    refused(train(options, tmp_path / "new"), "^peft-pod train: nobody has a validation item: .*--eval_strategy no")


@pytest.mark.parametrize("task", ["explanation"])
def test_a_task_that_the_corpus_does_not_serve(tmp_path, task):
    options = small(corpus="pod", corpus_options=["name=toy"], data_dir=corpus_files(tmp_path / "data"), tasks=[task])
    refused(train(options, tmp_path / "new"), f"corpus 'toy' has no samples for the task {task!r}; it supports ")


def test_a_decoder_only_base(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    refused(
        train(small(base_model=tmp_path / "gpt2"), tmp_path / "new"),
        "base model '.*gpt2' is a 'gpt2' model, not an encoder-decoder; try T5 or BART",
    )


def test_a_base_folder_that_lacks_something(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(
        train(small(base_model=tmp_path / "empty"), tmp_path / "new"),
        "base model '.*empty' is a folder without a config.json: it holds no model",
    )
    base = save_t5(tmp_path / "t5")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).unlink()
    refused(
        train(small(base_model=base), tmp_path / "new"),
        "base model '.*t5' is a folder without a tokenizer; save it there by tokenizer.save_pretrained",
    )


def test_a_base_with_too_few_positions(tmp_path):
    base = save_bart(tmp_path / "bart", positions=60)
    refused(
        train(small(base_model=base, num_virtual_tokens=59), tmp_path / "new"),
        "num_virtual_tokens is 59, but base model '.*bart' has 60 positions for prompts and input together: use fewer",
    )
    refused(
        train(small(base_model=base, num_virtual_tokens=2, tasks=["topn"]), tmp_path / "new"),
        "the input has .* tokens and the model takes 58: give fewer candidates",
    )
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [topn", "run.yaml is not YAML: "),
        ("- topn", "run.yaml must hold names and values, such as `corpus: embedded`"),
        ("3: topn", "run.yaml must hold names and values"),
        ("task: [topn]", "run.yaml sets 'task', which is no argument; see --help"),
        ("tasks: topn", r"run.yaml sets tasks to 'topn'; give a list, such as \[topn\]"),
        ("tasks: []", "run.yaml sets tasks to an empty list; leave the line out"),
        ("corpus: [a, b]", r"run.yaml sets corpus to a list, \['a', 'b'\]; give one value"),
        ("corpus:", "run.yaml sets corpus to nothing; give a value, or leave the line out"),
        ("item_beams: 2.5", r"argument --item_beams\S*: invalid int value: '2.5'"),
        ("train_base: maybe", r"argument --train_base\S*: Truthy value expected: got maybe"),
        ("item_start: nowhere", r"argument --item_start\S*: invalid choice: 'nowhere'"),
    ],
)
def test_config_files(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    refused(train(small(), tmp_path / "new", "--config", tmp_path / "run.yaml"), message)


def test_config_file_that_is_missing_or_no_text(tmp_path):
    refused(train(small(), tmp_path / "new", "--config", tmp_path / "none.yaml"), "none.yaml does not exist")
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    refused(train(small(), tmp_path / "new", "--config", tmp_path / "run.yaml"), "run.yaml is not UTF-8 text")
    refused(train(small(), tmp_path / "new", "--config", tmp_path), "Is a directory")


# The folder of the run


@pytest.fixture
def own(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "own")


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear", encoding="utf-8")
    for more in ([], ["--overwrite"]):
        done = train(small(), tmp_path / "letters", *more)
        refused(done, "--output-dir .*letters is not empty and holds no run; choose another folder")
    refused(train(small(), tmp_path / "letters" / "one.txt"), "--output-dir .*one.txt is a file; choose another name")
    refused(call("evaluate", "--run", tmp_path / "letters"), "--run .*letters is not the folder of a run: there is no ")
    assert contents(tmp_path) == {"letters/one.txt": b"dear"}


def test_a_run_is_not_replaced_unless_asked_for(own):
    before = contents(own)
    refused(
        train(small(), own),
        "already holds a run: choose another folder, replace it with --overwrite, or go on with "
        "--resume_from_checkpoint true",
    )
    assert contents(own) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": ["sequentiel"]},
        {"corpus_options": ["num_users=0"]},
        {"base_model": "scratch:huge"},
        {"base_model": "no/such"},
        {"num_virtual_tokens": -1},
        {"item_beams": 0},
        {"per_device_train_batch_size": 0},
        {"metric_for_best_model": "hr@10"},
        {"lora_r": 4},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_run_survives_overwrite_with_another_bad_argument(own, changes):
    before = contents(own)
    assert train(small(**changes), own, "--overwrite").status == 2
    assert contents(own) == before


def test_a_run_cannot_replace_what_it_is_made_of(own, tmp_path):
    before = contents(own)
    options = small(corpus="saved", corpus_options=None, data_dir=own / "corpus")
    refused(train(options, own, "--overwrite"), "--data_dir .*corpus lies in --output_dir .*own, which a new run repl")
    options = small(base_model=own / "model" / "base")
    refused(train(options, own, "--overwrite"), "--base_model .*base lies in --output_dir .*own, which a new run repl")
    assert contents(own) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"corpus_options": ["num_users=41", "num_items=60"]},
            r"--corpus_options is \['num_users=41', 'num_items=60'\]",
        ),
        ({"tasks": ["topn"]}, r"--tasks is \['topn'\], but the run in .*own was begun with \[\]: resume with the same"),
        ({"num_virtual_tokens": 3}, "--num_virtual_tokens is 3, but the run in .*own was begun with 10: resume with"),
        ({"base_model": "scratch:mini"}, "--base_model is 'scratch:mini', but .* begun with 'scratch:tiny'"),
        ({"seed": 1}, "--seed is 1, but the run in .*own was begun with 42"),
    ],
    ids=["corpus_options", "tasks", "num_virtual_tokens", "base_model", "seed"],
)
def test_resuming_with_other_arguments(own, changes, message):
    before = contents(own)
    refused(train(small(**changes), own, "--resume_from_checkpoint", "true"), message)
    assert contents(own) == before


def test_resuming_from_no_checkpoint(own, tmp_path):
    refused(
        train(small(), own, "--resume_from_checkpoint", tmp_path / "nowhere"),
        "--resume_from_checkpoint .*nowhere is not the folder of a checkpoint",
    )
    shutil.rmtree(own / "checkpoints")
    shutil.rmtree(own / "model")
    refused(
        train(small(), own, "--resume_from_checkpoint", "true"),
        "own holds no checkpoint to resume from: the run ended before the first was written; begin it anew with --ov",
    )


def test_resuming_when_the_data_have_changed(tmp_path):
    data = corpus_files(tmp_path / "data")
    options = small(corpus="pod", corpus_options=["name=toy"], data_dir=data, tasks=["sequential"], max_steps=1)
    done = train(options, tmp_path / "run")
    assert done.status == 0, done.err
    shutil.rmtree(data)
    corpus_files(data, b"1 1 2 3 4\n2 2 1 3 4\n")
    refused(
        train(options, tmp_path / "run", "--resume_from_checkpoint", "true"),
        "the corpus 'toy' has the fingerprint .*, but the run in .*run was begun with .*: its files have changed since",
    )
