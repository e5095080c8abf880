"""How much memory training takes on a split that lies on disk, against the same split in memory.

    python -m benchmarks.streaming [--interactions 20000000] [--users 138000] [--items 27000] [--steps 30]
        [--limit-mib N] [--folder DIR]

Makes a synthetic corpus, splits it and saves the split, in a process of its own. Then a fresh process for each of the
two opens it, by `load_split(folder)` and by `load_split(folder, keep_in_memory=True)`, and trains a tiny model on all
prefixes and on candidates. With --limit-mib a process may have no more memory of its own than that (RLIMIT_DATA; pages
of files that are mapped are not its own, and the system may drop them).

The last line of standard output is one JSON object: for "mapped" and "memory" the most memory that was the process' own
(`own_mib`), before it opened the split (`before_mib`), and resident with the pages of mapped files (`resident_mib`);
the seconds of a step (`step_seconds`) and the mean loss; or `"failed"` where the limit stopped it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from .corpus import make_interactions, make_items, max_rss_gib

MIB = 2**20


def main() -> None:
    """Make the split, train on it twice, and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--interactions", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=138_000)
    parser.add_argument("--items", type=int, default=27_000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--limit-mib", type=int, help="the most memory of its own that a training process may have")
    parser.add_argument("--folder", help="where the files go; a temporary folder where not given")
    options = parser.parse_args()
    # Arrow's own allocator reserves a GiB at once, which would count as the process' own, used or not.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    figures: dict[str, Any] = {"interactions": options.interactions, "limit_mib": options.limit_mib}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        figures["split_mib"] = alone(make, folder, options.interactions, options.users, options.items)
        for kind in ("mapped", "memory"):
            figures[kind] = alone(train, folder / "split", kind == "memory", options.steps, options.limit_mib)
            print(kind, figures[kind], file=sys.stderr, flush=True)
    print(json.dumps(figures))


def alone(call: Any, *arguments: Any) -> Any:
    """The result of a call in a fresh process; "failed" where that ended otherwise."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, call, arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return "failed"
    finally:
        process.join()


def _send(connection: Any, call: Any, arguments: tuple[Any, ...]) -> None:
    connection.send(call(*arguments))


def make(folder: Path, interactions: int, users: int, items: int) -> int:
    """Write a split into `folder / "split"`; returns the size of its files in MiB."""
    from peft_pod.corpus import Corpus, save_split

    make_interactions(folder / "interactions.arrow", interactions, users, items, seed=0)
    make_items(folder / "items.arrow", items)
    tables = {name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in ("interactions", "items")}
    save_split(Corpus.from_tables("synthetic", tables).split(), folder / "split")
    print(f"splitting took {max_rss_gib():.2f} GiB at its most", file=sys.stderr, flush=True)
    return round(sum(path.stat().st_size for path in (folder / "split").iterdir()) / MIB)


def train(folder: Path, keep_in_memory: bool, steps: int, limit_mib: int | None) -> dict[str, Any]:
    """Train some steps on a split; returns what they took."""
    import torch

    from peft_pod.corpus import load_split
    from peft_pod.indexing import load_indexing
    from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
    from peft_pod.tasks import load_task
    from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer

    torch.set_num_threads(1)
    if limit_mib is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, limit_mib * MIB))
    before = own_mib()
    split = load_split(folder, keep_in_memory=keep_in_memory)
    indexing = load_indexing("random").fit(split.train)
    tasks = [load_task("sequential", segments="prefixes"), load_task("topn", num_negatives=20)]
    processor = PODProcessor(
        build_tokenizer("scratch:tiny", split.train, indexing, tasks, id_tokens="pieces"), indexing, tasks
    )
    samples = TrainingSamples(split.train, processor)
    held_out = EvaluationSamples.of_part(split, "validation", processor, limit=64)
    own = [own_mib()]
    with tempfile.TemporaryDirectory() as output:
        arguments = PODTrainingArguments(
            output_dir=output, max_steps=steps, per_device_train_batch_size=16, logging_steps=1, save_strategy="no",
            eval_strategy="no", load_best_model_at_end=False, early_stopping_patience=None, disable_tqdm=True,
            report_to=[], use_cpu=True,
        )  # fmt: skip
        model = build_model("scratch:tiny", processor, dropout=0.0, train_base=True)
        trainer = PODTrainer(model, arguments, processor=processor, train_dataset=samples, eval_dataset=held_out)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        own.append(own_mib())
        trainer.evaluate()
        own.append(own_mib())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "own_mib": round(max(own)),
        "resident_mib": round(max_rss_gib() * 1024),
        "before_mib": round(before),
        "step_seconds": round(seconds / steps, 4),
        "loss": float(np.mean(losses)),
    }


def own_mib() -> float:
    """The memory that is this process' own and resident: without the pages of files."""
    with open("/proc/self/status", encoding="utf-8") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
