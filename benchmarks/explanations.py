"""Explanation sentences of a corpus of reviews: how many there are, how long it takes, and some of them to read.

Run `python -m benchmarks.explanations amazon-2018 DIR --category All_Beauty --show 10`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from peft_pod.corpus import load_corpus


def main() -> None:
    """Choose sentences, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("format", help="a name that load_corpus knows")
    parser.add_argument("data_dir", help="the folder with the reviews")
    parser.add_argument("--category", help="which file, where the folder has several")
    parser.add_argument("--show", type=int, default=0, help="how many sentences to print, drawn from --seed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    options = {"category": arguments.category} if arguments.category else {}
    corpus = load_corpus(arguments.format, arguments.data_dir, **options)
    started = time.process_time()
    explained = corpus.with_explanations()
    seconds = time.process_time() - started
    step, sentences = explained.steps[-1], explained.explanations
    if sentences is None:
        raise ValueError(f"corpus {corpus.name!r} has no explanations")
    print(step)
    drawn = np.random.default_rng(arguments.seed).choice(len(sentences), min(arguments.show, len(sentences)), False)
    for row in sentences.select(np.sort(drawn)):
        print(f"{row['feature']:>15}  {row['explanation']}")
    report = {
        "corpus": corpus.name,
        "interactions": len(corpus.interactions),
        "sentences": len(sentences),
        "share": round(len(sentences) / len(corpus.interactions), 3),
        "reviews_per_cpu_second": round(step.counts["reviews"] / seconds),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
