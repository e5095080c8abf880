from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, TrainerCallback

from peft_pod.corpus import Corpus
from peft_pod.generation import Recommender
from peft_pod.metrics import evaluate_baseline, load_baseline
from peft_pod.training import PODTrainer
from peft_pod.tuner import template_texts

from .runs import call, contents, read, save_bart, save_t5, small, train

NO_VALIDATION = {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "epoch"}
FILES = [
    "arguments.json", "config.yaml", "environment.json", "log.json", "losses.png", "metrics.json", "ranking.png",
    "ranks.parquet", "report.json", "trainer_state.json",
]  # fmt: skip


def test_a_run_leaves_what_the_readme_says(run):
    folder, _ = run
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == FILES
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["checkpoints", "corpus", "model"]
    for picture in ("losses.png", "ranking.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    arguments = read(folder / "arguments.json")
    assert arguments["corpus"]["corpus_options"] == ["num_users=40", "num_items=60"]
    assert arguments["model"]["num_virtual_tokens"] == 10
    assert arguments["training"]["max_steps"] == 6
    steps = [entry["step"] for entry in read(folder / "log.json") if "loss" in entry]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_table_has_model_and_baselines_of_the_report(run):
    folder, printed = run
    report = read(folder / "report.json")
    assert list(report["tasks"]) == ["sequential", "topn", "explanation"]
    for task, result in report["tasks"].items():
        assert result["protocol"]["num_users"] == 7
        block = printed[printed.index(f"\n{task}: ") :].split("\n\n")[0]
        rows = {"model": result, **report["baselines"].get(task, {})}
        assert len(rows) == (1 if task == "explanation" else 5)
        for name, row in rows.items():
            line = next(line for line in block.splitlines() if line.startswith(name))
            numbers = [float(cell.rstrip("*")) for cell in line.removeprefix(name).split()]
            assert numbers == pytest.approx(list(row["metrics"].values()), abs=0.0051)


def test_the_same_command_gives_the_same_numbers(run, tmp_path):
    folder, _ = run
    assert train(small(), tmp_path / "again").status == 0
    assert read(tmp_path / "again" / "report.json") == read(folder / "report.json")


def test_config_file_and_flags_that_override_it(tmp_path):
    config = tmp_path / "run.yaml"
    values = small(max_steps=50, num_virtual_tokens=3, tasks=["topn"], early_stopping_patience=None)
    values = {**values, "learning_rate": "2e-3", "train_base": False, "early_stopping_patience": None}
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = call("train", "--config", config, "--output-dir", tmp_path / "run", "--max-steps", 2, "--lora-r", 2)
    assert done.status == 0, done.err
    arguments = read(tmp_path / "run" / "arguments.json")
    assert (arguments["training"]["max_steps"], arguments["model"]["num_virtual_tokens"]) == (2, 3)
    assert (arguments["corpus"]["tasks"], arguments["corpus"]["evaluation_limit"]) == (["topn"], 7)
    assert (arguments["model"]["lora_r"], arguments["model"]["train_base"]) == (2, False)
    assert arguments["training"]["learning_rate"] == 0.002
    assert arguments["training"]["early_stopping_patience"] is None
    assert list(read(tmp_path / "run" / "report.json")["tasks"]) == ["topn"]


class _StopsAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({}, id="full"),
        # That a Trainer goes on as before in every mode is tested below the commands.
        pytest.param({"train_base": False, "lora_r": 2}, id="lora", marks=pytest.mark.slow),
    ],
)
def test_resuming_ends_as_if_nothing_had_happened(tmp_path, monkeypatch, mode):
    """With dropout, and with the best of all checkpoints kept, those before the interruption among them."""
    options = small(
        eval_strategy="steps", save_strategy="steps", eval_steps=2, save_steps=2, learning_rate=0.005, **mode
    )
    assert train(options, tmp_path / "unbroken").status == 0

    class Interrupted(PODTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, callbacks=[_StopsAt(5)], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("peft_pod.commands.train.PODTrainer", Interrupted)
        assert train(options, tmp_path / "broken").status == 130
    done = call("evaluate", "--run", tmp_path / "broken")
    assert done.status == 2
    assert "training did not end; go on with `peft-pod train` and --resume_from_checkpoint true" in done.err
    # A checkpoint that was cut off is passed over.
    (tmp_path / "broken" / "checkpoints" / "checkpoint-5").mkdir()

    done = train(options, tmp_path / "broken", "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    first, second = (
        load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("unbroken", "broken")
    )
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
    logs = [read(tmp_path / name / "log.json") for name in ("unbroken", "broken")]
    losses = [
        [{name: entry[name] for name in entry if "loss" in name and name != "train_loss"} for entry in log]
        for log in logs
    ]
    assert len(losses[0]) == len(losses[1]) == 10  # six steps, three evaluations, the summary
    for expected, found in zip(*losses, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert read(tmp_path / "broken" / "report.json") == read(tmp_path / "unbroken" / "report.json")


@pytest.mark.parametrize(
    "length",
    [
        {"max_steps": 4, "eval_strategy": "no", "load_best_model_at_end": False, "lr_scheduler_type": "constant"},
        {"max_steps": None, "num_train_epochs": 1, "per_device_train_batch_size": 64},
    ],
    ids=["steps", "epochs"],
)
def test_resuming_what_had_ended_changes_nothing(tmp_path, length):
    """As where only the evaluation was interrupted. The Trainer itself would take a step more."""
    options = small(tasks=["sequential"], learning_rate=0.005, save_strategy="epoch", **length)
    assert train(options, tmp_path / "run").status == 0
    before = contents(tmp_path / "run")
    for name in ("report.json", "ranking.png"):
        (tmp_path / "run" / name).unlink()
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    after = contents(tmp_path / "run")
    assert after.keys() == before.keys()
    for name in ("report.json", "model/adapter_model.safetensors"):
        assert after[name] == before[name]


def test_a_run_of_an_earlier_version_with_fewer_arguments(tmp_path):
    """It did what the arguments that it lacks do by default; anything else is another run."""
    options = small(tasks=["sequential"], max_steps=2, **NO_VALIDATION)
    assert train(options, tmp_path / "run").status == 0
    report = read(tmp_path / "run" / "report.json")
    arguments = read(tmp_path / "run" / "arguments.json")
    for section, name in (
        *(("corpus", name) for name in ("prepare", "split", "split_options", "explanations_from_reviews", "segments")),
        ("corpus", "indexing_options"),
        ("model", "item_start"),
    ):
        del arguments[section][name]
    (tmp_path / "run" / "arguments.json").write_text(json.dumps(arguments), encoding="utf-8")
    done = call("evaluate", "--run", tmp_path / "run", "--limit", 7)
    assert done.status == 0, done.err
    assert read(tmp_path / "run" / "report-7.json")["tasks"] == report["tasks"]
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true", "--split", "temporal")
    assert (done.status, "was begun with 'leave-one-out'" in done.err) == (2, True)
    done = train(options, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err


@pytest.mark.parametrize("mode", [["--no_train_base"], ["--no_train_base", "--lora_r", 4]], ids=["frozen", "lora"])
def test_runs_that_leave_the_base_as_it_is(tmp_path, mode):
    done = train(small(max_steps=3, tasks=["sequential"]), tmp_path / "run", *mode)
    assert done.status == 0, done.err
    names = list(load_file(tmp_path / "run" / "model" / "adapter_model.safetensors"))
    assert any("lora_A" in name for name in names) == ("--lora_r" in mode)
    assert not any("embed_tokens" in name or "shared" in name for name in names)
    trained = read(tmp_path / "run" / "report.json")
    done = call("evaluate", "--run", tmp_path / "run", "--limit", 7, "--json")
    assert done.status == 0, done.err
    assert read(tmp_path / "run" / "report.json") == trained


def test_a_run_without_anything_to_draw(tmp_path):
    """Neither a step that is logged nor a validation loss, and no task that ranks: the run ends well all the same."""
    options = small(max_steps=2, logging_steps=50, eval_strategy="no", load_best_model_at_end=False)
    done = train({**options, "tasks": ["explanation"]}, tmp_path / "run")
    assert done.status == 0, done.err
    assert not list((tmp_path / "run").glob("*.png"))
    assert set(read(tmp_path / "run" / "report.json")["tasks"]) == {"explanation"}
    done = call("recommend", "--run", tmp_path / "run", "--num_users", 1)
    assert done.status == 2
    assert "unknown task 'sequential'; this model has ['explanation']" in done.err


def test_more_candidates_than_inputs_usually_hold(tmp_path):
    options = small(corpus_options=["num_users=20", "num_items=650"], tasks=["topn"], num_negatives=600, max_steps=1)
    done = train({**options, "per_device_train_batch_size": 2, "evaluation_limit": 2}, tmp_path / "run")
    assert done.status == 0, done.err
    result = read(tmp_path / "run" / "report.json")["tasks"]["topn"]
    assert result["protocol"]["candidates"] == "candidates-601"


def test_overwrite_replaces_a_run(tmp_path):
    assert train(small(max_steps=1, tasks=["topn"]), tmp_path / "run").status == 0
    (tmp_path / "run" / "report-validation.json").write_text("old", encoding="utf-8")
    assert train(small(max_steps=2, tasks=["topn"]), tmp_path / "run", "--overwrite").status == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_file()) == FILES
    assert read(tmp_path / "run" / "arguments.json")["training"]["max_steps"] == 2


def test_inputs_longer_than_the_base_takes(tmp_path):
    """A history loses its oldest items, an answer its end; both are as long as the positions allow."""
    base = save_bart(tmp_path / "bart", positions=60)
    options = small(
        base_model=base, tasks=["sequential", "explanation"], num_virtual_tokens=8, max_steps=2, history_length=40
    )
    done = train(options, tmp_path / "run")
    assert done.status == 0, done.err
    recommender = Recommender.from_pretrained(tmp_path / "run" / "model")
    assert recommender.processor.max_input_length == 52
    assert recommender.processor.max_target_length == 60
    history = list(recommender.catalogue.item_ids[:40])
    user = recommender.catalogue.user_ids[0]
    sample = recommender.processor.task("sequential").query(0, range(40))
    assert 48 < len(recommender.processor(sample, "sequential")["input_ids"]) <= 52
    done = call("recommend", "--run", tmp_path / "run", "--user", user, "--history", *history, "--k", 3, "--explain")
    assert done.status == 0, done.err
    expected = recommender.recommend(user, history, k=3)
    assert [item.item_id for item in expected if f"[{item.item_id}]" in done.out] == [item.item_id for item in expected]
    assert not {item.item_id for item in expected} & set(history)
    recommender.processor.max_input_length = None
    assert len(recommender.processor(sample, "sequential")["input_ids"]) > 60


def save_t5_with_too_few_embeddings(folder):
    save_t5(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.resize_token_embeddings(model.config.vocab_size - 3)
    model.save_pretrained(folder)
    return folder


def test_a_base_that_lacks_tokens_gets_them_where_it_is_trained(tmp_path):
    base = save_t5_with_too_few_embeddings(tmp_path / "base")
    assert train(small(base_model=str(base)), tmp_path / "run").status == 0
    done = call("evaluate", "--run", tmp_path / "run", "--limit", 7, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out) == read(tmp_path / "run" / "report.json")


def test_a_base_that_lacks_tokens_is_refused_where_it_is_frozen(tmp_path):
    base = save_t5_with_too_few_embeddings(tmp_path / "base")
    done = train(small(base_model=str(base), train_base=False), tmp_path / "run")
    assert done.status == 2
    assert "would start at random and be neither trained nor saved. Train all of the base (train_base=True)" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("prompt_init", ["vocabulary", "text", "adapter"])
def test_prompts_start_as_asked(run, tmp_path, prompt_init):
    """A learning rate of nothing to speak of: what the trained model holds is what it started from."""
    folder, _ = run
    values = small(prompt_init=prompt_init, learning_rate=1e-12, max_steps=1, train_base=False)
    if prompt_init == "adapter":
        values["prompt_init_adapter"] = str(folder / "model")
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = call("train", "--config", config, "--output-dir", tmp_path / "run")
    assert done.status == 0, done.err
    trained = Recommender.from_pretrained(tmp_path / "run" / "model")
    layer = trained.model.base_model.prompts
    table = layer.prompt_table(layer.active_adapters[0])
    if prompt_init == "adapter":
        source = Recommender.from_pretrained(folder / "model").model.base_model.prompts
        expected = source.prompt_table(source.active_adapters[0])
    else:
        embeddings = trained.model.get_base_model().get_input_embeddings().weight
        distances = torch.cdist(table.flatten(0, 1), embeddings)
        tokens = distances.argmin(-1).view(table.shape[:2])
        expected = embeddings[tokens]
        if prompt_init == "text":
            texts = template_texts(trained.processor.tasks)
            words = [trained.processor.tokenizer.encode(text, add_special_tokens=False)[:10] for text in texts]
            assert tokens.tolist() == words
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=0)


def test_the_audits_verdict_stands_in_the_table_the_report_and_the_card(run):
    folder, printed = run
    (note,) = read(folder / "report.json")["notes"]
    assert note.startswith("Audit ")
    assert note.endswith("of corpus 'embedded' with indexing 'sequential': no leak found.")
    assert note in printed
    assert note in (folder / "model" / "README.md").read_text(encoding="utf-8")


def test_a_leaking_scheme_is_said_to_leak_wherever_numbers_are(tmp_path):
    done = train(small(indexing="paper", tasks=["sequential"]), tmp_path / "run")
    assert done.status == 0, done.err
    (note,) = read(tmp_path / "run" / "report.json")["notes"]
    assert "IT LEAKS" in note
    assert "IT LEAKS" in done.out
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "**The item IDs of this model leak.**" in card
    assert note in card
    again = call("evaluate", "--run", tmp_path / "run", "--limit", 5)
    assert again.status == 0, again.err
    assert note in again.out


def test_the_last_training_has_the_validation_items_too(tmp_path):
    options = small(split="leave-one-out-refit", max_steps=2, tasks=["sequential"], evaluation_limit=None)
    done = train(options, tmp_path / "run")
    assert done.status == 2
    assert "nobody has a validation item: the split 'leave-one-out-refit' trains on the validation items; " in done.err
    assert "train without validation by --eval_strategy no --load_best_model_at_end false" in done.err
    done = train({**options, **NO_VALIDATION}, tmp_path / "run")
    assert done.status == 0, done.err
    report = read(tmp_path / "run" / "report.json")
    protocols = [report["tasks"]["sequential"]["protocol"]]
    protocols += [tasks["protocol"] for tasks in report["baselines"]["sequential"].values()]
    assert {(one["split"], one["num_users"]) for one in protocols} == {("leave-one-out-refit", 40)}
    corpus = Corpus.load_from_disk(tmp_path / "run" / "corpus")
    # Popularity counts the validation items, and is asked what it is asked without them.
    counted = load_baseline("popularity").fit(corpus.split("leave-one-out-refit").train)
    expected = evaluate_baseline(counted, corpus.split()).metrics
    assert report["baselines"]["sequential"]["popularity"]["metrics"] == pytest.approx(expected)


def test_a_corpus_of_which_nothing_is_held_out(tmp_path):
    """The first error names the cause and all that is to be added, and then it trains."""
    short = ["num_users=40", "num_items=60", "min_history=2", "max_history=2"]
    options = small(corpus_options=short, tasks=["sequential"], max_steps=2)
    done = train(options, tmp_path / "run")
    assert done.status == 2
    assert (
        "--evaluation_part is 'test', and nobody has a test item: the split 'leave-one-out' holds items of " in done.err
    )
    assert "users with at least 3 interactions out, and the most that a user has is 2; train without an" in done.err
    remedy = done.err.strip().partition(" evaluation by ")[2].split()
    done = train(options, tmp_path / "run", *remedy)
    assert done.status == 0, done.err
    metrics = read(tmp_path / "run" / "metrics.json")
    assert metrics["audit/leaks"] is None
    assert ": not applicable (nobody has a test item" in metrics["audit/verdict"]
    assert metrics["audit/verdict"] in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    done = call("evaluate", "--run", tmp_path / "run")
    assert (done.status, "nobody has a test item: the split 'leave-one-out' holds" in done.err) == (2, True)
    # An audit of nothing is no audit.
    done = call("audit", "--corpus_options", *short)
    assert (done.status, "nobody has a test item, so there is nothing that could be given" in done.err) == (2, True)


def test_a_run_that_mixes_counts_in(tmp_path):
    """They are counted in training, saved, and there in what evaluates and recommends."""
    options = small(tasks=["sequential"], max_steps=2, **NO_VALIDATION)
    assert train(options, tmp_path / "pure").status == 0
    done = train({**options, "count_weight": 0.3}, tmp_path / "run")
    assert done.status == 0, done.err
    report = read(tmp_path / "run" / "report.json")
    assert report["tasks"]["sequential"]["protocol"]["count_weight"] == 0.3
    assert call("evaluate", "--run", tmp_path / "pure", "--count_weight", 0.3, "--limit", 7).status == 0
    assert read(tmp_path / "pure" / "report-7-counts-0.3.json")["tasks"] == report["tasks"]
    user = Recommender.from_pretrained(tmp_path / "run" / "model").catalogue.user_ids[0]
    outputs = [call("recommend", "--run", tmp_path / name, "--user", user).out for name in ("pure", "run")]
    assert outputs[0] != outputs[1]
    # Training does not depend on it, so the run goes on with another.
    done = train({**options, "count_weight": 0.0}, tmp_path / "run", "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    assert read(tmp_path / "run" / "report.json")["tasks"] == read(tmp_path / "pure" / "report.json")["tasks"]


def test_a_prepared_corpus_under_a_temporal_split(tmp_path):
    values = small(
        prepare=["k_core_users=12", "k_core_items=2"],
        split="temporal",
        split_options=["validation_fraction=0.1", "test_fraction=0.2"],
        tasks=["sequential"],
    )
    done = train(values, tmp_path / "run")
    assert done.status == 0, done.err
    corpus = Corpus.load_from_disk(tmp_path / "run" / "corpus")
    assert corpus.steps[-1].name == "k-core"
    split = corpus.split("temporal", validation_fraction=0.1, test_fraction=0.2)
    expected = min(7, len(split.evaluated_users("test")))
    protocol = read(tmp_path / "run" / "report.json")["tasks"]["sequential"]["protocol"]
    assert (protocol["num_users"], protocol["split"]) == (expected, "temporal")
    again = call("evaluate", "--run", tmp_path / "run", "--limit", 7, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["tasks"]["sequential"]["metrics"] == pytest.approx(
        read(tmp_path / "run" / "report.json")["tasks"]["sequential"]["metrics"]
    )
