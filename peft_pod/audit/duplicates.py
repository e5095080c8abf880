"""Held-out interactions that stand in the user's history too.

The same interaction twice (same time, or same review) is an error of the data: what is asked for was shown. The same
item at another time is what people do with soap; but whether histories are excluded from rankings then decides whether
it can be hit at all, and copying the history is worth something.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from peft_pod.corpus.parts import Part
from peft_pod.corpus.ragged import IntArray
from peft_pod.corpus.schema import arrow_column

from .case import HELD_OUT, BoolArray, Case
from .finding import Finding


def check_duplicates(case: Case) -> list[Finding]:
    """Findings of held-out interactions that are repeated, and of held-out items that are, in what is known."""
    counts = np.zeros(2, dtype=np.int64)
    for part in HELD_OUT:
        repeated, identical = _repeats(case, part)
        counts += int(identical.sum()), int((repeated & ~identical).sum())
    if not counts.any():
        return []
    metrics = case.worth(_ranks_in_reversed_history(case))
    rule = "The rule recommends the user's own history, the last item first."
    findings = []
    if counts[0]:
        findings.append(
            Finding(
                name="duplicate interactions across the split",
                count=int(counts[0]),
                metrics=metrics,
                description=(
                    "So many held-out interactions stand in the history they are predicted from: the same user, item "
                    f"and time or review. {rule}"
                ),
                fix="Keep one interaction of each user and item before the split: corpus.deduplicate('first').",
            )
        )
    if counts[1]:
        findings.append(
            Finding(
                name="held-out items taken before",
                count=int(counts[1]),
                metrics=metrics,
                description=(
                    "So many held-out items were taken by their user before, at another time. They can only be hit "
                    f"where histories are not excluded from rankings. {rule}"
                ),
                fix="Say whether histories are excluded; or keep one interaction each: corpus.deduplicate('first').",
                severity="flaw",
            )
        )
    return findings


def _repeats(case: Case, part: Part) -> tuple[BoolArray, BoolArray]:
    """For each evaluated user, whether the held-out item is in the history, and whether that interaction is."""
    users = case.split.evaluated_users(part)
    repeated, identical = np.zeros(len(users), dtype=bool), np.zeros(len(users), dtype=bool)
    walk = case.walk
    target_of = np.full(len(walk), -1)
    target_of[users] = case.split.targets(part)[users]
    known = case.split.histories(part).lengths
    owners = walk.owners
    at = np.flatnonzero((walk.values == target_of[owners]) & (walk.places < known[owners]))
    if len(at) == 0:
        return repeated, identical
    row = np.searchsorted(users, owners[at])
    held_out = case.places(part)[row]
    same = np.zeros(len(at), dtype=bool)
    if not case.times_are_places:
        same |= case.times.values[at] == case.times.values[held_out]
    reviews = _review_codes(case)
    if reviews is not None:
        same |= (reviews[at] >= 0) & (reviews[at] == reviews[held_out])
    repeated[row] = True
    identical[row[same]] = True
    return repeated, identical


def _review_codes(case: Case) -> IntArray | None:
    """A number for each different review text, −1 where there is none; aligned with `case.walk`."""
    if "review" not in case.corpus.interactions.column_names:
        return None
    column = pc.utf8_trim_whitespace(arrow_column(case.corpus.interactions, "review"))
    codes = pc.if_else(pc.equal(column, ""), None, column).dictionary_encode().combine_chunks().indices
    return case.encoded.by_user(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)).values


def _ranks_in_reversed_history(case: Case) -> IntArray:
    ranks = np.zeros(len(case.users), dtype=np.int64)
    at = np.flatnonzero(case.histories.values == case.targets[case.histories.owners])
    for row in np.unique(case.histories.owners[at]).tolist():
        latest_first = case.histories[row][::-1]
        after = latest_first[: np.flatnonzero(latest_first == case.targets[row])[0]]
        ranks[row] = len(np.unique(after)) + 1
    return ranks
