from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.quality import __main__ as command
from benchmarks.quality import baselines, training
from benchmarks.quality.page import page
from benchmarks.quality.results import add_entry
from benchmarks.quality.rows import rows_of
from benchmarks.quality.settings import Run, read_runs
from peft_pod.corpus import load_corpus
from peft_pod.metrics import evaluate_baseline, load_baseline

from ...commands.runs import SMALL, call, read

OPTIONS = ["num_users=40", "num_items=60"]


def run_of(train, kind="train", part="test", table="headline"):
    return Run("tiny", "tiny", table, "embedded", None, kind, part, (3,), train, train)


class Calls:
    """Runs the command line in this process, and remembers what was run."""

    def __init__(self):
        self.verbs = []

    def __call__(self, arguments, log, threads):
        self.verbs.append(arguments[0])
        done = call(*arguments)
        assert done.status == 0, done.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality") / "tiny" / "seed-3"
    calls = Calls()
    run = run_of({**SMALL, "evaluation_limit": 9})
    return run, folder, calls, training.train(run, 3, None, folder, threads=1, again=False, start=calls)


def test_an_entry_has_what_the_run_left(trained):
    run, folder, calls, entry = trained
    assert calls.verbs == ["train", "evaluate"]
    report, numbers = read(folder / "report.json"), read(folder / "metrics.json")
    included = read(folder / "report-9-history-included-sequential.json")
    assert (entry["seed"], entry["part"], entry["arguments"]) == (3, "test", run.train)
    assert entry["corpus"] == report["corpus"]
    assert entry["audit"] == {"leaks": False, "verdict": report["notes"][0]}
    assert set(entry["tasks"]) == {"sequential", "topn", "explanation"}
    for task, systems in entry["tasks"].items():
        assert systems["model"]["metrics"] == report["tasks"][task]["metrics"]
    found = entry["tasks"]["sequential"]["model"]
    assert found["history_included"]["metrics"] == included["tasks"]["sequential"]["metrics"]
    assert "history excluded" in found["protocol"]
    assert "history included" in found["history_included"]["protocol"]
    assert "history_included" not in entry["tasks"]["topn"]["model"]
    assert entry["training"]["minutes"] == numbers["training/seconds"] / 60
    assert entry["training"]["steps"] == 6
    assert entry["parameters"]["trained"] == numbers["parameters/trained"]
    assert entry["validation"]["validation/loss"] == numbers["validation/loss"]
    assert entry["config"]["seed"] == 3
    assert entry["machine"]["threads"] == 1
    assert entry["versions"] == report["versions"]


def test_a_model_is_evaluated_with_counts_too(trained):
    run, folder, _, entry = trained
    calls = Calls()
    mixed = training.train(replace(run, count_weight=0.4), 3, None, folder, threads=1, again=False, start=calls)
    assert calls.verbs == ["evaluate"] * 3
    reports = [read(folder / f"report-9-{name}.json") for name in MIXED_REPORTS]
    for task in ("sequential", "topn"):
        systems = mixed["tasks"][task]
        assert list(systems) == ["model", "model and counts"]
        assert systems["model"] == entry["tasks"][task]["model"]
        assert systems["model and counts"]["metrics"] == reports[0]["tasks"][task]["metrics"]
        assert "count weight 0.4" in systems["model and counts"]["protocol"]
    included = mixed["tasks"]["sequential"]["model and counts"]["history_included"]
    assert included["metrics"] == reports[1]["tasks"]["sequential"]["metrics"]
    assert list(mixed["tasks"]["explanation"]) == ["model"]
    (row,) = [one for one in rows_of(run, [mixed], "topn") if "counts" in one.title]
    assert (row.title, row.is_model, row.minutes) == ("tiny, mixed with counts", True, [mixed["training"]["minutes"]])


MIXED_REPORTS = ("counts-0.4-sequential-topn", "history-included-counts-0.4-sequential")


def test_examples_stand_beside_what_the_users_wrote(trained):
    _, _, _, entry = trained
    split = load_corpus("embedded", num_users=40, num_items=60).split()
    truths = {one.text for one in split.explanations("test")}
    for kind in ("good", "bad"):
        assert {one["truth"] for one in entry["examples"][kind]} <= truths
    assert len(entry["examples"]["good"]) == 3


def test_what_was_trained_is_not_trained_again_unless_arguments_differ(trained):
    run, folder, calls, entry = trained
    calls.verbs.clear()
    again = training.train(run, 3, None, folder, threads=1, again=False, start=calls)
    assert calls.verbs == ["evaluate"]
    assert again["tasks"] == entry["tasks"]
    training.train(run_of({**run.train, "max_steps": 5}), 3, None, folder, threads=1, again=False, start=calls)
    assert calls.verbs == ["evaluate", "train", "evaluate"]


def test_the_part_and_the_data_come_from_the_run():
    run = run_of({"max_steps": 5}, part="validation", table="schemes")
    expected = {"max_steps": 5, "corpus": "embedded", "seed": 4, "data_dir": "d", "evaluation_part": "validation"}
    assert training.train_arguments(run, 4, "d") == expected


