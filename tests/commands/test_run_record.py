from __future__ import annotations

import json
import platform
import socket
from dataclasses import asdict

import pytest
import yaml
from transformers import TrainerState

from peft_pod.audit import Audit
from peft_pod.commands.arguments import CorpusArguments, ModelArguments, parse_arguments
from peft_pod.commands.recipes import RecipeArguments
from peft_pod.commands.run_record import changed_training, rerun_config, run_metrics
from peft_pod.corpus import load_corpus
from peft_pod.generation import Recommender
from peft_pod.training import PODTrainingArguments
from peft_pod.training.throughput import Seen

from .runs import call, contents, read, small, train

KINDS = (CorpusArguments, ModelArguments, PODTrainingArguments, RecipeArguments)


def parsed(*arguments: object) -> dict[str, dict[str, object]]:
    corpus, model, training, _ = parse_arguments(KINDS, [str(argument) for argument in arguments], "train")
    values = {"corpus": asdict(corpus), "model": asdict(model), "training": training.to_dict()}
    return json.loads(json.dumps(values, default=str))


def test_the_config_of_a_run_makes_it_again_bit_for_bit(tmp_path):
    """With dropout, a recipe, lists, a dictionary, and what a null turns off."""
    config = tmp_path / "first.yaml"
    values = small(
        recipe="best", tasks=["topn", "sequential"], max_steps=4, warmup_steps=1, dropout=0.3, item_start="random",
        lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": 1e-5}, learning_rate=1e-3,
    )  # fmt: skip
    config.write_text(yaml.safe_dump({**values, "early_stopping_patience": None}), encoding="utf-8")
    assert call("train", "--config", config, "--output_dir", tmp_path / "x").status == 0
    done = call("train", "--config", tmp_path / "x" / "config.yaml", "--output_dir", tmp_path / "y")
    assert done.status == 0, done.err
    first, second = contents(tmp_path / "x" / "model"), contents(tmp_path / "y" / "model")
    assert first == second
    assert read(tmp_path / "x" / "report.json") == read(tmp_path / "y" / "report.json")
    arguments = [read(tmp_path / name / "arguments.json") for name in "xy"]
    for one in arguments:
        del one["training"]["output_dir"]
    assert arguments[0] == arguments[1]
    text = (tmp_path / "x" / "config.yaml").read_text(encoding="utf-8")
    assert text.startswith("# peft-pod ")
    assert "# recipe: best\n" in text
    # The recipe is written out, so the second run names none.
    assert (tmp_path / "y" / "config.yaml").read_text(encoding="utf-8") == text.replace("# recipe: best\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--recipe", "best"],
        ["--recipe", "paper", "--corpus_options", "num_users=5", "num_items=9", "--tasks", "topn"],
        ["--debug", "underflow_overflow", "--lr_scheduler_kwargs", '{"num_cycles": 2}', "--seed", 7],
        ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--no_train_base", "--lora_r", 4],
        [
            "--report_to",
            "tensorboard",
            "--optim",
            "sgd",
            "--adam_beta2",
            0.95,
            "--max_steps",
            5,
            "--bf16",
            "--data_seed",
            3,
        ],
        [
            "--accelerator_config",
            '{"even_batches": false}',
            "--logging_steps",
            0.25,
            "--label_names",
            "labels",
            "task_id",
        ],
    ],
    ids=["none", "recipe", "lists", "dictionary", "switches", "names", "nested"],
)
def test_a_config_gives_the_arguments_it_was_made_from(tmp_path, arguments):
    values = parsed(*arguments)
    path = tmp_path / "config.yaml"
    path.write_text(rerun_config(values, recipe=None, fingerprint="0123"), encoding="utf-8")
    assert parsed("--config", path) == values
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    # All of corpus and model but lists that are empty; of training only what differs.
    known = {name for section in ("corpus", "model") for name, value in values[section].items() if value != []}
    assert known - {"overwrite"} <= set(written)


def test_what_the_arguments_make_of_the_defaults_is_no_change():
    assert changed_training(parsed("--recipe", "none")["training"]) == {}


def test_where_a_run_went_and_what_opens_doors_is_left_out(tmp_path):
    values = parsed(
        "--output_dir", tmp_path, "--overwrite", "--hub_token", "hf_secret", "--resume_from_checkpoint", "true"
    )
    text = rerun_config(values, recipe=None, fingerprint="0123")
    assert not {"output_dir", "overwrite", "hub_token", "resume_from_checkpoint"} & set(yaml.safe_load(text))
    assert "secret" not in text
    assert "HUB_TOKEN" not in text


