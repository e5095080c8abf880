"""Training interactions that are later than what is to be predicted.

Under a split by the clock there must be none. Leave-one-out has them by design: one user's last item may be older than
most of what others did. That is no error, but it makes numbers better than they would be in use.
"""

from __future__ import annotations

import numpy as np

from peft_pod.corpus.ragged import IntArray
from peft_pod.metrics.baselines.selection import tie_order

from .case import HELD_OUT, Case, worth
from .finding import Finding

MOST_USERS = 2000
"""Users, drawn from the seed, by whom the worth is measured: each needs a look at the whole catalogue."""


def check_time_travel(case: Case) -> list[Finding]:
    """A finding where the training part reaches beyond a held-out interaction; a leak under a temporal claim."""
    train_times = case.split.train.timestamps.values
    held_out = np.concatenate([case.times.values[case.places(part)] for part in HELD_OUT])
    late = int((train_times > held_out.min()).sum())
    if late == 0:
        return []
    later, earlier, users = _popularity(case)
    test_times = case.times.values[case.places("test")]
    overtaken = float((test_times < train_times.max()).mean())
    measured = f" Measured on {users:,} users." if users < len(case.users) else ""
    return [
        Finding(
            name="time travel" if case.temporal else "later training data under leave-one-out",
            count=late,
            metrics=later,
            description=(
                f"So many of {len(train_times):,} training interactions are later than a held-out one; {overtaken:.1%} "
                "of the test items have later training interactions. The rule recommends what is most frequent in "
                f"training after the test item's time; what is most frequent before it has HR@10 "
                f"{earlier['HR@10']:.4f} and NDCG@10 {earlier['NDCG@10']:.4f}.{measured}"
            ),
            fix=(
                "Move the cut before the earliest held-out interaction, or the late interactions out of training."
                if case.temporal
                else "Report a temporal split beside it: corpus.split('temporal', validation_fraction=…, "
                "test_fraction=…)."
            ),
            severity="leak" if case.temporal else "remark",
        )
    ]


def _popularity(case: Case) -> tuple[dict[str, float], dict[str, float], int]:
    """Worth of the counts after and before each test item's time, and by how many users it was measured."""
    rows = np.arange(len(case.users))
    if len(rows) > MOST_USERS:
        rows = np.sort(np.random.default_rng(case.seed).choice(rows, MOST_USERS, replace=False))
    times, targets = case.times.values[case.places("test")][rows], case.targets[rows]
    train = case.split.train
    by_time = np.argsort(train.timestamps.values, kind="stable")
    items, train_times = train.sequences.values[by_time], train.timestamps.values[by_time]
    until = np.searchsorted(train_times, times, side="right")
    tie_place = np.argsort(tie_order(train))
    ranks = {"later": np.zeros(len(rows), np.int64), "earlier": np.zeros(len(rows), np.int64)}
    before = np.zeros(case.num_items, dtype=np.int64)
    done = 0
    for row in np.argsort(until, kind="stable").tolist():
        before += np.bincount(items[done : until[row]], minlength=case.num_items)
        done = until[row]
        ranks["earlier"][row] = _rank(before, int(targets[row]), tie_place)
        ranks["later"][row] = _rank(train.item_counts - before, int(targets[row]), tie_place)
    return worth(ranks["later"]), worth(ranks["earlier"]), len(rows)


def _rank(counts: IntArray, target: int, tie_place: IntArray) -> int:
    count = counts[target]
    if count == 0:
        return 0
    return 1 + int((counts > count).sum() + ((counts == count) & (tie_place < tie_place[target])).sum())
