"""Hit rates of a report's model and baselines, by popularity of the held-out item and by length of the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from peft_pod.corpus import Part, Split
from peft_pod.corpus.split import IntArray

from .report import MODEL, Report, TaskResult
from .user_groups import by_history, by_popularity
from .user_ranks import UserRanks

DEFAULT_K = 10


def grouped_hit_rates(report: Report, split: Split, k: int | None = None) -> dict[str, Any]:
    """Hit rates at k of each task that ranks items, for the model and the baselines that answered the same question.

    Args:
        report: with ranks, see `Report.load`.
        split: that was evaluated.
        k: the rank up to which an item counts as found; by default 10, or the report's largest cut-off below that.

    Returns:
        For each task `k`, the `protocol` in words, and the groups `by_popularity` and `by_history` (see `UserGroup`).
        Empty where the report has no ranks.

    Raises:
        ValueError: the report is of another split, or its ranks don't go as far as k.
    """
    found = {}
    for task, result in report.tasks.items():
        if result.ranks is None:
            continue
        protocol = result.protocol
        if protocol.fingerprint not in (None, split.fingerprint):
            raise ValueError(
                f"the report of the task {task!r} was made on a split with the fingerprint {protocol.fingerprint}, "
                f"and this one has {split.fingerprint}: evaluate the run again"
            )
        users, own_k = _positions(result.ranks, split), _cutoff(result, k, task)
        targets = split.targets(cast(Part, report.part))[users]
        ranks = _ranks(task, result, report)
        lengths = split.histories(cast(Part, report.part)).take(users).lengths
        found[task] = {
            "k": own_k,
            "protocol": str(protocol),
            "by_popularity": [
                group.to_dict() for group in by_popularity(split.train.item_counts, targets, ranks, own_k)
            ],
            "by_history": [group.to_dict() for group in by_history(lengths, ranks, own_k)],
        }
    return found


def _ranks(task: str, result: TaskResult, report: Report) -> dict[str, UserRanks]:
    rows: Mapping[str, TaskResult] = {MODEL: result, **report.baselines.get(task, {})}
    return {
        name: row.ranks
        for name, row in rows.items()
        if row.ranks is not None and row.protocol.comparable_to(result.protocol)
    }


def _positions(ranks: UserRanks, split: Split) -> IntArray:
    known = {user: position for position, user in enumerate(split.train.user_ids)}
    unknown = [user for user in ranks.user_ids if user not in known]
    if unknown:
        raise ValueError(f"the ranks name {len(unknown)} users that the corpus lacks, such as {unknown[0]!r}")
    return np.array([known[user] for user in ranks.user_ids], dtype=np.int64)


def _cutoff(result: TaskResult, k: int | None, task: str) -> int:
    # Lists were as long as the largest cut-off, so nothing is known of what came after it.
    depth = max(int(name.partition("@")[2]) for name in result.metrics)
    if k is None:
        return min(DEFAULT_K, depth)
    if not 1 <= k <= depth:
        raise ValueError(
            f"k is {k}, and the report of the task {task!r} knows ranks from 1 to {depth}: choose one of these, or "
            f"evaluate the run with --ks {k} and name the report that this writes"
        )
    return k
