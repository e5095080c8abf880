"""Runs that are evaluated on another part than the test part, or on none."""

from __future__ import annotations

import json

import pytest

from peft_pod.commands import evaluate as evaluate_module
from peft_pod.commands import plan as plan_module

from .runs import call, contents, read, small, train

OPTIONS = small(max_steps=2, tasks=["sequential"])


@pytest.fixture
def parts_asked(monkeypatch):
    """The parts of which questions are asked."""
    asked = []
    for module in (evaluate_module, plan_module):
        original = module.evaluate_model

        def noting(engine, split, part, *args, original=original, **kwargs):
            asked.append(part)
            return original(engine, split, part, *args, **kwargs)

        monkeypatch.setattr(module, "evaluate_model", noting)
    return asked


def test_the_validation_part(tmp_path, parts_asked):
    folder = tmp_path / "run"
    done = train(OPTIONS, folder, "--evaluation_part", "validation")
    assert done.status == 0, done.err
    assert set(parts_asked) == {"validation"}
    report, metrics = read(folder / "report-validation.json"), read(folder / "metrics.json")
    assert report["part"] == "validation"
    assert not (folder / "report.json").exists()
    result = report["tasks"]["sequential"]["metrics"]
    assert {name: metrics[f"validation/sequential/{name}"] for name in result} == result
    assert metrics["validation/sequential/popularity/hr@10"] == pytest.approx(
        report["baselines"]["sequential"]["popularity"]["metrics"]["hr@10"]
    )
    assert not [name for name in metrics if name.startswith("test/")]
    # The losses are beside them.
    assert metrics["validation/sequential/loss"] == metrics["validation/loss"]
    assert call("compare", folder, "--baseline", "popularity", "--part", "validation").status == 0


def test_no_part_and_the_test_part_later(tmp_path, parts_asked):
    folder = tmp_path / "run"
    options = {**OPTIONS, "evaluation_part": "none"}
    done = train(options, folder)
    assert (done.status, done.out, parts_asked) == (0, "", [])
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "arguments.json", "config.yaml", "environment.json", "log.json", "losses.png", "metrics.json",
        "trainer_state.json",
    ]  # fmt: skip
    metrics = read(folder / "metrics.json")
    assert not [name for name in metrics if "hr@" in name or "sequential/ndcg" in name]
    assert metrics["corpus/fingerprint"]
    assert metrics["audit/leaks"] is False
    model = contents(folder / "model")
    # Going on with another part evaluates what was trained; so does the verb.
    assert train(options, folder, "--resume_from_checkpoint", "true").status == 0
    assert parts_asked == []
    done = train({**OPTIONS, "evaluation_part": "test"}, folder, "--resume_from_checkpoint", "true")
    assert done.status == 0, done.err
    resumed = read(folder / "report.json")
    (folder / "report.json").unlink()
    assert call("evaluate", "--run", folder, "--limit", 7).status == 0
    assert read(folder / "report-7.json") == resumed
    assert contents(folder / "model") == model
    # The same model as that of a run whose test part is evaluated.
    assert train(OPTIONS, tmp_path / "other").status == 0
    assert contents(tmp_path / "other" / "model") == model


def test_the_plan_follows(tmp_path, parts_asked):
    expected = {"test": ["sequential"], "validation": ["sequential"], "none": []}
    for part, tasks in expected.items():
        parts_asked.clear()
        done = train(OPTIONS, tmp_path / "run", "--evaluation_part", part, "--dry-run", "--json")
        assert done.status == 0, done.err
        plan = json.loads(done.out)
        assert plan["evaluation_part"] == (None if part == "none" else part)
        assert list(plan["seconds"]["evaluation"]) == tasks
        assert set(parts_asked) == ({part} if tasks else set())
    text = train(OPTIONS, tmp_path / "run", "--evaluation_part", "none", "--dry-run").out
    assert "a validation), no evaluation\n" in text
    text = train(OPTIONS, tmp_path / "run", "--evaluation_part", "validation", "--dry-run").out
    assert "a validation), validation questions sequential " in text


def test_a_part_that_nobody_has_items_in(tmp_path, parts_asked):
    """It is refused before training; `evaluate` writes no empty report."""
    folder = tmp_path / "run"
    options = {**OPTIONS, "split": "leave-one-out-refit", "eval_strategy": "no", "load_best_model_at_end": False}
    done = train(options, folder, "--evaluation_part", "validation")
    assert done.status == 2
    assert "--evaluation_part is 'validation', and nobody has a validation item: the split 'leave-one-" in done.err
    assert "train without an evaluation by --evaluation_part none\n" in done.err
    assert not folder.exists()
    assert train(options, folder, "--evaluation_part", "none").status == 0
    before = contents(folder)
    for more in ([], ["--json"]):
        done = call("evaluate", "--run", folder, "--part", "validation", *more)
        assert (done.status, done.out) == (2, "")
        assert "trains on the validation items; evaluate another part" in done.err
    assert contents(folder) == before


def test_a_part_that_is_none(tmp_path):
    done = train(OPTIONS, tmp_path / "run", "--evaluation_part", "train")
    assert (done.status, "evaluation_part" in done.err, "validation" in done.err) == (2, True, True)
    assert not (tmp_path / "run").exists()
