"""How recommending grows with the catalogue: it should go with the depth of the items' token tree, not with its size.

    python -m benchmarks.catalogue_growth [--sizes 10000 100000 1000000] [--users 128] [--rounds 3] [--threads 1]
        [--interactions-per-item 10] [--folder DIR] [--quick]

For each size a synthetic corpus is made (few popular items and many rare ones), and its items are named by two schemes
fitted to it: `random`, numbers in pieces of digits, and `collaborative`, paths of clusters in new tokens. Users have no
names. Then a fresh process for each catalogue makes the items' tokens and the trie and answers some users, which says
what this takes in time and memory. Last, one process answers as many users from every catalogue, batch by batch in
turn, so that a machine that is busy at times is so for all: the next item after histories of 20 items, t5-small's shape
with its 32,128 tokens and random weights, float32, 20 beams, top 10, 32 users a batch, seen items left out. Figures are
medians over batches.

The last line is JSON; `catalogues` has, by scheme and size:

- `fit_seconds`: to name the items.
- `token_seconds`: to make the items' tokens, from a tokenizer and the names, and to check that no two are the same.
- `trie_seconds`, `trie_mib`, `depth` (end-of-sequence token included), and `children`: mean over the nodes that lead on
  to more than the end.
- `before_mib` and `peak_mib`: the most memory resident in the process with names and libraries alone, and at the end.
- `input_tokens`: mean of an input. IDs of more tokens make longer inputs, which the encoder reads.
- `users_per_second`; `search_ms`: of a user without the encoder's time.
- `filtered_users_per_second`: as before, and only half of the catalogue may be found; `half_ms`: to sort it, once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .corpus import make_interactions, make_items, max_rss_gib
from .streaming import alone

SCHEMES = ("random", "collaborative")
BEAMS, TOP, USERS_A_BATCH, HISTORY = 20, 10, 32, 20
MIB = 2**20


def main() -> None:
    """Make the catalogues, measure each by itself and all in turn, and report."""
    options = parse()
    found: dict[str, dict[int, dict[str, Any]]] = {scheme: {} for scheme in SCHEMES}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for size in options.sizes:
            fitted = alone(make, folder, size, size * options.interactions_per_item)
            for scheme in SCHEMES:
                here = folder / f"{scheme}-{size}"
                found[scheme][size] = {"fit_seconds": fitted[scheme], **alone(measure, here, options)}
                print(scheme, size, found[scheme][size], file=sys.stderr, flush=True)
        speeds = alone(search, folder, options)
    for scheme, sizes in found.items():
        for size, figures in sizes.items():
            figures.update(speeds[f"{scheme}-{size}"])
    from peft_pod.metrics import software_versions

    settings = {**vars(options), "beams": BEAMS, "top": TOP, "users_a_batch": USERS_A_BATCH, "history": HISTORY}
    print(json.dumps({"catalogues": found, "settings": settings, "versions": software_versions()}))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=int, default=128, help="of each catalogue, whole batches of 32")
    parser.add_argument("--rounds", type=int, default=3, help="how often each batch is answered")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--interactions-per-item", type=int, default=10)
    parser.add_argument("--folder", help="where the files go; a temporary folder where not given")
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 items, 32 users, once")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.users, options.rounds = [10_000, 100_000], 32, 1
    if options.users < 1 or (options.users > USERS_A_BATCH and options.users % USERS_A_BATCH):
        parser.error(f"--users must be fewer than {USERS_A_BATCH} or fill batches of it, got {options.users}")
    return options


def make(folder: Path, size: int, interactions: int) -> dict[str, float]:
    """Make a corpus and name its items by each scheme; returns the seconds of the naming."""
    from datasets import Dataset

    from peft_pod.corpus import Corpus
    from peft_pod.indexing import load_indexing

    make_interactions(folder / "interactions.arrow", interactions, max(interactions // 10, 1), size, seed=0)
    make_items(folder / "items.arrow", size)
    tables = {name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in ("interactions", "items")}
    train = Corpus.from_tables("synthetic", tables).split().train
    seconds = {}
    for scheme in SCHEMES:
        began = time.perf_counter()
        indexing = load_indexing(scheme, users="none").fit(train)
        seconds[scheme] = round(time.perf_counter() - began, 1)
        here = folder / f"{scheme}-{size}"
        here.mkdir()
        (here / "indexing.json").write_text(json.dumps(indexing.to_dict()), encoding="utf-8")
    return seconds


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make tokens and trie of a catalogue, and answer a batch; leaves tokens and inputs in the folder for `search`."""
    import torch

    from peft_pod.generation.trie import ItemTrie
    from peft_pod.indexing import indexing_from_dict
    from peft_pod.processing import PODProcessor, train_tokenizer
    from peft_pod.tasks import load_task

    torch.set_num_threads(options.threads)
    indexing = indexing_from_dict(json.loads((folder / "indexing.json").read_text(encoding="utf-8")))
    token_words = indexing.item_words if indexing.tokens() else ()
    tokenizer = train_tokenizer(["item _"] * 99, 500, token_words=token_words)
    figures: dict[str, Any] = {"before_mib": round(max_rss_gib() * 1024)}

    began = time.perf_counter()
    processor = PODProcessor(tokenizer, indexing, [load_task("sequential", history_length=HISTORY)])
    tokens = processor.item_tokens()
    figures["token_seconds"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    trie = ItemTrie(tokens, tokenizer.eos_token_id)
    figures["trie_seconds"] = round(time.perf_counter() - began, 2)
    figures["trie_mib"] = round(trie.nbytes / MIB, 2)
    figures["depth"] = trie.max_depth
    figures["children"] = round(mean_children(trie), 1)

    histories = np.random.default_rng(0).integers(trie.num_items, size=(options.users, HISTORY))
    batches = encoded(processor, histories)
    figures["input_tokens"] = round(sum(int(batch["attention_mask"].sum()) for batch in batches) / options.users, 1)
    searcher(trie)(batches[0], k=TOP, num_beams=BEAMS, exclude=histories[: len(batches[0]["input_ids"])])
    figures["peak_mib"] = round(max_rss_gib() * 1024)

    lengths = np.array([len(item) for item in tokens])
    np.savez(
        folder / "tokens.npz", tokens=np.concatenate(tokens), lengths=lengths, eos=trie.eos_token_id, taken=histories
    )
    torch.save(batches, folder / "batches.pt")
    return figures


def mean_children(trie: Any) -> float:
    """Children of a node, over the nodes that lead on to more than the end-of-sequence token."""
    counts = np.diff(trie.child_offsets.values.numpy())
    to_the_end = np.zeros(trie.num_nodes, dtype=np.int64)
    to_the_end[trie.parents[trie.leaf_nodes[:]].numpy()] = 1
    return float(counts[counts > to_the_end].mean())


def encoded(processor: Any, histories: np.ndarray) -> list[dict[str, Any]]:
    """Batches of questions for what comes after histories."""
    from peft_pod.processing import PODCollator

    task = processor.task("sequential")
    features = [processor(task.query(0, history), "sequential") for history in histories]
    collate = PODCollator(processor.tokenizer.pad_token_id)
    return [collate(features[start : start + USERS_A_BATCH]) for start in range(0, len(features), USERS_A_BATCH)]


def searcher(trie: Any, model: Any = None) -> Any:
    """The search of a trie, under a model with random weights, the same ones each time."""
    from peft_pod.generation import ItemSearch

    return ItemSearch(random_model() if model is None else model, trie, method="fast")


def random_model() -> Any:
    """A T5 of t5-small's shape with a POD adapter."""
    from peft import get_peft_model
    from transformers import T5Config, T5ForConditionalGeneration, set_seed

    from peft_pod import PODConfig

    from .training_setup import PROMPTS, SHAPES, VOCABULARY

    set_seed(0)
    base = T5ForConditionalGeneration(T5Config(**SHAPES["small"], vocab_size=VOCABULARY, decoder_start_token_id=0))
    return get_peft_model(base, PODConfig(tasks=["sequential"], num_virtual_tokens=PROMPTS)).eval()


def search(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Answer users from every catalogue, in turn; returns the speeds of each."""
    import torch

    from peft_pod.generation.item_filter import ItemSet
    from peft_pod.generation.t5 import T5Inference

    torch.set_num_threads(options.threads)
    model = random_model()
    encoder = T5Inference(model)
    figures: dict[str, dict[str, float]] = {}
    calls: dict[str, list[dict[str, Callable[[], Any]]]] = {}
    for here in sorted(folder.glob("*-*")):
        trie, taken = load_trie(here)
        half = np.random.default_rng(1).permutation(trie.num_items)[: trie.num_items // 2]
        began = time.perf_counter()
        allowed = ItemSet(trie, half)
        figures[here.name] = {"half_ms": round((time.perf_counter() - began) * 1000, 1)}
        find = searcher(trie, model)
        batches = torch.load(here / "batches.pt", weights_only=True)
        calls[here.name] = []
        for batch, gone in zip(batches, np.split(taken, range(USERS_A_BATCH, len(taken), USERS_A_BATCH)), strict=True):
            asked: dict[str, Any] = {"k": TOP, "num_beams": BEAMS, "exclude": gone}
            calls[here.name].append(
                {
                    "encoder": torch.no_grad()(partial(encoder.encode, batch)),
                    "all": partial(find, batch, **asked),
                    "half": partial(find, batch, **asked, only=allowed),
                }
            )
    for name, seconds in in_turn(calls, options.rounds).items():
        each = {what: median(taken) / min(options.users, USERS_A_BATCH) for what, taken in seconds.items()}
        figures[name] |= {
            "users_per_second": round(1 / each["all"], 1),
            "search_ms": round((each["all"] - each["encoder"]) * 1000, 2),
            "filtered_users_per_second": round(1 / each["half"], 1),
        }
    return figures


def in_turn(
    calls: dict[str, list[dict[str, Callable[[], Any]]]], rounds: int
) -> dict[str, defaultdict[str, list[float]]]:
    """Seconds of each catalogue's calls on each batch, all catalogues in turn."""
    seconds: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in calls}
    for turn in range(-1, rounds):  # weights are laid out the first time, which does not count
        for batches in zip(*calls.values(), strict=True):
            for name, batch in zip(calls, batches, strict=True):
                for what, call in batch.items():
                    began = time.perf_counter()
                    call()
                    if turn >= 0:
                        seconds[name][what].append(time.perf_counter() - began)
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return seconds


def load_trie(folder: Path) -> tuple[Any, np.ndarray]:
    """The trie of the tokens that `measure` left, and the items that its users took."""
    from peft_pod.generation.trie import ItemTrie

    saved = np.load(folder / "tokens.npz")
    items: Any = np.split(saved["tokens"], np.cumsum(saved["lengths"])[:-1])
    return ItemTrie(items, int(saved["eos"])), saved["taken"]


if __name__ == "__main__":
    main()
