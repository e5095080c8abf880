from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from peft_pod.metrics import Report, compare_results
from peft_pod.metrics.user_ranks import load_ranks, save_ranks

from .runs import call, read


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A run that was evaluated on all users of the test part."""
    folder = shutil.copytree(
        run[0], tmp_path_factory.mktemp("compare") / "one", ignore=shutil.ignore_patterns("checkpoints")
    )
    done = call("evaluate", "--run", folder)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def other(evaluated, tmp_path):
    """A copy whose model ranks everyone's item second on the sequential task."""
    folder = shutil.copytree(evaluated, tmp_path / "other")
    report = Report.load(folder / "report.json", ranks=folder / "ranks.parquet")
    ranks = load_ranks(folder / "ranks.parquet")
    ranks["sequential", "model"].ranks[:] = 2
    save_ranks(folder / "ranks.parquet", ranks)
    written = report.to_dict()
    for name in written["tasks"]["sequential"]["metrics"]:
        value = 0.0 if name.endswith("@1") else 1.0 if name.startswith("hr") else 1 / np.log2(3)
        written["tasks"]["sequential"]["metrics"][name] = value
    (folder / "report.json").write_text(json.dumps(written), encoding="utf-8")
    return folder


def test_two_runs(evaluated, other):
    done = call("compare", other, evaluated, "--json")
    assert done.status == 0, done.err
    printed = json.loads(done.out)
    assert list(printed) == ["sequential", "topn"]  # there is no rank of a sentence
    found = printed["sequential"]["differences"]["hr@10"]
    mine = Report.load(evaluated / "report.json").tasks["sequential"].metrics["hr@10"]
    assert found["first"] == 1.0
    assert found["second"] == pytest.approx(mine)
    assert found["difference"] == pytest.approx(1 - mine)
    assert found["p_value"] == pytest.approx(1 / 10_001)
    assert printed["sequential"]["protocol"]["num_users"] == 40
    assert printed["topn"]["differences"]["hr@10"]["p_value"] == 1.0
    # By flags it is the same, and as a table.
    assert json.loads(call("compare", "--first", other, "--second", evaluated, "--json").out) == printed
    table = call("compare", other, evaluated).out
    assert "sequential: test, full catalogue, history excluded, 10 beams, leave-one-out, 40 users" in table
    assert re.search(r"hr@10 +1\.0000 +0\.\d{4} +\+0\.\d{4}", table)


def test_a_run_and_one_of_its_baselines(evaluated):
    done = call("compare", evaluated, "--baseline", "co-occurrence", "--json")
    assert done.status == 0, done.err
    report = Report.load(evaluated / "report.json", ranks=evaluated / "ranks.parquet")
    expected = compare_results(report.tasks["topn"], report.baselines["topn"]["co-occurrence"])
    assert json.loads(done.out)["topn"] == json.loads(json.dumps(expected.to_dict()))
    done = call("compare", evaluated, "--baseline", "svd")
    assert done.status == 2
    assert "the report has no baseline 'svd'; it has ['co-occurrence', 'popularity'" in done.err


def test_two_reports_of_one_run(evaluated):
    """A report that no flag of this verb finds is named by its file."""
    done = call("evaluate", "--run", evaluated, "--count_weight", 0.9)
    assert done.status == 0, done.err
    mixed = evaluated / "report-counts-0.9.json"
    done = call("compare", mixed, evaluated, "--json")
    assert done.status == 0, done.err
    sides = [
        Report.load(evaluated / f"report{name}.json", ranks=evaluated / f"ranks{name}.parquet").tasks["sequential"]
        for name in ("-counts-0.9", "")
    ]
    assert sides[0].metrics != sides[1].metrics
    assert json.loads(done.out)["sequential"] == json.loads(json.dumps(compare_results(*sides).to_dict()))
    done = call("compare", mixed, "--baseline", "co-occurrence", "--json")
    assert json.loads(done.out)["sequential"]["differences"]["hr@10"]["first"] == sides[0].metrics["hr@10"]


def test_runs_on_other_data_are_refused(evaluated, other):
    report = read(other / "report.json")
    report["corpus"]["fingerprint"] = "0123456789ab"
    (other / "report.json").write_text(json.dumps(report), encoding="utf-8")
    done = call("compare", evaluated, other)
    assert done.status == 2
    assert "different corpora, with the fingerprints" in done.err


def test_a_question_that_was_not_asked(evaluated, other):
    (other / "ranks.parquet").unlink()
    done = call("compare", evaluated, other)
    assert done.status == 2
    assert f"{other} has no ranks.parquet; run `peft-pod evaluate --run {other}`" in done.err
    done = call("compare", evaluated, evaluated, "--part", "validation", "--keep_seen")
    assert done.status == 2
    assert "has no report-validation-history-included.json" in done.err


def test_runs_whose_seeds_differ(evaluated, other):
    """Their candidates do too; evaluated with one seed they can be compared."""
    report = read(other / "report.json")
    report["tasks"]["topn"]["protocol"]["candidate_seed"] = 7
    (other / "report.json").write_text(json.dumps(report), encoding="utf-8")
    done = call("compare", evaluated, other)
    assert done.status == 2
    assert "task 'topn': " in done.err
    assert "candidate_seed is 42 in the first, 7 in the second" in done.err
    done = call("compare", evaluated, other, "--tasks", "sequential", "--json")
    assert list(json.loads(done.out)) == ["sequential"]
    for folder in (evaluated, other):
        assert call("evaluate", "--run", folder, "--seed", 3).status == 0
        assert read(folder / "report-seed-3.json")["tasks"]["topn"]["protocol"]["candidate_seed"] == 3
    done = call("compare", evaluated, other, "--seed", 3, "--json")
    assert list(json.loads(done.out)) == ["sequential", "topn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run is named"),
        (["RUN"], "nothing to compare with: name a second run, or a baseline"),
        (["RUN", "RUN", "RUN"], "compare takes two runs, got 3"),
        (["RUN", "nowhere"], "--run nowhere does not exist"),
        (["RUN/report.json", "RUN", "--keep_seen"], "names the report already: leave out --part"),
        (["RUN/metrics.json", "RUN"], "metrics.json is no report: name the folder of a run, or a report*.json in it"),
        (["RUN/report-none.json", "RUN"], "report-none.json does not exist"),
        (["RUN", "RUN", "--parts", "test"], "unknown argument '--parts'"),
    ],
)
def test_bad_arguments(evaluated, arguments, message):
    done = call("compare", *[argument.replace("RUN", str(evaluated)) for argument in arguments])
    assert done.status == 2
    assert done.out == ""
    assert message in done.err
