"""Make the results of the tables, all or some, or the page from them, or see learning curves.

python -m benchmarks.quality [RUN ...] [--table NAME] [--seeds N ...] --data-root DIR [--again] [--threads 1]
python -m benchmarks.quality --page
python -m benchmarks.quality --curves RUN
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from peft_pod.files import write_text

from . import PAGE
from .curves import curves_of
from .page import page
from .results import add_entry, outdated, read_entries
from .settings import TABLES, TRAIN, Run, read_runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.curves is not None:
            print(curves_of(options.output / options.curves))
            return 0
        runs = read_runs()
        _warn_of_outdated(runs)
        if options.page:
            write_text(PAGE, page())
            return 0
        return make(_chosen(runs, options), options)
    except (ValueError, FileNotFoundError) as error:
        print(f"benchmarks.quality: {error}", file=sys.stderr)
        return 2


def make(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Make the results of runs; one that fails is told of, and the others are made all the same.

    Args:
        runs: to be made.
        options: of the command line.

    Raises:
        ValueError: a run needs data, and it is not said where they are.
    """
    directories = {run.name: _data_dir(run, options.data_root) for run in runs}
    failed = []
    for run in runs:
        for seed in run.seeds if options.seeds is None else options.seeds:
            if not options.again and any(entry["seed"] == seed for entry in read_entries(run.name)):
                print(f"{run.name}, seed {seed}: is there already", flush=True)
                continue
            print(f"{run.name}, seed {seed} …", flush=True)
            try:
                _make_seed(run, seed, directories[run.name], options)
            except (RuntimeError, ValueError, OSError) as error:
                print(f"{run.name}, seed {seed}: {error}", file=sys.stderr, flush=True)
                failed.append(f"{run.name} (seed {seed})")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _make_seed(run: Run, seed: int, data_dir: str | None, options: argparse.Namespace) -> None:
    # Only what is made needs torch.
    import torch

    from . import baselines, training

    torch.set_num_threads(options.threads)
    if run.kind == TRAIN:
        folder = options.output.absolute() / run.name / f"seed-{seed}"
        entry = training.train(run, seed, data_dir, folder, threads=options.threads, again=options.again)
    else:
        entry = baselines.evaluate(run, seed, data_dir)
    add_entry(run.name, entry)


def _chosen(runs: Mapping[str, Run], options: argparse.Namespace) -> list[Run]:
    unknown = [name for name in options.runs if name not in runs]
    if unknown:
        raise ValueError(f"there is no run {unknown[0]!r}; there are {', '.join(runs)}")
    chosen = [runs[name] for name in options.runs] if options.runs else list(runs.values())
    if options.table is not None:
        chosen = [run for run in chosen if run.table == options.table]
    strange = [run.name for run in chosen if options.seeds and not set(options.seeds) <= set(run.seeds)]
    if strange:
        raise ValueError(f"--seeds {options.seeds} are not all seeds of {strange[0]}, which its file lists")
    return chosen


def _data_dir(run: Run, root: Path | None) -> str | None:
    if run.data is None:
        return None
    if root is None:
        raise ValueError(f"{run.name} needs data: give --data-root, the folder that has {run.data}")
    path = (root / run.data).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{run.name} needs {path}, which does not exist; see --data-root")
    return str(path)


def _warn_of_outdated(runs: Mapping[str, Run]) -> None:
    for run in runs.values():
        seeds = outdated(run, read_entries(run.name))
        if seeds:
            text = (
                f"{run.name}: results of seeds {seeds} were made with other arguments than its file has; run it --again"
            )
            print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names of files in runs/; all by default")
    parser.add_argument("--table", choices=TABLES, help="only the runs of this table")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the runs' seeds")
    parser.add_argument("--data-root", type=Path, help="folder with the corpora's folders")
    parser.add_argument("--output", type=Path, default=Path("runs/quality"), help="where trained runs go")
    parser.add_argument("--threads", type=int, default=1, help="that a run may use")
    parser.add_argument("--again", action="store_true", help="make what has results already too")
    parser.add_argument("--page", action="store_true", help="only write docs/results.md")
    parser.add_argument("--curves", metavar="RUN", help="only print the validation losses of a trained run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