def test_what_is_asked_says_what_becomes_of_the_corpus():
    nested = run_of({"prepare": ["k_core_users=5"]}, part="nested", table="schemes")
    expected = {"prepare": ["k_core_users=5", "drop_last=1"], "corpus": "embedded", "seed": 4}
    assert training.train_arguments(nested, 4, None) == expected
    refit = run_of({"eval_strategy": "no"}, part="refit")
    expected = {"eval_strategy": "no", "split": "leave-one-out-refit", "corpus": "embedded", "seed": 4}
    assert training.train_arguments(refit, 4, None) == expected


def test_nested_baselines_are_asked_for_validation_items_by_the_protocol_of_the_test():
    train = {"corpus_options": OPTIONS, "indexing": "random"}
    entry = baselines.evaluate(run_of(train, kind="baselines", part="nested"), 3, None)
    split = load_corpus("embedded", num_users=40, num_items=60).split()
    shorter = load_corpus("embedded", num_users=40, num_items=60).prepare(drop_last=1).split()
    assert shorter.test_items.tolist() == split.validation_items.tolist()
    expected = evaluate_baseline(load_baseline("popularity").fit(shorter.train), shorter)
    found = entry["tasks"]["sequential"]["popularity"]
    assert (entry["part"], found["metrics"]) == ("nested", dict(expected.metrics))


def test_a_command_that_fails_is_told_with_its_log(tmp_path):
    log = tmp_path / "run.log"
    with pytest.raises(RuntimeError, match=r"peft-pod bake ended with 2; .*run\.log"):
        training.start_process(["bake"], log, 1)
    assert "unknown verb 'bake'" in log.read_text(encoding="utf-8")


def test_baselines_are_those_of_the_library():
    run = run_of({"corpus_options": OPTIONS, "indexing": "random"}, kind="baselines", part="validation")
    entry = baselines.evaluate(run, 3, None)
    split = load_corpus("embedded", num_users=40, num_items=60).split()
    assert set(entry["tasks"]) == {"sequential", "topn"}
    assert list(entry["tasks"]["topn"]) == ["random", "popularity", "recent-popularity", "co-occurrence"]
    found = entry["tasks"]["sequential"]["popularity"]
    fitted = load_baseline("popularity").fit(split.train)
    for kept, exclude in ((found, True), (found["history_included"], False)):
        expected = evaluate_baseline(fitted, split, "validation", exclude_seen=exclude)
        assert kept["metrics"] == dict(expected.metrics)
        assert kept["protocol"] == str(expected.protocol)
    assert "candidate seed 3" in entry["tasks"]["topn"]["popularity"]["protocol"]
    assert entry["audit"]["leaks"] is False


def test_index_rules_come_with_the_verdict():
    run = run_of({"corpus_options": OPTIONS, "indexing": "paper"}, kind="index-rules")
    entry = baselines.evaluate(run, 3, None)
    assert list(entry["tasks"]) == ["sequential"]
    rules = entry["tasks"]["sequential"]
    assert list(rules) == ["largest index + 1", "largest index + 1, last index + 1"]
    assert "Audit" in entry["audit"]["verdict"]
    assert entry["corpus"]["indexing"] == "paper"


RUN = """
title: tiny
table: baselines
corpus: embedded
kind: baselines
part: test
seeds: [0, 1]
train: {corpus_options: [num_users=40, num_items=60]}
"""


def test_the_command_makes_what_is_missing_and_goes_on_after_a_failure(tmp_path, monkeypatch, capsys):
    (tmp_path / "good.yaml").write_text(RUN, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(RUN.replace("num_users=40", "num_users=0"), encoding="utf-8")
    results = {}
    monkeypatch.setattr(command, "read_runs", lambda: read_runs(tmp_path))
    monkeypatch.setattr(command, "read_entries", lambda name: results.get(name, []))
    monkeypatch.setattr(command, "add_entry", lambda name, entry: results.setdefault(name, []).append(entry))
    assert command.main([]) == 1
    assert [entry["seed"] for entry in results["good"]] == [0, 1]
    assert "failed: bad (seed 0), bad (seed 1)" in capsys.readouterr().err
    assert command.main(["good"]) == 0
    assert len(results["good"]) == 2
    assert capsys.readouterr().out.count("is there already") == 2
    assert command.main(["good", "--again", "--seeds", "1"]) == 0
    assert [entry["seed"] for entry in results["good"]] == [0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nobody"], "there is no run 'nobody'"),
        (["beauty-headline"], "give --data-root"),
        (["beauty-headline", "--data-root", "nowhere"], "which does not exist"),
        (["embedded-headline", "--seeds", "9"], "not all seeds of embedded-headline"),
        (["--curves", "embedded-headline", "--output", "nowhere"], "no run that was trained"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, problem, capsys):
    assert command.main(arguments) == 2
    assert problem in capsys.readouterr().err


def test_the_page_of_a_real_entry_has_all_its_tasks(trained, tmp_path):
    *_, entry = trained
    (tmp_path / "tiny.yaml").write_text(RUN.replace("baselines", "train", 2).replace("train", "headline", 1), "utf-8")
    add_entry("tiny", entry, tmp_path)
    (tmp_path / "page.md").write_text("{table:headline:embedded}\n\n{examples:tiny}\n", encoding="utf-8")
    text = page(tmp_path / "page.md", tmp_path, tmp_path)
    for task in ("sequential", "topn", "explanation"):
        assert f"| `{task}`, test |" in text
    assert "BLEU-1" in text
