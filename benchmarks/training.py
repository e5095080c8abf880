"""How much faster a training step is than that of the original research code.

    python -m benchmarks.training [--quick] [--knobs] [--batches 8] [--runs 3] [--threads 2] [--precision auto]

Both sides train a T5 of t5-small's shape (or `--model base`) with t5-small's 32,128 tokens, 16 samples a batch, on the
same samples of the three tasks. The reference (`benchmarks.training_reference`) is the plain step: float32, eager
attention, every batch's text tokenised on the spot and padded to its longest sample, AdamW parameter by parameter. Ours
is `PODTrainer.train()` as it is, by default in bf16 where this machine multiplies faster in it and else in float32
(`--precision`), and otherwise with its defaults; a step is timed from the request for its batch to the end of the
optimiser's update. Each side has a process of its own and waits for its turn, step by step. A
run is an epoch, in which both see the same samples of each task; the ratios are those of the medians over runs.
`--knobs` also times ours with one setting turned off at a time.

Before that, both take three steps without dropout from the same weights on the same batches, one of each task, and the
losses must agree, relative to the reference: to 1e-5 in float32 and to 2e-2 in bf16. If not, the exit status is 1.

With `--device cuda` the same runs on a GPU; `--peak-tflops` is the card's peak, without which no utilisation is told.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median
from typing import Any

from peft_pod.metrics import software_versions
from peft_pod.training.precision import bf16_speedup

from .training_setup import SHAPES, TASKS, Setting
from .training_sides import Side, Step

LOSS_TOLERANCE = {"float32": 1e-5, "bf16": 2e-2}
KNOBS: dict[str, dict[str, Any]] = {
    "bf16": {"bf16": False},
    "attention": {"attention": "eager"},
    "sdpa_in_place_of_blockwise": {"attention": "sdpa"},
    "fast_dropout": {"fast_dropout": False},
    "keep_memory": {"keep_memory": False},
    "fused_adamw": {"optim": "adamw_torch", "optim_args": "foreach=False"},
}


def main() -> int:
    """Check the losses, time both sides, and print what was found."""
    options = parse()
    setting = Setting(
        shape=options.model,
        batches=options.batches,
        threads=options.threads,
        device=options.device,
        segments=options.segments,
    )
    report: dict[str, Any] = {"loss_difference": check_losses(setting)}
    report["losses_agree"] = all(report["loss_difference"][name] <= limit for name, limit in LOSS_TOLERANCE.items())
    if options.precision == "auto":
        shape = SHAPES[options.model]
        report["bf16_speedup"] = round(bf16_speedup(shape["d_model"], shape["d_ff"], options.device), 2)
        options.precision = "bf16" if report["bf16_speedup"] > 1 else "float32"
    ours: dict[str, Any] = {
        "bf16": options.precision == "bf16",
        "torch_compile": options.compile,
        "length_bucketing": options.length_bucketing,
    }
    reference, fast = Side(setting, "reference"), Side(setting, "ours", ours)
    times = interleaved([reference, fast], setting, options.runs)
    report = {**ratios(*times), **report, "seconds": seconds(times)}
    report["tokens_per_second"] = tokens_a_second(times)
    report["utilisation"] = utilisation(times, options.peak_tflops)
    if options.knobs:
        report["slower_without"] = {
            name: ratios(
                *interleaved([Side(setting, "ours", {**ours, **off}), Side(setting, "ours", ours)], setting, 1)
            )
            for name, off in KNOBS.items()
            if not off.items() <= ours.items()
        }
    report["settings"] = {**vars(options), "batch_size": setting.batch_size, "ours": ours}
    report["versions"] = software_versions()
    print(json.dumps(report))
    return 0 if report["losses_agree"] else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two batches of each task, one run: about two minutes")
    parser.add_argument("--knobs", action="store_true", help="time ours with each setting turned off alone, too")
    parser.add_argument("--batches", type=int, default=8, help="batches of each task in a run")
    parser.add_argument("--runs", type=int, default=3, help="runs that count; one more comes before them")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--model", choices=["small", "base"], default="small", help="shape: t5-small or t5-base")
    parser.add_argument("--length-bucketing", action="store_true", help="ours with batches of similar length")
    parser.add_argument("--segments", choices=["random", "prefixes"], default="random")
    parser.add_argument("--precision", choices=["auto", "bf16", "float32"], default="auto", help="of ours")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile")
    parser.add_argument("--peak-tflops", type=float, help="peak of the device in bf16, for the utilisation")
    options = parser.parse_args()
    if options.quick:
        options.batches, options.runs = 2, 1
    for name in ("batches", "runs", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    return options


def check_losses(setting: Setting) -> dict[str, float]:
    """The largest difference of three steps' losses without dropout, relative to the reference, by precision."""
    exact = setting.without_dropout()
    reference = Side(exact, "reference")
    right = [reference.step().loss for _ in TASKS]
    reference.close()
    differences = {}
    for name in LOSS_TOLERANCE:
        side = Side(exact, "ours", {"bf16": name == "bf16"})
        found = [side.step().loss for _ in TASKS]
        side.close()
        differences[name] = max(abs(mine - wanted) / abs(wanted) for mine, wanted in zip(found, right, strict=True))
        print(f"losses without dropout, {name}: {found}; reference: {right}", file=sys.stderr)
    return differences


