"""Each example as somebody would start it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from peft_pod.generation import Recommender

from ..commands.test_train import FILES
from ..forked import run_script
from ..training.launching import ROOT, environment

EXAMPLES = ROOT / "examples"


def run(name: str, *options: str, folder: Path) -> str:
    """Run an example somewhere else than in the repository; what it printed on standard output."""
    done = run_script(str(EXAMPLES / name), *options, folder=folder, environment=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_peft_on_your_own_data(tmp_path):
    printed = run("peft_on_your_own_data.py", folder=tmp_path)
    losses = [float(line.rpartition(" ")[2]) for line in printed.splitlines() if line.startswith("step ")]
    assert len(losses) == 4
    assert losses[-1] < 0.05 < losses[0]
    # The input is the same; only the prompts say which way to go.
    assert printed.splitlines()[-2:] == ["10 11 12, task 'next': 13", "10 11 12, task 'back': 9"]
    assert list(tmp_path.iterdir()) == []


def test_full_recommender(tmp_path):
    options = ["--output-dir", "run", "--num-users", "40"]
    printed = run("full_recommender.py", *options, folder=tmp_path)
    assert "sequential: test, full catalogue, history excluded, 20 beams, leave-one-out, 40 users" in printed
    recommender = Recommender.from_pretrained(tmp_path / "run" / "model")
    best = recommender.recommend(recommender.catalogue.user_ids[0], k=5)
    for item in best:
        assert f"{item.title}  [{item.item_id}]  {item.score:.2f}\n" in printed


def test_multi_process(tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    config = ["--config_file", str(EXAMPLES / "accelerate_configs" / "cpu_2_processes.yaml")]
    options = ["--output-dir", "run", "--num-users", "60", "--max-steps", "4"]
    command = [*launch, *config, str(EXAMPLES / "multi_process.py"), *options]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert printed.splitlines()[0] == "2 processes"
    assert printed.count("sequential: test, full catalogue") == 1
    arguments = json.loads((tmp_path / "run" / "arguments.json").read_text(encoding="utf-8"))
    assert arguments["training"]["per_device_train_batch_size"] == 16
    files = {path.name for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert files == set(FILES)
    Recommender.from_pretrained(tmp_path / "run" / "model")


def test_fourth_task(tmp_path):
    printed = run("fourth_task.py", folder=tmp_path)
    # Ten vectors of width 64, and nothing else.
    assert "trainable params: 640 || all params: 169,984 ||" in printed
    assert printed.splitlines()[-4:] == [
        "10 11 12, task 'next': 13 (before: 13)",
        "10 11 12, task 'back': 9 (before: 9)",
        "10 11 12, task 'first': 10 (before: 10)",
        "10 11 12, task 'last': 12",
    ]
    assert list(tmp_path.iterdir()) == []
