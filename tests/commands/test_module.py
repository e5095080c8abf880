"""The commands as a module, which is how `accelerate launch` starts them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from peft_pod.version import __version__

from ..forked import run_script
from ..training.launching import ROOT, environment
from .runs import flags, read, small, train

CONFIG = ROOT / "examples" / "accelerate_configs" / "cpu_2_processes.yaml"


def start(*command, folder):
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


def test_the_module_is_the_console_script(tmp_path):
    done = start("-m", "peft_pod", "--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
    done = run_script("peft_pod", "bake", folder=tmp_path, environment=environment())
    assert done.returncode == 2
    assert done.stderr.startswith("peft-pod: unknown verb 'bake'")


def test_a_run_in_two_processes_is_that_of_one(tmp_path):
    """From the files of the corpus to the report: losses, metrics and ranks."""
    options = small(dropout=0, eval_strategy="steps", eval_steps=3, save_strategy="steps", save_steps=3)
    done = train(options, tmp_path / "one")
    assert done.status == 0, done.err
    shared = flags({**options, "per_device_train_batch_size": 4})
    launch = ["-m", "accelerate.commands.launch", "--config_file", CONFIG, "-m", "peft_pod", "train"]
    launched = start(*launch, *shared, "--output_dir", "two", folder=tmp_path)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    one, two = (read(tmp_path / name / "log.json") for name in ("one", "two"))
    assert len(one) == len(two) == 9
    for expected, found in zip(one, two, strict=True):
        losses = {name: value for name, value in expected.items() if "loss" in name or name == "grad_norm"}
        assert {name: found[name] for name in losses} == pytest.approx(losses, rel=0, abs=1e-5)
    assert read(tmp_path / "one" / "report.json") == read(tmp_path / "two" / "report.json")
    ranks = [(tmp_path / name / "ranks.parquet").read_bytes() for name in ("one", "two")]
    assert ranks[0] == ranks[1]