def interleaved(sides: list[Side], setting: Setting, runs: int) -> list[list[list[Step]]]:
    """The steps of each side, by run; the sides take turns at every step, and the first run does not count."""
    times: list[list[list[Step]]] = [[] for _ in sides]
    for run in range(-1, runs):
        steps: list[list[Step]] = [[] for _ in sides]
        for _ in range(setting.batches * len(TASKS)):
            for mine, side in zip(steps, sides, strict=True):
                mine.append(side.step())
        if run >= 0:
            for taken, mine in zip(times, steps, strict=True):
                taken.append(mine)
        print(
            f"run {run + 1} of {runs}: {[round(sum(step.seconds for step in mine), 1) for mine in steps]} s",
            file=sys.stderr,
        )
    for side in sides:
        side.close()
    return times


def task_seconds(runs: list[list[Step]], task: str | None) -> float:
    """Seconds of a batch of a task, or of a cycle of all: the median over runs of the mean of a run."""
    sums = [sum(step.seconds for step in run if task in (None, step.task)) for run in runs]
    return median(sums) * len(TASKS) / len(runs[0])


def ratios(slow: list[list[Step]], fast: list[list[Step]]) -> dict[str, float]:
    """How many times faster the second is."""
    by_task = {task: round(task_seconds(slow, task) / task_seconds(fast, task), 3) for task in TASKS}
    return {"cycle": round(task_seconds(slow, None) / task_seconds(fast, None), 3), **by_task}


def seconds(times: list[list[list[Step]]]) -> dict[str, dict[str, float]]:
    """Seconds of a batch of each task, and of a cycle."""
    names: list[tuple[str, str | None]] = [("cycle", None), *((task, task) for task in TASKS)]
    return {
        side: {name: round(task_seconds(runs, task), 3) for name, task in names}
        for side, runs in zip(("reference", "ours"), times, strict=True)
    }


def tokens_a_second(times: list[list[list[Step]]]) -> dict[str, float]:
    """Tokens of inputs and answers a second, padding not counted."""
    return {side: round(rate(runs, "tokens")) for side, runs in zip(("reference", "ours"), times, strict=True)}


def utilisation(times: list[list[list[Step]]], peak_tflops: float | None) -> dict[str, float] | None:
    """Floating-point operations that the model needs, padding and recomputation not counted, of what the device can."""
    if peak_tflops is None:
        return None
    sides = zip(("reference", "ours"), times, strict=True)
    return {side: round(rate(runs, "operations") / (peak_tflops * 1e12), 4) for side, runs in sides}


def rate(runs: list[list[Step]], of: str) -> float:
    """The median over runs of something a second."""
    return median(sum(getattr(step, of) for step in run) / sum(step.seconds for step in run) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
