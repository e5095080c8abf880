"""How much faster answers are found than by `generate` on the same weights.

    python -m benchmarks.inference --data-dir DIR --reviews-dir DIR [--quick] [--users 512] [--by-length]
    python -m benchmarks.inference --run DIR

A T5 of t5-small's shape with t5-small's 32,128 tokens and a POD adapter is trained for some steps on Amazon Beauty
(`--data-dir` has its files; without it, on the embedded corpus), so that users get different items, and another one on
explanations from reviews of Musical Instruments (`--reviews-dir`; likewise). Then both sides answer the same batches of
validation questions in turn: the next item from the full catalogue (`sequential`, 32 users a batch) and the best of
100 candidates that the input lists (`topn`, 8 users) or that are in the trie alone (`topn_trie`, 32 users), with 20
beams and top 10, `generate` with `prefix_allowed_tokens_fn`; and a sentence with 7 beams (`explanation`, 16 users).
Item IDs are numbered in random order and written in pieces of digits, as t5-small's tokenizer writes them. Batches
hold users as they come, or with `--by-length` users of similar length, which spares `generate` most of its padding (the
fast method has none). A model of that size learns little from random weights in minutes, and gives many users the same
answer; so there are small ones too (`small_sequential`, items as paths of clusters, and `small_explanation`; 32 users),
128 numbers wide with 2 + 2 layers, which learn to tell users apart. `--run` takes a model that `peft-pod train` made
instead, and asks it the test's questions (`run`, 32 users). Ratios are those of the medians over batches of the
time for a user, where the fast method's time for a batch is the mean of three, before and after that of `generate`,
which takes as long as many of them; the first batch does not count.

- `floor`: the share of our time that the encoder alone takes.
- `identical`: for how many users the answers in float32 are those of `generate` (the ordered top 10, or the text), the
  largest difference of scores among them, and of the answers in float32 the share that is found in bf16 (of the items
  of the top 10, or of whole texts). `prefix_allowed_tokens_fn` lets seen items through, so ours does too.
- `one_user_ms`: milliseconds for one user at a time, the median and the 99th percentile.
- `peak_mib`: by how much a process's resident memory grows at most while it answers three batches, for each side in a
  process of its own; for the fast method with the weights that are laid out.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import mean, median, quantiles
from threading import Event, Thread
from typing import Any

import torch
from psutil import Process
from transformers.utils import logging

from peft_pod.metrics import software_versions
from peft_pod.training.precision import bf16_speedup

from .inference_setup import ROWS, RUN, Asked, questions
from .inference_sides import BEAMS, PRECISIONS, TEXT_BEAMS, TOP, Answers, sides
from .training_setup import SHAPES

_BATCHES_FOR_MEMORY = 3
_TIMES_QUICK = 3
"""How often what is quick answers a batch: a moment in which the machine is slow is a larger part of a short time."""


def main() -> None:
    """Train, time both sides, and print what was found."""
    options = parse()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    if options.memory_of:
        print(json.dumps(peak_growth(options)))
        return
    report: dict[str, Any] = {
        row: {} for row in (*options.rows, "identical", "users_per_second", "floor", "one_user_ms", "peak_mib")
    }
    for row, asked in asked_questions(options, options.users, options.train_steps):
        compare(row, asked, report, by_length=options.by_length)
        report["one_user_ms"][row] = one_by_one(row, asked, options.single_users)
    for row in options.rows:
        report["peak_mib"][row] = {side: memory(options, row, side) for side in ("generate", "fp32")}
    shape = SHAPES["small"]
    report["bf16_speedup"] = round(bf16_speedup(shape["d_model"], shape["d_ff"]), 2)
    report["settings"] = {**vars(options), "beams": BEAMS, "top": TOP, "text_beams": TEXT_BEAMS}
    report["versions"] = software_versions()
    print(json.dumps(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="with the files of Amazon Beauty (2014)")
    parser.add_argument("--reviews-dir", help="with the reviews of Musical Instruments (2014)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--run", help="folder of a trained run, whose model finds next items; nothing else is asked")
    asked.add_argument("--rows", nargs="+", choices=ROWS, help="which questions to ask; all by default")
    parser.add_argument("--users", type=int, default=512, help="of each kind of question")
    parser.add_argument("--single-users", type=int, default=100, help="that are answered one at a time")
    parser.add_argument("--train-steps", type=int, default=60)
    parser.add_argument("--text-train-steps", type=int, default=300, help="short inputs take a tenth of the time")
    parser.add_argument("--small-train-steps", type=int, default=600)
    parser.add_argument("--by-length", action="store_true", help="batches of similar length")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--quick", action="store_true", help="64 users, 20 of them one at a time, few steps of training"
    )
    parser.add_argument("--memory-of", help="measure the memory of one side and nothing else")
    options = parser.parse_args()
    options.rows = [RUN] if options.run else options.rows or list(ROWS)
    if options.quick:
        options.users, options.single_users = 64, 20
        options.train_steps, options.text_train_steps, options.small_train_steps = 20, 100, 100
    return options


def asked_questions(options: argparse.Namespace, users: int, train_steps: int) -> Any:
    """The questions that the command line asks for."""
    return questions(
        options.rows,
        data_dir=options.data_dir,
        reviews_dir=options.reviews_dir,
        users=users,
        train_steps=train_steps,
        text_train_steps=options.text_train_steps if train_steps else 0,
        small_train_steps=options.small_train_steps if train_steps else 0,
        run=options.run,
    )


@torch.no_grad()
def compare(row: str, asked: Asked, report: dict[str, Any], *, by_length: bool) -> None:
    """Time all sides on the batches of a kind of question, in turn, and compare what they answer."""
    answering, encoders = sides(asked)
    seconds: dict[str, list[float]] = {}
    found: dict[str, list[Answers]] = {}
    batches = list(asked.batches(by_length=by_length))
    for number, (batch, samples) in enumerate([batches[0], *batches]):
        calls: dict[str, Callable[[], Any]] = {}
        for name, side in answering.items():
            calls[name] = partial(side, batch, samples)
        for name, encode in encoders.items():
            calls[f"encoder {name}"] = partial(encode, batch)
        spent: dict[str, list[float]] = {name: [] for name in calls}
        answers: dict[str, Any] = {}
        for turn in range(_TIMES_QUICK):
            for name, call in calls.items():
                if name == "generate" and turn != _TIMES_QUICK // 2:
                    continue
                began = time.perf_counter()
                answers[name] = call()
                spent[name].append((time.perf_counter() - began) / len(samples))
        if number:
            for name in calls:
                seconds.setdefault(name, []).append(mean(spent[name]))
                found.setdefault(name, []).append(answers[name])
            ratio = seconds["generate"][-1] / seconds["fp32"][-1]
            rounded = seconds["generate"][-1] / seconds["bf16"][-1]
            print(f"{row} {number} of {len(batches)}: {ratio:.1f}, bf16 {rounded:.1f}", file=sys.stderr)
    middle = {name: median(values) for name, values in seconds.items()}
    report[row] = {name: round(middle["generate"] / middle[name], 2) for name in PRECISIONS}
    report["users_per_second"][row] = {name: round(1 / value, 1) for name, value in middle.items()}
    report["floor"][row] = {name: round(middle[f"encoder {name}"] / middle[name], 2) for name in PRECISIONS}
    report["identical"][row] = agreement(found, whole=asked.task == "explanation")


def agreement(found: dict[str, list[Answers]], *, whole: bool) -> dict[str, Any]:
    """How far the fast method's answers are those of `generate`, and bf16's those of float32.

    Args:
        found: the answers of each side.
        whole: whether an answer is one text, which is recalled as a whole; of a ranking each item counts.
    """
    by_generate, exact, rounded = (
        Answers(*(torch.cat(parts) for parts in zip(*found[name], strict=True)))
        for name in ("generate", "fp32", "bf16")
    )
    same = (by_generate.values == exact.values).all(1)
    recalled = (
        (exact.values == rounded.values).all(1)
        if whole
        else (exact.values[:, :, None] == rounded.values[:, None]).any(2)
    )
    difference = (by_generate.scores - exact.scores)[same].abs()
    return {
        "users": len(same),
        "same": int(same.sum()),
        "different_answers": len(exact.values.unique(dim=0)),
        "largest_score_difference": float(difference.max()) if len(difference) else None,
        "bf16_recall": round(float(recalled.float().mean()), 4),
    }


@torch.no_grad()
def one_by_one(row: str, asked: Asked, users: int) -> dict[str, dict[str, float]]:
    """Milliseconds for one user at a time."""
    answering, _ = sides(asked)
    spent: dict[str, list[float]] = {name: [] for name in ("generate", "fp32")}
    alone = list(asked.batches(1))
    step = max(1, len(alone) // users)
    for batch, samples in [alone[0], *alone[::step][:users]]:
        for name, values in spent.items():
            began = time.perf_counter()
            answering[name](batch, samples)
            values.append(1000 * (time.perf_counter() - began))
    print(f"{row}: {users} users one at a time", file=sys.stderr)
    return {
        name: {"p50": round(median(values[1:]), 1), "p99": round(quantiles(values[1:], n=100)[-1], 1)}
        for name, values in spent.items()
    }


def memory(options: argparse.Namespace, row: str, side: str) -> int:
    """By how many MiB the peak of a new process's memory grows while one side answers."""
    command = [sys.executable, "-m", "benchmarks.inference", "--memory-of", side]
    command += ["--run", options.run] if options.run else ["--rows", row]
    command += ["--threads", str(options.threads)]
    for name in ("data_dir", "reviews_dir"):
        value = getattr(options, name)
        command += [f"--{name.replace('_', '-')}", value] if value else []
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(json.loads(output.splitlines()[-1]))


@torch.no_grad()
def peak_growth(options: argparse.Namespace) -> int:
    """By how many MiB this process's resident memory grows at most while a side answers."""
    process = Process()
    _, asked = next(asked_questions(options, 512, 0))
    # Of the longest inputs.
    batches = list(asked.batches())[-_BATCHES_FOR_MEMORY:]
    side = sides(asked)[0][options.memory_of]
    gc.collect()
    before = process.memory_info().rss
    seen, is_over = [before], Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            seen.append(process.memory_info().rss)

    watcher = Thread(target=watch)
    watcher.start()
    for batch, samples in batches:
        side(batch, samples)
    is_over.set()
    watcher.join()
    return round((max(seen) - before) / 2**20)


if __name__ == "__main__":
    main()
