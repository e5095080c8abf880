from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from peft_pod.commands.arguments import CorpusArguments, ModelArguments, parse_arguments
from peft_pod.commands.resuming import FREE_TRAINING, check_resumable, free_arguments, resumed_values
from peft_pod.commands.run_folder import RunFolder
from peft_pod.training import PODTrainingArguments

from .runs import call, contents, read, small, train

PLACE = Path("runs/x")
OPTIONS = small(
    tasks=["sequential"], eval_strategy="steps", save_strategy="steps", eval_steps=2, save_steps=2, max_steps=2,
    learning_rate=0.005, evaluation_limit=3,
)  # fmt: skip
NO_CHECKPOINTS = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def values_of(*arguments: object) -> dict[str, dict[str, object]]:
    kinds = (CorpusArguments, ModelArguments, PODTrainingArguments)
    corpus, model, training = parse_arguments(kinds, [str(argument) for argument in arguments], "train")
    values = {"corpus": asdict(corpus), "model": asdict(model), "training": training.to_dict()}
    return json.loads(json.dumps(values, default=str))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1e-4),
        ("lr_scheduler_type", "constant"),
        ("warmup_steps", 7),
        ("per_device_train_batch_size", 3),
        ("gradient_accumulation_steps", 2),
        ("optim", "sgd"),
        ("weight_decay", 0.1),
        ("max_grad_norm", 2),
        ("label_smoothing_factor", 0.1),
        ("bf16", "true"),
        ("distillation_weight", 0.5),
        ("distillation_temperature", 2),
        ("embedding_lr_ratio", 2),
        ("length_bucketing", "true"),
        ("fast_dropout", "false"),
        ("early_stopping_patience", 3),
        ("metric_for_best_model", "eval_sequential_loss"),
        ("eval_strategy", "no"),
        ("ignore_data_skip", "true"),
        ("data_seed", 3),
        ("max_minutes", 3),
        ("max_steps", 5),
        ("history_dropout", 0.2),
        ("validation_limit", 3),
        ("evaluation_limit", 3),
        ("lora_r", 2),
    ],
)
def test_what_the_kept_model_depends_on_is_refused(name, value):
    usual = ["--load_best_model_at_end", "false", "--save_strategy", "no", "--max_steps", 6]
    begun, now = values_of(*usual), values_of(*usual, f"--{name}", value)
    section = next(section for section in now if name in now[section])
    message = f"--{name} is {now[section][name]!r}, but the run in runs/x was begun with {begun[section][name]!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}: resume with the same, or start a new run$"):
        check_resumable(begun, now, PLACE)
    check_resumable(now, now, PLACE)


def test_an_argument_of_training_is_refused_unless_it_is_known_to_change_nothing():
    begun = values_of()
    assert set(begun["training"]) >= FREE_TRAINING
    for name in begun["training"]:
        now = {**begun, "training": {**begun["training"], name: "another"}}
        if name in FREE_TRAINING:
            check_resumable(begun, now, PLACE)
        elif name not in ("max_steps", "num_train_epochs"):
            with pytest.raises(ValueError, match=f"--{name} is 'another', but"):
                check_resumable(begun, now, PLACE)


def test_an_argument_that_there_was_not_had_its_default():
    begun = values_of()
    for name in ("embedding_lr_ratio", "use_cpu", "accelerator_config", "report_to"):
        del begun["training"][name]
    check_resumable(begun, values_of(), PLACE)
    with pytest.raises(ValueError, match=r"--embedding_lr_ratio is 2\.0, but .* begun with 1\.0: resume with the same"):
        check_resumable(begun, values_of("--embedding_lr_ratio", 2), PLACE)


