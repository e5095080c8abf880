"""The best that can be done on the embedded corpus, and baselines to compare with, written apart from the package.

`python -m tests.corpus.series_oracle` prints the table of `docs/corpus.md`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from peft_pod.corpus import Corpus, LeaveOneOut, load_corpus

Ranker = Callable[[np.ndarray], np.ndarray]
"""From a history to all items, best first; items of the history may be among them."""


def volumes(titles: list[str]) -> dict[int, tuple[str, int]]:
    """For each item of a series, by its position: name of the series and number of the volume."""
    matches = {item: re.fullmatch(r"(.*), Vol\. (\d+)", title) for item, title in enumerate(titles)}
    return {item: (match[1], int(match[2])) for item, match in matches.items() if match}


class SeriesOracle:
    """Knows how readers go on (`docs/corpus.md`), and sees nothing but the history and what is popular in training."""

    def __init__(self, corpus: Corpus, split: LeaveOneOut, in_hand: int = 4) -> None:
        self.volume_of = volumes(list(split.train.item_titles))
        self.series: dict[str, dict[int, int]] = {}
        for item, (name, number) in self.volume_of.items():
            self.series.setdefault(name, {})[number] = item
        self.genre = [text.split()[1] for text in corpus.items["text"]]
        self.counts = split.train.item_counts
        self.in_hand = in_hand

    def __call__(self, history: np.ndarray) -> np.ndarray:
        read: dict[str, int] = {}
        touched: dict[str, int] = {}
        genres: Counter[str] = Counter()
        for position, item in enumerate(history.tolist()):
            if item in self.volume_of:
                name, number = self.volume_of[item]
                read[name], touched[name] = number, position
                genres[self.genre[item]] += number == 1
        in_hand = sorted((name for name in read if read[name] < len(self.series[name])), key=touched.__getitem__)
        next_volumes = [self.series[name][read[name] + 1] for name in in_hand]
        first_volumes = [volumes[1] for name, volumes in self.series.items() if name not in read]
        first_volumes.sort(key=lambda item: -self.counts[item] * (genres[self.genre[item]] + 0.1))
        if len(in_hand) < self.in_hand:
            return np.array(first_volumes[: 10 - len(next_volumes)] + next_volumes)
        return np.array(next_volumes + first_volumes)


def by_score(score: Callable[[np.ndarray], np.ndarray]) -> Ranker:
    """Rank by falling score; what has the same score keeps the order of the catalogue."""
    return lambda history: np.argsort(-score(history), kind="stable")


def popularity(split: LeaveOneOut) -> Ranker:
    counts = split.train.item_counts.astype(float)
    return by_score(lambda history: counts)


def co_occurrence(split: LeaveOneOut, window: int = 3, last: int = 5) -> Ranker:
    """Items taken d ≤ `window` steps apart count 1 / d; the last items of the history weigh 1, 1/2, 1/4, …"""
    counts = sum(transitions(split, lag) / lag for lag in range(1, window + 1))
    similarity = (counts + counts.T) / (np.sqrt(split.train.item_counts) + 1)

    def score(history: np.ndarray) -> np.ndarray:
        recent = history[::-1][:last]
        return (0.5 ** np.arange(len(recent)))[:, None].T @ similarity[recent]

    return by_score(lambda history: score(history).ravel())


def follows(split: LeaveOneOut, lag: int) -> Ranker:
    """What followed the item `lag` steps back, `lag` steps later; popularity where nothing did."""
    counts = transitions(split, lag) + split.train.item_counts / (split.train.item_counts.sum() + 1)
    return by_score(lambda history: counts[history[-lag]])


def transitions(split: LeaveOneOut, lag: int) -> np.ndarray:
    """How often one item stands `lag` steps before another in the training part; shape `(items, items)`."""
    counts = np.zeros((split.train.num_items, split.train.num_items))
    for sequence in split.train.sequences:
        np.add.at(counts, (sequence[:-lag], sequence[lag:]), 1)
    return counts


def ranks(split: LeaveOneOut, ranker: Ranker) -> np.ndarray:
    """Rank of the test item of each user, from 1, with the history taken out; infinite where it is not ranked."""
    found = []
    for user in split.evaluated_users("test"):
        history = split.history(user, "test")
        ranking = ranker(history)
        ranking = ranking[~np.isin(ranking, history)]
        hits = np.flatnonzero(ranking == split.target(user, "test"))
        found.append(hits[0] + 1 if len(hits) else np.inf)
    return np.array(found)


def hit_rate(ranks: np.ndarray, k: int) -> float:
    return float(np.mean(ranks <= k))


def ndcg(ranks: np.ndarray, k: int) -> float:
    return float(np.mean(np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)))


def random_hit_rate(split: LeaveOneOut, k: int) -> float:
    """Expected hit rate of a random order of the items that are not in the history."""
    left = [split.train.num_items - len(set(split.history(user, "test"))) for user in split.evaluated_users("test")]
    return float(np.mean([k / number for number in left]))


def random_ndcg(split: LeaveOneOut, k: int) -> float:
    """Expected NDCG of the same."""
    return random_hit_rate(split, 1) * float(sum(1 / np.log2(rank + 1) for rank in range(1, k + 1)))


def main() -> None:
    """Print the table of baselines."""
    corpus = load_corpus("embedded")
    split = corpus.split()
    rankers = {
        "popularity": popularity(split),
        "co-occurrence within 3 steps": co_occurrence(split),
        "co-occurrence within 6 steps": co_occurrence(split, window=6),
        "what followed the last item": follows(split, 1),
        "what came 4 steps after the item 4 steps back": follows(split, 4),
        "oracle": SeriesOracle(corpus, split),
    }
    print(f"fingerprint {corpus.fingerprint}")
    print("| | HR@1 | HR@10 | NDCG@10 |\n|---|---|---|---|")
    print(f"| random (expected) | {random_hit_rate(split, 1):.3f} | {random_hit_rate(split, 10):.3f} ", end="")
    print(f"| {random_ndcg(split, 10):.3f} |")
    for name, ranker in rankers.items():
        found = ranks(split, ranker)
        print(f"| {name} | {hit_rate(found, 1):.3f} | {hit_rate(found, 10):.3f} | {ndcg(found, 10):.3f} |")


if __name__ == "__main__":
    main()
