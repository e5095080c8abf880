"""How much faster items are found than by `generate` with `prefix_allowed_tokens_fn` on the same weights.

    python -m benchmarks.inference --data-dir DIR [--quick] [--users 512] [--train-steps 60] [--threads 2]

A T5 of t5-small's shape with t5-small's 32,128 tokens and a POD adapter is trained for a few steps on Amazon Beauty
(`--data-dir` has its files; without it, on the embedded corpus), so that users get different items. Then both sides
answer the same batches of validation questions in turn: 20 beams, top 10, the next item from the full catalogue
(32 users a batch) and the best of 100 candidates that the input lists (8 users). IDs are numbered in random order and
written in pieces of digits, as t5-small's tokenizer writes them. Batches are of similar length. Ratios are those of the
medians over batches; the first batch does not count. `floor` is the share of our time that the encoder alone takes.

`identical` says for how many users the ordered top 10 in float32 are those of `generate`, the largest difference of
scores among them, and the recall of the float32 top 10 in bf16. `prefix_allowed_tokens_fn` lets seen items through, so
ours does too. Explanations are written by `generate` on both sides and are not measured.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import T5Config, T5ForConditionalGeneration, set_seed
from transformers.utils import logging

from peft_pod.corpus import load_corpus
from peft_pod.generation.item_search import ItemSearch
from peft_pod.generation.t5 import T5Inference
from peft_pod.generation.trie import ItemTrie
from peft_pod.indexing import load_indexing
from peft_pod.metrics import software_versions
from peft_pod.processing import PODCollator, PODProcessor, TrainingSamples, train_tokenizer
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model
from peft_pod.training.precision import bf16_speedup

from .training_setup import PROMPTS, SHAPES, VOCABULARY

BEAMS, TOP = 20, 10
USERS_A_BATCH = {"sequential": 32, "topn": 8}


def main() -> None:
    """Train, time both sides, and print what was found."""
    options = parse()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    model, processor, split = trained(options)
    trie = ItemTrie(processor.item_tokens(), processor.tokenizer.eos_token_id)
    report: dict[str, Any] = {"identical": {}, "users_per_second": {}, "floor": {}}
    for task in processor.task_names:
        samples = processor.task(task).evaluation_samples(split, "validation", 0)[: options.users]
        report = measure(task, samples, model, processor, trie, report)
    report["bf16_speedup"] = round(bf16_speedup(SHAPES["small"]["d_model"], SHAPES["small"]["d_ff"]), 2)
    report["settings"] = {**vars(options), "beams": BEAMS, "top": TOP, "items": trie.num_items, "depth": trie.max_depth}
    report["versions"] = software_versions()
    print(json.dumps(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="with the files of Amazon Beauty (2014)")
    parser.add_argument("--users", type=int, default=512, help="of each task")
    parser.add_argument("--train-steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="64 users, 20 steps")
    options = parser.parse_args()
    if options.quick:
        options.users, options.train_steps = 64, 20
    return options


def trained(options: argparse.Namespace) -> tuple[Any, PODProcessor, Any]:
    """Model, processor and split."""
    set_seed(0)
    name = "amazon-2014/beauty" if options.data_dir else "embedded"
    corpus = load_corpus(name, data_dir=options.data_dir)
    split = corpus.split()
    indexing = load_indexing("random").fit(split.train, seed=0)
    tokenizer = train_tokenizer(["item user _"] * 99, 500)
    processor = PODProcessor(tokenizer, indexing, [load_task("sequential"), load_task("topn")])
    config = T5Config(
        **SHAPES["small"],
        vocab_size=VOCABULARY,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model = build_model(str(Path(folder)), processor, seed=0, num_virtual_tokens=PROMPTS, train_base=True)
        arguments = PODTrainingArguments(
            output_dir=folder,
            max_steps=options.train_steps,
            per_device_train_batch_size=16,
            learning_rate=5e-4,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            use_cpu=True,
            report_to=["none"],
        )
        samples = TrainingSamples(split.train, processor, seed=0)
        PODTrainer(model, arguments, processor=processor, train_dataset=samples).train()
    return model.eval(), processor, split


def measure(
    task: str, samples: Sequence[Any], model: Any, processor: PODProcessor, trie: ItemTrie, report: dict[str, Any]
) -> dict[str, Any]:
    """Time all sides on the batches of a task, in turn, and compare what they find."""
    fast = {"fp32": ItemSearch(model, trie, method="fast")}
    fast["bf16"] = ItemSearch(model, trie, method="fast", precision="bfloat16")
    encoder = {"fp32": T5Inference(model), "bf16": T5Inference(model, torch.bfloat16)}
    seconds: dict[str, list[float]] = {}
    same = recalled = 0
    difference = 0.0
    listed = samples[0].candidates is not None
    batches = list(batched(task, samples, processor))
    for number, (batch, rows) in enumerate([batches[0], *batches]):
        only = [row.candidates for row in rows] if listed else None
        calls: dict[str, Callable[[], Any]] = {"generate": partial(by_generate, model, batch, trie, only)}
        for name in fast:
            calls[name] = partial(fast[name], batch, k=TOP, num_beams=BEAMS, only=only)
            calls[f"encoder {name}"] = partial(encoder[name].encode, batch)
        found = {}
        for name, call in calls.items():
            began = time.perf_counter()
            with torch.no_grad():
                found[name] = call()
            if number:
                seconds.setdefault(name, []).append((time.perf_counter() - began) / len(rows))
        if number:
            (items, scores), ours = found["generate"], found["fp32"]
            equal = (items == ours.items).all(1)
            same += int(equal.sum())
            difference = max(difference, float((scores - ours.scores)[equal].abs().max()) if equal.any() else 0.0)
            rounded = found["bf16"].items
            recalled += int((ours.items[:, :, None] == rounded[:, None]).any(2).sum())
            print(
                f"{task} {number} of {len(batches)}: {seconds['generate'][-1] / seconds['fp32'][-1]:.1f}",
                file=sys.stderr,
            )
    middle = {name: median(values) for name, values in seconds.items()}
    report[task] = {name: round(middle["generate"] / middle[name], 2) for name in fast}
    report["identical"][task] = {
        "users": len(samples),
        "same_top_10": same,
        "largest_score_difference": difference,
        "bf16_recall": round(recalled / (TOP * len(samples)), 4),
    }
    report["users_per_second"][task] = {name: round(1 / value, 1) for name, value in middle.items()}
    report["floor"][task] = {name: round(middle[f"encoder {name}"] / middle[name], 2) for name in fast}
    return report


def batched(task: str, samples: Sequence[Any], processor: PODProcessor) -> Any:
    """Batches of similar length, and their samples."""
    encoded = sorted(
        ((processor(sample, task), sample) for sample in samples), key=lambda pair: len(pair[0]["input_ids"])
    )
    collate = PODCollator(processor.tokenizer.pad_token_id)
    size = USERS_A_BATCH[task]
    for start in range(0, len(encoded), size):
        part = encoded[start : start + size]
        features = [{name: value for name, value in pair[0].items() if name != "labels"} for pair in part]
        yield collate(features), [pair[1] for pair in part]


def by_generate(
    model: Any, batch: dict[str, torch.Tensor], trie: ItemTrie, only: list[Any] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a user of transformers would write: a dictionary of prefixes, looked up for each beam."""
    eos = trie.eos_token_id
    tables = [_prefixes(trie, items) for items in only] if only else [_prefixes(trie, None)]

    def allowed(row: int, written: torch.Tensor) -> list[int]:
        return tables[row if only else 0].get(tuple(written.tolist()[1:]), [eos])

    output = model.generate(
        **batch,
        num_beams=BEAMS,
        num_return_sequences=TOP,
        max_length=trie.max_depth + 1,
        do_sample=False,
        length_penalty=0.0,
        early_stopping="never",
        prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True,
        output_scores=True,
    )
    items = trie.item(trie.walk(output.sequences[:, 1:]))
    return items.view(-1, TOP), output.sequences_scores.view(-1, TOP)


_TABLES: dict[int, dict[tuple[int, ...], list[int]]] = {}


def _prefixes(trie: ItemTrie, items: Sequence[int] | None) -> dict[tuple[int, ...], list[int]]:
    if items is None and id(trie) in _TABLES:
        return _TABLES[id(trie)]
    table: dict[tuple[int, ...], set[int]] = {}
    for item in range(trie.num_items) if items is None else items:
        node, path = int(trie.leaf_nodes[trie.item_leaf[item]]), []
        while node:
            path.append(int(trie.tokens[node]))
            node = int(trie.parents[node])
        path = path[::-1]
        for length, token in enumerate(path):
            table.setdefault(tuple(path[:length]), set()).add(token)
    made = {prefix: sorted(tokens) for prefix, tokens in table.items()}
    if items is None:
        _TABLES[id(trie)] = made
    return made


if __name__ == "__main__":
    main()
