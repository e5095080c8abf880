from __future__ import annotations

import json

import pytest
import torch

from peft_pod.training import PODTrainingArguments, process_state
from peft_pod.training.processes import runs_on_cpu

from . import in_processes
from .launching import run_in_processes


def test_two_processes_train_as_one_with_the_doubled_batch(tmp_path):
    """Losses and gradients of each step, validation losses and weights, whatever the lengths of each one's answers."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run_in_processes("tests.training.in_processes", [str(tmp_path / "two"), "4"])
    in_processes.train(tmp_path / "one", 8)
    alone, first, second = (
        json.loads((tmp_path / name).read_text(encoding="utf-8"))
        for name in ("one/seen-0.json", "two/seen-0.json", "two/seen-1.json")
    )
    for (_, accumulated, kind), one, two, other in zip(in_processes.CASES, alone, first, second, strict=True):
        assert (one["processes"], two["processes"]) == (1, 2)
        # No multiple of two processes with batches of four, so that some of them have samples that must not count.
        assert all(size % 8 for size in one["sizes"].values())
        if kind == "alternated":
            # Each batch has one task, and at a step it is the same one in both processes.
            assert one["tasks"] == two["tasks"] == other["tasks"] == [[0], [1], [2]] * 2 * accumulated
        else:
            halves = zip(two["tasks"], other["tasks"], strict=True)
            assert one["tasks"] == [sorted({*half, *its}) for half, its in halves]
            assert one["tasks"].count([0, 1, 2]) >= 5  # by chance, a batch may lack one
        steps = [entry for entry in one["losses"] if "grad_norm" in entry]
        assert (len(steps), len(one["losses"])) == (6, 9)  # two evaluations and the mean besides
        assert {name for entry in steps for name in entry} == {
            "loss", "grad_norm", "loss_sequential", "loss_topn", "loss_explanation"
        }  # fmt: skip
        for expected, found in zip(one["losses"], two["losses"], strict=True):
            assert in_processes.agree(found, expected), (found, expected)
        # A step of AdamW divides by the gradient's size, and where that is nothing but rounding, rounding decides.
        for expected, found in zip(one["weights"], two["weights"], strict=True):
            assert found == pytest.approx(expected, rel=0, abs=1e-4)


def test_without_an_accelerator_processes_meet_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert PODTrainingArguments(output_dir=str(tmp_path)).use_cpu
    assert process_state().device.type == "cpu"


@pytest.mark.parametrize(
    ("kind", "processes", "asked", "expected"),
    [
        ("cuda", "2", "", False),
        ("cuda", "1", "", False),
        ("cuda", "1", "true", True),
        ("mps", "1", "", False),
        ("mps", "2", "", True),
    ],
)
def test_where_models_run(monkeypatch, kind, processes, asked, expected):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device(kind))
    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setenv("ACCELERATE_USE_CPU", asked)
    assert runs_on_cpu() is expected
