from __future__ import annotations

import json
import shutil

import pytest

from peft_pod.commands.plan import count_parameters

from .runs import call, contents, flags, read, small, train


def plan_of(options: dict[str, object], folder, *more: object):
    return call("train", *flags(options), "--output_dir", folder, "--dry-run", *more)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The plan of the run that the fixture `run` makes, and the folder beside which nothing may appear."""
    folder = tmp_path_factory.mktemp("plan")
    done = plan_of(small(), folder / "run", "--json")
    assert done.status == 0, done.err
    return json.loads(done.out), folder


def test_a_plan_writes_nothing(planned):
    _, folder = planned
    assert list(folder.iterdir()) == []


def test_a_run_after_a_plan_is_the_run_without_it(planned, run):
    _, folder = planned
    assert train(small(), folder / "after").status == 0
    before, after = contents(run[0] / "model"), contents(folder / "after" / "model")
    assert before.keys() == after.keys()
    assert before["adapter_model.safetensors"] == after["adapter_model.safetensors"]


def test_the_plan_says_what_the_run_was(planned, run):
    plan, _ = planned
    folder, _ = run
    metrics, report = read(folder / "metrics.json"), read(folder / "report.json")
    assert plan["length"]["steps"] == metrics["training/steps"]
    assert plan["length"]["steps"] * plan["length"]["samples_per_step"] == metrics["training/samples"]
    assert plan["length"]["epochs"] == pytest.approx(metrics["training/epochs"])
    validated = [entry for entry in read(folder / "log.json") if "eval_loss" in entry]
    assert plan["length"]["validations"] == len(validated) == 1
    parameters = plan["model"]["parameters"]
    assert parameters["all"] == {"trained": metrics["parameters/trained"], "total": metrics["parameters/total"]}
    for kind in ("trained", "total"):
        parts = [count[kind] for name, count in parameters.items() if name != "all"]
        assert sum(parts) == parameters["all"][kind]
    assert parameters["prompts"]["total"] == 3 * 10 * 64
    assert plan["corpus"]["fingerprint"] == report["corpus"]["fingerprint"]
    assert plan["corpus"]["audit"] in report["notes"]
    assert (plan["corpus"]["users"], plan["corpus"]["items"]) == (40, 60)
    # Each ID is one token.
    assert plan["item_ids"]["tokens"] == {"mean": 1.0, "fewest": 1, "most": 1}
    assert list(plan["tasks"]) == list(report["tasks"])
    assert all(task["validation_samples"] == 7 for task in plan["tasks"].values())
    assert sum(task["batches_per_epoch"] for task in plan["tasks"].values()) == plan["length"]["batches_per_epoch"]


def test_the_plan_adds_up(planned):
    plan, _ = planned
    seconds, length = plan["seconds"], plan["length"]
    batches = [task["seconds_per_batch"] for task in plan["tasks"].values()]
    assert plan["timed_batches"] == 10
    assert seconds["step"] == pytest.approx(sum(batches) / 3)
    training = seconds["step"] * length["steps"] + seconds["one_validation"] * length["validations"]
    assert seconds["training"] == pytest.approx(training)
    assert list(seconds["evaluation"]) == ["sequential", "topn", "explanation"]
    evaluation = sum(seconds["evaluation"].values())
    assert seconds["total"] == pytest.approx(seconds["building"] + training + evaluation)
    assert min([*batches, *seconds["evaluation"].values(), seconds["building"], seconds["one_validation"]]) > 0
    trained = plan["model"]["parameters"]["all"]["trained"]
    memory = plan["memory_bytes"]
    assert memory["weights"] == memory["gradients"] == 4 * trained
    assert memory["optimizer"] == pytest.approx(2 * memory["gradients"], rel=0.01)
    assert memory["peak"] > memory["weights"] + memory["gradients"] + memory["optimizer"] + memory["activations"]


def test_the_arguments_that_differ_are_listed_with_those_of_the_recipe(tmp_path):
    options = small(recipe="best", tasks=["sequential"], evaluation_limit=2, max_steps=None, dropout=0.25)
    done = plan_of({**options, "num_train_epochs": 2, "gradient_accumulation_steps": 4}, tmp_path / "run")
    assert done.status == 0, done.err
    listed = done.out.split("\n\n")[0].splitlines()
    assert listed[0] == "arguments that differ from the defaults (recipe best)"
    expected = {"segments: prefixes", "bare_probability: 1.0", "dropout: 0.25", "num_train_epochs: 2.0"}
    assert expected <= {line.strip() for line in listed}
    # All prefixes: of each of 40 users the first item has none, and two are held out.
    samples = 897 - 3 * 40
    batches = -(-samples // 8)
    steps = -(-batches // 4)
    assert (
        f"length      {2 * steps:,} steps of 32 samples, one task each, 4 batches a step; {steps} an epoch" in done.out
    )
    assert "2 epochs, 10 validations" in done.out
    assert done.out.endswith("Nothing was written.\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_train_epochs": 1, "gradient_accumulation_steps": 3, "eval_strategy": "epoch"},
        {
            "num_train_epochs": 0.7,
            "eval_strategy": "steps",
            "save_strategy": "steps",
            "eval_steps": 0.2,
            "save_steps": 0.2,
        },
    ],
    ids=["accumulated", "part"],
)
def test_steps_and_validations_are_those_that_the_trainer_makes(tmp_path, changes):
    options = {**small(tasks=["sequential", "topn"], max_steps=None, evaluation_limit=2), **changes}
    plan = json.loads(plan_of(options, tmp_path / "run", "--json").out)
    done = train(options, tmp_path / "run")
    assert done.status == 0, done.err
    state = read(tmp_path / "run" / "trainer_state.json")
    assert plan["length"]["steps"] == state["global_step"]
    assert plan["length"]["validations"] == len([entry for entry in state["log_history"] if "eval_loss" in entry])


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_r": -1},
        {"tasks": ["sequentiel"]},
        {"evaluation_limit": 0},
        {"base_model": "scratch:huge"},
        {"recipe": "x"},
    ],
    ids=str,
)
def test_what_training_refuses_is_refused_with_the_same_message(tmp_path, changes):
    refused, planned = train(small(**changes), tmp_path / "run"), plan_of(small(**changes), tmp_path / "run")
    assert (refused.status, planned.status) == (2, 2)
    assert planned.err == refused.err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(run):
    folder, _ = run
    before = contents(folder)
    planned = plan_of(small(), folder)
    assert (planned.status, planned.err) == (2, train(small(), folder).err)
    assert contents(folder) == before


def test_the_plan_of_a_run_that_is_to_go_on(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
    # The run may be at work, and this is where it writes its next checkpoint.
    saving = folder / "checkpoints" / ".unfinished" / "saving"
    saving.mkdir(parents=True)
    (saving / "half").write_text("half")
    before = contents(folder)
    assert any(name.endswith("half") for name in before)
    done = plan_of(small(), folder, "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    assert "6 steps of 8 samples, one task each, 6 of them done; 207 an epoch" in done.out
    assert "training 0.0 s" in done.out
    assert contents(folder) == before


def test_json_without_a_plan(tmp_path):
    done = train(small(), tmp_path / "run", "--json")
    assert (done.status, "--json goes with --dry_run" in done.err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_parameters_of_lora_are_a_part_of_their_own():
    from peft_pod.corpus import load_corpus
    from peft_pod.indexing import load_indexing
    from peft_pod.processing import PODProcessor
    from peft_pod.tasks import load_task
    from peft_pod.training import build_model, build_tokenizer

    train_part = load_corpus("embedded", num_users=20).split().train
    indexing, tasks = load_indexing("random").fit(train_part), [load_task("sequential")]
    processor = PODProcessor(build_tokenizer("scratch:tiny", train_part, indexing, tasks), indexing, tasks)
    counts = count_parameters(build_model("scratch:tiny", processor, num_virtual_tokens=3, max_whole_words=21, r=2))
    # Queries and values of three attentions of each of two layers, in and out, 64 wide.
    assert counts["LoRA"] == {"trained": 2 * 3 * 2 * 2 * 2 * 64, "total": 2 * 3 * 2 * 2 * 2 * 64}
    assert counts["prompts"] == {"trained": 3 * 64, "total": 3 * 64}
    assert counts["whole words"]["trained"] == counts["whole words"]["total"] == 21 * 64
    assert counts["base"]["trained"] == 0
