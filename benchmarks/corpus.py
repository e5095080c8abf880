"""How long a large corpus takes from its tables to tokenised examples, and how much memory.

    python benchmarks/corpus.py --interactions 10000000 [--users 1000000] [--items 200000] [--seed 0] [--folder DIR]

Makes synthetic interactions on disk: few popular items and many rare ones, few active users and many others. Then
prepares them: reading and checking the tables, 5-core, leave-one-out split, random item IDs, a tokenizer and processor,
and a sequential example of each user, written to disk. What each stage took, by the clock and in time of the cores,
goes to standard error; the last line of standard output is one JSON object, `{"interactions", "minutes",
"max_rss_gib"}`. The minutes are those of the preparation by the clock, without the making; the memory is the most that
was resident in the whole process, with the pages of files that are mapped into it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from peft_pod.corpus import Corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.processing.stream import write_training_examples
from peft_pod.tasks import SequentialTask, load_task

CHUNK = 1_000_000
ITEM_EXPONENT = 0.9
"""Popularity of the item of rank r is r to the power of minus this."""
USER_SPREAD = 0.6
"""Standard deviation of the logarithm of users' activity."""
FIRST_DAY, DAYS = 1_500_000_000, 365 * 24 * 3600


class Stages:
    """Times stages and reports each to standard error.

    Attributes:
        seconds: of each stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name], cpu = time.perf_counter() - start, time.process_time() - cpu
        taken = f"{self.seconds[name]:8.1f} s {cpu:8.1f} s of a core {max_rss_gib():6.2f} GiB"
        print(f"{name:<26} {taken}", file=sys.stderr, flush=True)


def main() -> None:
    """Make, prepare and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, help="a tenth of the interactions where not given")
    parser.add_argument("--items", type=int, help="a fiftieth of the interactions where not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the files go; a temporary folder where not given")
    options = parser.parse_args()
    users = options.users or max(options.interactions // 10, 1)
    items = options.items or max(options.interactions // 50, 1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        minutes = run(Path(folder), options.interactions, users, items, options.seed)
    figures = {"minutes": round(minutes, 4), "max_rss_gib": round(max_rss_gib(), 2)}
    print(json.dumps({"interactions": options.interactions, **figures}))


def run(folder: Path, interactions: int, users: int, items: int, seed: int) -> float:
    """Make a corpus in a folder and prepare it; returns the minutes of the preparation."""
    stages = Stages()
    with stages.stage("(make the files)"):
        make_interactions(folder / "interactions.arrow", interactions, users, items, seed)
        make_items(folder / "items.arrow", items)
    start = time.perf_counter()
    with stages.stage("read and check"):
        tables = {name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in ("interactions", "items")}
        corpus = Corpus.from_tables("synthetic", tables)
    with stages.stage("5-core"):
        core = corpus.k_core(users=5, items=5)
    with stages.stage("save"):
        core.save_to_disk(folder / "core")
    with stages.stage("fingerprint"):
        fingerprint = core.fingerprint
    with stages.stage("leave-one-out"):
        split = core.split()
    with stages.stage("random item IDs"):
        indexing = load_indexing("random").fit(split.train, seed=seed)
    with stages.stage("tokenizer and processor"):
        words = " ".join((indexing.item_words[0], indexing.user_words[0], *(t.text for t in SequentialTask.templates)))
        processor = PODProcessor(train_tokenizer([words] * 9), indexing, [load_task("sequential")])
    with stages.stage("tokenised examples"):
        examples = write_training_examples(folder / "examples.arrow", processor, split.train)
    minutes = (time.perf_counter() - start) / 60
    size = (folder / "examples.arrow").stat().st_size / 2**30
    print(*core.steps, split.step, sep="\n", file=sys.stderr)
    print(f"{examples:,} examples, {size:.2f} GiB, of corpus {fingerprint}", file=sys.stderr)
    return minutes


def make_interactions(path: Path, count: int, users: int, items: int, seed: int) -> None:
    """Write interactions, some million at a time."""
    rng = np.random.default_rng(seed)
    by_popularity = rng.permutation(items)
    popularity = np.cumsum(np.arange(1, items + 1) ** -ITEM_EXPONENT)
    activity = np.cumsum(rng.lognormal(sigma=USER_SPREAD, size=users))
    schema = pa.schema(
        {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "rating": pa.float32()}
    )
    with pa.ipc.new_stream(str(path), schema) as writer:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            ranks = np.searchsorted(popularity, rng.random(size) * popularity[-1])
            takers = np.searchsorted(activity, rng.random(size) * activity[-1])
            columns = [
                names("U", takers),
                names("B", by_popularity[ranks]),
                pa.array(FIRST_DAY + rng.integers(DAYS, size=size)),
                pa.array(rng.integers(1, 6, size=size).astype(np.float32)),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def make_items(path: Path, items: int) -> None:
    """Write a catalogue."""
    ids = names("B", np.arange(items))
    with pa.ipc.new_stream(str(path), pa.schema({"item_id": pa.string(), "title": pa.string()})) as writer:
        writer.write_batch(pa.record_batch([ids, pc.binary_join_element_wise("Item", ids, " ")], ["item_id", "title"]))


def names(letter: str, numbers: np.ndarray) -> pa.Array:
    """IDs such as `B000000123`, made by Arrow."""
    return pc.binary_join_element_wise(letter, pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0"), "")


def max_rss_gib() -> float:
    """The most memory that was resident in this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


if __name__ == "__main__":
    main()
