from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

from peft_pod.corpus import Corpus
from peft_pod.generation import Recommender
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.metrics import Protocol, Report, evaluate_baselines, evaluate_model, ranking_scores
from peft_pod.metrics.user_ranks import load_ranks

from .runs import call, contents, read

FILES_OF_A_MODEL = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "base/config.json",
    "items.parquet",
    "pod_generation.json",
    "pod_processor.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "users.parquet",
]


@pytest.fixture
def own(run, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(run[0], tmp_path / "own", ignore=shutil.ignore_patterns("checkpoints"))


def test_json_is_one_object_and_equals_report_and_python(own):
    folder = own
    trained = read(folder / "report.json")
    done = call("evaluate", "--run", folder, "--limit", 7, "--json")
    assert done.status == 0, done.err
    printed = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert printed == read(folder / "report-7.json") == trained

    recommender = Recommender.from_pretrained(folder / "model")
    split = Corpus.load_from_disk(folder / "corpus").split()
    how = {"seed": 42, "limit": 7}
    model = evaluate_model(recommender.engine, split, **how)
    baselines = evaluate_baselines(recommender.processor.tasks, split, **how)
    assert {task: result.to_dict() for task, result in model.items()} == printed["tasks"]
    assert {
        task: {name: result.to_dict() for name, result in results.items()} for task, results in baselines.items()
    } == printed["baselines"]


def test_counts_are_mixed_in_with_the_share_that_is_asked_for(own):
    before = contents(own)
    options = ["--tasks", "sequential", "topn", "--json"]
    done = call("evaluate", "--run", own, *options, "--count_weight", 0.4)
    assert done.status == 0, done.err
    assert set(contents(own)) - set(before) == {
        f"{name}-counts-0.4-sequential-topn.{ending}"
        for name, ending in (("report", "json"), ("ranks", "parquet"), ("ranking", "png"))
    }
    report = json.loads(done.out)
    corpus = Corpus.load_from_disk(own / "corpus")
    pure = Recommender.from_pretrained(own / "model")
    settings = replace(pure.settings, count_weight=0.4)
    counts = NeighbourCounts.fit(corpus.split().train)
    mixed = Recommender(pure.model, pure.processor, pure.catalogue, settings, counts=counts)
    found = evaluate_model(mixed.engine, corpus.split(), seed=42, tasks=["sequential", "topn"])
    for task, result in found.items():
        assert report["tasks"][task] == result.to_dict()
        assert report["tasks"][task]["protocol"]["count_weight"] == 0.4
        assert "count weight 0.4" in str(result.protocol)
        assert (result.protocol.beams is None) == (task == "topn")  # all candidates are scored
        assert result.protocol.comparable_to(Protocol.from_dict(report["baselines"][task]["popularity"]["protocol"]))
    alone = call("evaluate", "--run", own, *options)
    assert json.loads(alone.out)["tasks"]["sequential"]["metrics"] != report["tasks"]["sequential"]["metrics"]
    done = call("evaluate", "--run", own, "--count_weight", 1)
    assert done.status == 2
    assert "count_weight must be a share from 0 to below 1, got 1" in done.err


def test_another_question_has_a_report_of_its_own(own):
    before = contents(own)
    done = call("evaluate", "--run", own, "--part", "validation", "--limit", 5)
    assert done.status == 0, done.err
    after = contents(own)
    assert set(after) - set(before) == {
        "report-validation-5.json",
        "ranking-validation-5.png",
        "ranks-validation-5.parquet",
    }
    assert {name: after[name] for name in before} == before
    report = read(own / "report-validation-5.json")
    assert report["part"] == "validation"
    assert {result["protocol"]["num_users"] for result in report["tasks"].values()} <= {5}
    assert "sequential: validation, full catalogue, history excluded" in done.out


def test_all_users_and_their_histories(own):
    done = call("evaluate", "--run", own, "--keep_seen", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out) == read(own / "report-history-included.json")
    sequential = json.loads(done.out)["tasks"]["sequential"]
    assert sequential["protocol"] == {
        "part": "test",
        "num_users": 40,
        "candidates": "full",
        "history_excluded": False,
        "beams": 10,
        "split": "leave-one-out",
        "fingerprint": Corpus.load_from_disk(own / "corpus").split().fingerprint,
    }


def test_some_tasks_alone_are_evaluated_as_with_the_others(own):
    done = call("evaluate", "--run", own, "--tasks", "topn", "--json")
    assert done.status == 0, done.err
    report = read(own / "report-topn.json")
    assert json.loads(done.out) == report
    assert set(report["tasks"]) == set(report["baselines"]) == {"topn"}
    everyone = json.loads(call("evaluate", "--run", own, "--json").out)
    assert report["tasks"]["topn"] == everyone["tasks"]["topn"]
    assert report["baselines"]["topn"] == everyone["baselines"]["topn"]
    done = call("evaluate", "--run", own, "--tasks", "cooking")
    assert (done.status, "cooking" in done.err) == (2, True)


def test_intervals_statistics_and_other_metrics_on_demand(own):
    done = call("evaluate", "--run", own, "--limit", 9, "--intervals", "--statistics", "--metrics", "mrr", "--ks", 3)
    assert done.status == 0, done.err
    heading = next(line for line in done.out.splitlines() if "mrr@3" in line)
    assert heading.split() == ["mrr@3", "coverage@3", "novelty@3", "arp@3"]
    assert "Below each row: 95 % intervals, 1,000 resamples of the users" in done.out
    result = read(own / "report-9-ks-3-metrics-mrr.json")["tasks"]["sequential"]
    low, high = result["intervals"]["mrr@3"]
    assert low <= result["metrics"]["mrr@3"] <= high
    assert result["bootstrap"] == {"resamples": 1000, "confidence": 0.95, "seed": 0}
    assert 0 < result["statistics"]["coverage@3"] <= 27 / 60
    for wrong, message in ((["--metrics", "map"], "metrics has ['map']"), (["--ks", 0], "ks has 0")):
        done = call("evaluate", "--run", own, *wrong)
        assert done.status == 2
        assert message in done.err


def test_other_cut_offs_and_metrics_leave_the_main_report_alone(own):
    """Their ranks go as far, so the numbers are those that the main report would have."""

    def report_of(name):
        return Report.load(own / f"report{name}.json", ranks=own / f"ranks{name}.parquet").tasks["topn"]

    assert call("evaluate", "--run", own, "--tasks", "topn").status == 0
    main, before = report_of("-topn"), contents(own)
    done = call("evaluate", "--run", own, "--tasks", "topn", "--ks", 3, "--metrics", "mrr")
    assert done.status == 0, done.err
    after = contents(own)
    assert {name: after[name] for name in before} == before
    # There is no picture of hit rates where none are asked for.
    name = "-ks-3-metrics-mrr-topn"
    assert after.keys() - before.keys() == {f"report{name}.json", f"ranks{name}.parquet"}
    other = report_of(name)
    assert other.ranks.ranks.tolist() == main.ranks.ranks.tolist()
    assert main.ranks.ranks.max() > 3
    assert other.metrics == ranking_scores(main.ranks.ranks, [3], ["mrr"])
    assert other.protocol == main.protocol
    baselines = load_ranks(own / f"ranks{name}.parquet")
    assert baselines["topn", "popularity"].ranks.max() > 3


def test_texts_counted_in_another_way_have_a_report_of_their_own(own):
    done = call("evaluate", "--run", own, "--limit", 5, "--text_convention", "standard")
    assert done.status == 0, done.err
    report = read(own / "report-5-standard-texts.json")
    assert report["tasks"]["explanation"]["protocol"]["text_convention"] == "standard"
    assert "text convention standard" in done.out


@pytest.mark.parametrize("missing", FILES_OF_A_MODEL)
def test_a_model_without_one_of_its_files(own, missing):
    (own / "model" / missing).unlink()
    for verb in (["evaluate"], ["recommend", "--num_users", 1]):
        done = call(*verb, "--run", own)
        assert done.status == 2
        assert f"{own / 'model'}" in done.err
        assert f"no {missing}" in done.err


@pytest.mark.parametrize("damaged", ["adapter_model.safetensors", "pod_processor.json", "pod_generation.json"])
def test_a_model_with_a_damaged_file(own, damaged):
    whole = (own / "model" / damaged).read_bytes()
    (own / "model" / damaged).write_bytes(whole[: len(whole) // 2])
    done = call("evaluate", "--run", own)
    assert done.status == 2
    assert str(own / "model") in done.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus/corpus.json", None, "corpus is not a saved corpus: it has no corpus.json"),
        ("arguments.json", "{", "arguments.json is damaged: "),
        ("arguments.json", "[]", "arguments.json must hold the sections corpus, model, training"),
        ("arguments.json", None, "is not the folder of a run: there is no"),
    ],
)
def test_a_run_with_a_file_that_is_missing_or_damaged(own, name, content, message):
    if content is None:
        (own / name).unlink()
    else:
        (own / name).write_text(content, encoding="utf-8")
    done = call("evaluate", "--run", own)
    assert done.status == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run is missing"),
        (["--run", "nowhere"], "--run nowhere does not exist"),
        (["--run", "RUN", "--limit", "0"], "limit must be at least 1, or left out to evaluate all users; got 0"),
        (["--run", "RUN", "--limit", "-3"], "limit must be at least 1, .*got -3"),
        (["--run", "RUN", "--limit", "few"], r"argument --limit\S*: invalid int value: 'few'"),
        (["--run", "RUN", "--part", "train"], r"argument --part\S*: invalid choice: 'train'"),
        (["--run", "RUN", "--parts", "test"], "unknown argument '--parts'; `peft-pod evaluate --help`"),
    ],
)
def test_bad_arguments(run, arguments, message):
    folder, _ = run
    before = (folder / "report.json").read_bytes()
    done = call("evaluate", *[folder if argument == "RUN" else argument for argument in arguments])
    assert done.status == 2
    assert done.out == ""
    assert re.search(message, done.err), done.err
    assert (folder / "report.json").read_bytes() == before
