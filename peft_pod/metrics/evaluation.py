"""How well a baseline ranks the held-out items of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from peft_pod.corpus.split import IntArray, LeaveOneOut, Part

from .baselines import Baseline
from .ranking import DEFAULT_KS, check_ks, ranking_scores
from .report import FULL, Protocol, TaskResult


def evaluate_baseline(
    baseline: Baseline,
    split: LeaveOneOut,
    part: Part = "test",
    *,
    users: Sequence[int] | IntArray | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[IntArray] | None = None,
    candidate_set: str = FULL,
    ks: Sequence[int] = DEFAULT_KS,
    details: Mapping[str, str | int | float | bool] | None = None,
) -> TaskResult:
    """Rank the held-out item of each user by a fitted baseline.

    A user's history is all that is known when the part is predicted: for `"test"` the validation item belongs to it.
    With `exclude_seen` a held-out item that the user already had counts as a miss.

    Args:
        baseline: fitted on `split.train`.
        split: the split corpus.
        part: `"validation"` or `"test"`.
        users: the users to evaluate; all with a held-out item where it is not given.
        exclude_seen: whether the items of the history are left out of the ranking.
        candidates: for each user the items to rank, the held-out one among them; the whole catalogue where not given.
        candidate_set: what the candidates are called in the protocol, such as `"candidates-100"`.
        ks: the cut-offs.
        details: more for the protocol, such as the seed of the candidates.

    Raises:
        ValueError: no user has a held-out item; a user named has none, does not exist or is named twice; there is not
            one list of candidates for each user, or a held-out item is not in its own; candidates are given and called
            `"full"`, or the other way round; or a cut-off is not a positive integer.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.metrics import load_baseline
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> result = evaluate_baseline(load_baseline("popularity").fit(split.train), split)
        >>> sorted(result.metrics)[:3], result.protocol.num_users
        (['hr@1', 'hr@10', 'hr@5'], 50)
    """
    check_ks(ks)
    evaluated = split.evaluated_users(part) if users is None else np.asarray(users, dtype=np.int64)
    if len(evaluated) == 0:
        raise ValueError(f"no user has a held-out item in {part!r}; there is nothing to evaluate")
    if (candidates is None) != (candidate_set == FULL):
        given = "not given" if candidates is None else "given"
        raise ValueError(f"candidate_set is {candidate_set!r} and candidates are {given}; {FULL!r} means no candidates")
    _check_users(evaluated, split.train.num_users)
    targets = np.array([split.target(int(user), part) for user in evaluated])
    if (targets < 0).any():
        user = int(evaluated[np.flatnonzero(targets < 0)[0]])
        raise ValueError(f"user {user} has no held-out item in {part!r}; leave the user out")
    if candidates is not None:
        if len(candidates) != len(evaluated):
            raise ValueError(f"candidates has {len(candidates)} entries for {len(evaluated)} users; give one for each")
        for user, target, allowed in zip(evaluated, targets, candidates, strict=True):
            if target not in allowed:
                raise ValueError(f"the held-out item {target} of user {user} is not among the user's candidates")

    histories = [split.history(int(user), part) for user in evaluated]
    ranked = baseline.recommend(histories, max(ks), users=evaluated, exclude_seen=exclude_seen, candidates=candidates)
    ranks = np.array([_rank(items, target) for items, target in zip(ranked, targets, strict=True)])
    as_listed = candidates is not None and not exclude_seen
    protocol = Protocol(part, len(evaluated), candidate_set, None if as_listed else exclude_seen, details=details or {})
    return TaskResult(protocol, ranking_scores(ranks, ks))


def _check_users(users: IntArray, num_users: int) -> None:
    wrong = users[(users < 0) | (users >= num_users)]
    if len(wrong):
        raise ValueError(f"users names {wrong[0]}; positions in this corpus run from 0 to {num_users - 1}")
    distinct, counts = np.unique(users, return_counts=True)
    if len(distinct) != len(users):
        raise ValueError(f"users names {distinct[counts > 1][0]} more than once; each user counts once")


def _rank(items: IntArray, target: int) -> int:
    places = np.flatnonzero(items == target)
    return int(places[0]) + 1 if len(places) else 0