@pytest.mark.parametrize(
    ("arguments", "free"),
    [
        ([], {"item_beams"}),
        (["--metric_for_best_model", "auto"], set()),
        (["--metric_for_best_model", "eval_topn_hr@5"], set()),
        (["--metric_for_best_model", "auto", "--validation_limit", 9], {"evaluation_limit"}),
        (["--load_best_model_at_end", "false"], {"item_beams", "save_steps", "save_strategy"}),
        (
            ["--load_best_model_at_end", "false", "--eval_strategy", "no", "--metric_for_best_model", "auto"],
            {"item_beams", "evaluation_limit", "save_steps", "save_strategy"},
        ),
    ],
)
def test_what_validation_takes_from_the_evaluation_is_free_only_where_it_does_not(arguments, free):
    conditional = {"evaluation_limit", "item_beams", "save_steps", "save_strategy"}
    assert free_arguments(values_of(*arguments)) & conditional == free


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of two steps with a checkpoint, which tests copy."""
    folder = tmp_path_factory.mktemp("ended") / "run"
    done = train(OPTIONS, folder)
    assert done.status == 0, done.err
    return folder


def resume(options, folder):
    return train(options, folder, "--resume_from_checkpoint", "true")


def test_another_learning_rate_is_refused_and_nothing_written(ended, tmp_path):
    folder = shutil.copytree(ended, tmp_path / "run")
    before = contents(folder)
    for more in ({}, {"max_steps": 4}):
        done = resume({**OPTIONS, "learning_rate": 0.0001, **more}, folder)
        assert done.status == 2
        assert f"--learning_rate is 0.0001, but the run in {folder} was begun with 0.005: resume with the" in done.err
    assert contents(folder) == before


def test_what_is_free_leaves_the_record_as_it_was_begun(ended, tmp_path):
    folder = shutil.copytree(ended, tmp_path / "run")
    before = contents(folder)
    free = {"logging_steps": 2, "save_total_limit": 3, "text_beams": 3}
    done = resume(small(**{**OPTIONS, **free}), folder)
    assert done.status == 0, done.err
    begun, after = json.loads(before["arguments.json"]), read(folder / "arguments.json")
    assert after["training"] == begun["training"]
    # How the model answers is as it was last asked for.
    assert after["model"] == {**begun["model"], "text_beams": 3}
    assert read(folder / "model" / "pod_generation.json")["text_beams"] == 3
    assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["logging_steps"] == 1


def test_a_longer_run_goes_on_and_says_so(ended, tmp_path):
    """What was measured of the shorter one is gone: nobody takes it for that of the longer one."""
    folder = shutil.copytree(ended, tmp_path / "run")
    for more in (["--limit", 5], ["--limit", 5, "--part", "validation"], ["--count_weight", 0.4]):
        assert call("evaluate", "--run", folder, *more).status == 0
    assert call("pictures", "--run", folder, "--limit", 5, "--questions", 1).status == 0
    assert (folder / "pictures-5").is_dir()
    # Resumed as it was, no step is taken and what was measured stays.
    measured = {name: content for name, content in contents(folder).items() if name.startswith(("report", "pictures"))}
    assert resume(OPTIONS, folder).status == 0
    assert {name: contents(folder)[name] for name in measured} == measured

    longer = {**OPTIONS, "max_steps": 4}
    done = resume({**longer, "evaluation_part": "none"}, folder)
    assert done.status == 0, done.err
    assert read(folder / "trainer_state.json")["global_step"] == 4
    assert not [
        path.name for path in folder.iterdir() if path.name.startswith(("report", "ranks", "ranking", "pictures"))
    ]
    assert read(folder / "metrics.json")["training/steps"] == 4
    done = call("compare", folder, "--baseline", "popularity", "--limit", 5)
    assert (done.status, "has no report-5.json" in done.err) == (2, True)

    arguments = read(folder / "arguments.json")
    assert (arguments["training"]["max_steps"], arguments["lengthened"]) == (4, [{"max_steps": 2}])
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    assert "# lengthened from max_steps 2 when it was resumed" in config
    assert yaml.safe_load(config)["max_steps"] == 4
    # The same command goes on with it, as after SIGTERM; the first one would make another run of it.
    assert resume(longer, folder).status == 0
    assert read(folder / "arguments.json")["lengthened"] == [{"max_steps": 2}]
    done = resume(OPTIONS, folder)
    assert (done.status, "--max_steps is 2, but the run in" in done.err, "begun with 4" in done.err) == (2, True, True)


def test_epochs_lengthen_a_run_that_has_no_steps():
    begun, now = values_of("--num_train_epochs", 2), values_of("--num_train_epochs", 3)
    check_resumable(begun, now, PLACE)
    assert resumed_values(begun, now)["training"] == now["training"]
    assert resumed_values(begun, now)["lengthened"] == [{"num_train_epochs": 2}]
    with pytest.raises(ValueError, match=r"--num_train_epochs is 2\.0, but"):
        check_resumable(now, begun, PLACE)
    # Where there is a number of steps, epochs do not count; where there is a time limit, neither does.
    for more in (["--max_steps", 7], ["--max_minutes", 1]):
        with pytest.raises(ValueError, match=r"--num_train_epochs is 3\.0, but"):
            check_resumable(values_of("--num_train_epochs", 2, *more), values_of("--num_train_epochs", 3, *more), PLACE)


def test_an_ended_run_without_checkpoints_cannot_be_lengthened(tmp_path):
    options = small(**{**OPTIONS, **NO_CHECKPOINTS, "evaluation_part": "none"})
    assert train(options, tmp_path / "run").status == 0
    before = contents(tmp_path / "run")
    for more in ([], ["--dry-run"]):
        done = train({**options, "max_steps": 50}, tmp_path / "run", "--resume_from_checkpoint", "true", *more)
        assert done.status == 2
        assert "--max_steps is 50, but the run in" in done.err
        assert (
            "which was begun with 2, has ended and kept no checkpoint to go on from: start a new run, or resume with "
            "--max_steps 2 to evaluate this one"
        ) in done.err
    assert contents(tmp_path / "run") == before


def test_a_run_that_has_stopped_early_cannot_be_lengthened(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "transformers.EarlyStoppingCallback.check_metric_value",
        lambda self, *args: setattr(self, "early_stopping_patience_counter", self.early_stopping_patience),
    )
    options = {**OPTIONS, "max_steps": 6, "evaluation_part": "none"}
    assert train(options, tmp_path / "run").status == 0
    assert read(tmp_path / "run" / "trainer_state.json")["global_step"] == 2
    before = contents(tmp_path / "run")
    done = resume({**options, "max_steps": 8}, tmp_path / "run")
    assert done.status == 2
    assert "has stopped early, since 5 validations in a row (--early_stopping_patience) were not better" in done.err
    assert contents(tmp_path / "run") == before


def test_settings_of_an_ended_run_without_checkpoints_follow_its_report(tmp_path):
    """What `evaluate` asks later is what the report of the resumed run says."""
    options = small(**{**OPTIONS, **NO_CHECKPOINTS})
    assert train({**options, "count_weight": 0.3}, tmp_path / "run").status == 0
    weights = RunFolder(tmp_path / "run").model / "adapter_model.safetensors"
    before = weights.read_bytes()
    done = resume(options, tmp_path / "run")
    assert done.status == 0, done.err
    assert weights.read_bytes() == before
    report = read(tmp_path / "run" / "report.json")
    assert call("evaluate", "--run", tmp_path / "run", "--limit", 3).status == 0
    assert read(tmp_path / "run" / "report-3.json") == report
    assert "count_weight" not in report["tasks"]["sequential"]["protocol"]