def test_metrics_hold_what_the_other_files_say(run):
    folder, printed = run
    metrics, report = read(folder / "metrics.json"), read(folder / "report.json")
    assert all(value is None or isinstance(value, float | int | str | bool) for value in metrics.values())
    for task, result in report["tasks"].items():
        systems = {f"test/{task}/": result}
        systems |= {f"test/{task}/{name}/": found for name, found in report["baselines"].get(task, {}).items()}
        for prefix, found in systems.items():
            for name, value in found["metrics"].items():
                assert metrics[prefix + name] == value
    validated = [entry for entry in read(folder / "log.json") if "eval_loss" in entry]
    best = min(validated, key=lambda entry: entry["eval_loss"])
    assert metrics["validation/loss"] == best["eval_loss"]
    assert metrics["validation/topn/loss"] == best["eval_topn_loss"]
    model = Recommender.from_pretrained(folder / "model").model
    assert metrics["parameters/total"] == sum(parameter.numel() for parameter in model.parameters())
    assert metrics["parameters/trained"] == metrics["parameters/total"]
    # Six steps of eight samples.
    assert (metrics["training/steps"], metrics["training/samples"]) == (6, 48)
    summary = next(entry for entry in read(folder / "log.json") if "train_runtime" in entry)
    assert metrics["training/seconds"] == summary["train_runtime"]
    assert metrics["training/samples_per_second"] * metrics["training/seconds"] == pytest.approx(48)
    # A sample has more than one token of input and one of answer.
    assert metrics["training/tokens_per_second"] > 2 * metrics["training/samples_per_second"]
    assert metrics["corpus/fingerprint"] == report["corpus"]["fingerprint"]
    assert metrics["audit/leaks"] is False
    assert metrics["audit/verdict"] in printed


@pytest.mark.parametrize(
    ("kept_best", "checkpoint", "expected"),
    [(True, "runs/x/checkpoint-2", 0.5), (False, "runs/x/checkpoint-2", 0.7), (True, None, 0.7)],
    ids=["the best", "the last", "none saved"],
)
def test_validation_numbers_are_those_of_the_model_that_was_kept(kept_best, checkpoint, expected):
    """The best of all, after step 3, was not saved, so it was not kept either way."""
    losses = {1: 0.9, 2: 0.5, 3: 0.4, 4: 0.7}
    state = TrainerState(
        global_step=4,
        log_history=[{"step": step, "eval_loss": loss, "eval_topn_loss": loss} for step, loss in losses.items()],
        best_model_checkpoint=checkpoint,
        best_global_step=3,
    )
    metrics = run_metrics(
        state,
        None,
        Audit("embedded", "leave-one-out", "random", "0123"),
        load_corpus("embedded", num_users=20),
        seconds=None,
        seen=Seen(samples=0, input_tokens=0, answer_tokens=0),
        parameters=(1, 2),
        kept_best=kept_best,
    )
    assert metrics["validation/loss"] == metrics["validation/topn/loss"] == expected


def test_the_state_of_the_trainer_stands_beside_its_log(run):
    folder, _ = run
    state = read(folder / "trainer_state.json")
    assert (state["global_step"], state["log_history"]) == (6, read(folder / "log.json"))


def test_the_environment_says_what_it_was_and_not_where(run):
    folder, _ = run
    found = read(folder / "environment.json")
    assert found["python"] == platform.python_version()
    assert (found["accelerator"], found["processes"], found["threads"]) == (None, 1, 1)
    assert found["packages"] == read(folder / "report.json")["versions"]
    name = socket.gethostname()
    assert len(name) < 4 or name not in (folder / "environment.json").read_text(encoding="utf-8")


def test_an_ended_run_that_is_taken_up_again_has_no_time_to_tell(tmp_path):
    options = small(tasks=["sequential"], max_steps=2, save_strategy="epoch")
    assert train(options, tmp_path / "run").status == 0
    before = read(tmp_path / "run" / "metrics.json")
    assert train(options, tmp_path / "run", "--resume_from_checkpoint", "true").status == 0
    after = read(tmp_path / "run" / "metrics.json")
    timed = {"training/seconds", "training/samples", "training/samples_per_second", "training/tokens_per_second"}
    assert {after[name] for name in timed} == {None}
    assert {name: value for name, value in after.items() if name not in timed} == {
        name: value for name, value in before.items() if name not in timed
    }
