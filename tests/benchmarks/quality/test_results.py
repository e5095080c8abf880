from __future__ import annotations

import json
import math

import pytest

from benchmarks.quality.curves import curve, curves_of
from benchmarks.quality.results import add_entry, mean, outdated, read_entries, standard_error, system_result
from benchmarks.quality.settings import Run
from peft_pod.metrics import Protocol, TaskResult


def test_a_seed_is_replaced_whole_and_the_others_stay(tmp_path):
    add_entry("run", {"seed": 2, "x": 1, "y": 1}, tmp_path)
    add_entry("run", {"seed": 0, "x": 2}, tmp_path)
    add_entry("run", {"seed": 2, "x": 3}, tmp_path)
    assert read_entries("run", tmp_path) == [{"seed": 0, "x": 2}, {"seed": 2, "x": 3}]
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["run"] == "run"
    assert read_entries("other", tmp_path) == []
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        read_entries("run", tmp_path)


def test_mean_and_standard_error():
    # Deviations −1, 0, 1 give the variance 1, and three of them the error 1/√3.
    assert mean([3.0, 4.0, 5.0]) == 4
    assert standard_error([3.0, 4.0, 5.0]) == pytest.approx(1 / math.sqrt(3))
    assert standard_error([3.0]) is None


def test_results_of_other_arguments_or_another_part_are_outdated():
    run = Run("r", "t", "headline", "embedded", None, "train", "test", (0,), {"a": [1], "b": None}, {})
    same = {"seed": 0, "arguments": {"a": [1], "b": None}, "part": "test"}
    assert outdated(run, [same, {**same, "seed": 1, "arguments": {"a": [1]}}, {**same, "seed": 2, "part": "x"}]) == [
        1,
        2,
    ]


def test_metrics_without_exclusion_are_kept_where_something_was_excluded():
    full = TaskResult(Protocol("test", 9, "full", True), {"hr@1": 0.5})
    listed = TaskResult(Protocol("test", 9, "candidates-100"), {"hr@1": 0.7})
    included = TaskResult(Protocol("test", 9, "full", False), {"hr@1": 0.4})
    assert system_result(full, included) == {
        "protocol": "test, full catalogue, history excluded, 9 users",
        "metrics": {"hr@1": 0.5},
        "history_included": {"protocol": "test, full catalogue, history included, 9 users", "metrics": {"hr@1": 0.4}},
    }
    assert "history_included" not in system_result(listed, listed)
    assert "history_included" not in system_result(full, None)


def test_curves_have_a_column_a_task_and_mark_the_least_loss(tmp_path):
    log = [
        {"step": 5, "loss": 9.0},
        {"step": 5, "eval_sequential_loss": 3.0, "eval_topn_loss": 2.0, "eval_loss": 2.5},
        {"step": 10, "eval_sequential_loss": 2.0, "eval_topn_loss": 2.5, "eval_loss": 2.25},
    ]
    assert curve(log).splitlines() == [
        "  step  sequential      topn      mean",
        "     5      3.0000    2.0000*   2.5000",
        "    10      2.0000*   2.5000    2.2500*",
    ]
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "log.json").write_text(json.dumps(log), encoding="utf-8")
    assert curves_of(tmp_path) == f"seed-0\n{curve(log)}"
    with pytest.raises(FileNotFoundError, match="no run that was trained"):
        curves_of(tmp_path / "seed-0")
