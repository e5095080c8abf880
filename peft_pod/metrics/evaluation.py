"""How well a baseline ranks the held-out items of a split, and the result that ranked lists give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, Part, Split

from .baselines import Baseline
from .bootstrap import Bootstrap
from .list_statistics import list_statistics
from .protocol import FULL, Protocol
from .ranking import DEFAULT_KS, DEFAULT_METRICS, check_ks, check_metrics, user_scores
from .report import TaskResult
from .user_ranks import UserRanks

DEFAULT_BOOTSTRAP = Bootstrap()
"""95 % intervals from 1000 resamples."""


def evaluate_baseline(
    baseline: Baseline,
    split: Split,
    part: Part = "test",
    *,
    users: Sequence[int] | IntArray | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[IntArray] | None = None,
    candidate_set: str = FULL,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
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
        metrics: names of ranking metrics, see `peft_pod.metrics.ranking_scores`.
        bootstrap: how confidence intervals are made; `None` for none.
        details: more for the protocol, such as the seed of the candidates.

    Returns:
        Metrics with their intervals, statistics of the lists (see `list_statistics`) where the whole catalogue is
        ranked, and the rank of each user's item, known as far as `ranked_depth` says.

    Raises:
        ValueError: no user has a held-out item; a user named has none, does not exist or is named twice; there is not
            one list of candidates for each user, or a held-out item is not in its own; candidates are given and called
            `"full"`, or the other way round; a cut-off is not a positive integer, or a metric is unknown.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.metrics import load_baseline
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> result = evaluate_baseline(load_baseline("popularity").fit(split.train), split)
        >>> sorted(result.metrics)[:3], result.protocol.num_users
        (['hr@1', 'hr@10', 'hr@5'], 50)
    """
    check_ks(ks)
    check_metrics(metrics)
    evaluated = split.evaluated_users(part) if users is None else np.asarray(users, dtype=np.int64)
    if len(evaluated) == 0:
        raise ValueError(
            f"no user has a held-out item in {part!r}, so there is nothing to evaluate: {split.why_nobody(part)}"
        )
    if (candidates is None) != (candidate_set == FULL):
        given = "not given" if candidates is None else "given"
        raise ValueError(f"candidate_set is {candidate_set!r} and candidates are {given}; {FULL!r} means no candidates")
    _check_users(evaluated, split.train.num_users)
    targets = split.targets(part)[evaluated]
    if (targets < 0).any():
        user = int(evaluated[np.flatnonzero(targets < 0)[0]])
        raise ValueError(f"user {user} has no held-out item in {part!r}; leave the user out")
    if candidates is not None:
        candidates = Ragged.of(candidates)
        _check_candidates(candidates, evaluated, targets)

    histories = split.histories(part).take(evaluated)
    depth = ranked_depth(ks)
    ranked = baseline.recommend(histories, depth, users=evaluated, exclude_seen=exclude_seen, candidates=candidates)
    as_listed = candidates is not None and not exclude_seen
    protocol = Protocol(
        part,
        len(evaluated),
        candidate_set,
        None if as_listed else exclude_seen,
        split=split.name,
        fingerprint=split.fingerprint,
        details=details or {},
    )
    lists = padded(ranked, depth)
    return result_of_lists(lists, targets, evaluated, split, protocol, ks=ks, metrics=metrics, bootstrap=bootstrap)


def ranked_depth(ks: Sequence[int]) -> int:
    """How long lists are made: as long as the largest cut-off, and never shorter than by default.

    So the ranks that are kept, and the beams of a search, do not depend on which of the usual cut-offs are shown.

    Example:
        >>> ranked_depth([3]), ranked_depth([5, 20])
        (10, 20)
    """
    return max(*ks, *DEFAULT_KS)


def result_of_lists(
    lists: IntArray,
    targets: IntArray,
    users: IntArray,
    split: Split,
    protocol: Protocol,
    *,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
) -> TaskResult:
    """The result that ranked lists give, whoever made them.

    Args:
        lists: for each user the positions of distinct items, best first, −1 beyond the last; shape `(num_users,
            depth)`, the depth at least the largest cut-off.
        targets: for each user the held-out item.
        users: position of each user.
        split: the split corpus.
        protocol: how the lists were made.
        ks: the cut-offs.
        metrics: names of ranking metrics.
        bootstrap: how confidence intervals are made; `None` for none.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> lists, targets = np.array([[4, 7], [5, 6]]), np.array([7, 9])
        >>> result_of_lists(lists, targets, np.array([0, 1]), split, Protocol("test", 2), ks=[2]).metrics["hr@2"]
        0.5
    """
    hits = lists == targets[:, None]
    ranks = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    by_user = user_scores(ranks, ks, metrics)
    return TaskResult(
        protocol,
        {name: float(values.mean()) for name, values in by_user.items()},
        intervals={} if bootstrap is None else bootstrap.intervals(by_user),
        bootstrap=bootstrap,
        statistics=list_statistics(lists, split.train.item_counts, ks) if protocol.candidates == FULL else {},
        ranks=UserRanks([split.train.user_ids[user] for user in users.tolist()], ranks),
    )


def padded(lists: Sequence[IntArray], depth: int) -> IntArray:
    """Lists of different lengths as one array, −1 beyond the last item of each.

    Example:
        >>> padded([np.array([3, 4]), np.array([5])], depth=2).tolist()
        [[3, 4], [5, -1]]
    """
    rows = Ragged.of(lists)
    table = np.full((len(rows), depth), -1, dtype=np.int64)
    table[rows.owners, rows.places] = rows.values
    return table


def _check_users(users: IntArray, num_users: int) -> None:
    wrong = users[(users < 0) | (users >= num_users)]
    if len(wrong):
        raise ValueError(f"users names {wrong[0]}; positions in this corpus run from 0 to {num_users - 1}")
    distinct, counts = np.unique(users, return_counts=True)
    if len(distinct) != len(users):
        raise ValueError(f"users names {distinct[counts > 1][0]} more than once; each user counts once")


def _check_candidates(candidates: Ragged, users: IntArray, targets: IntArray) -> None:
    if len(candidates) != len(users):
        raise ValueError(f"candidates has {len(candidates)} entries for {len(users)} users; give one for each")
    found = np.bincount(candidates.owners, candidates.values == targets[candidates.owners], minlength=len(users))
    if not found.all():
        row = int(np.flatnonzero(found == 0)[0])
        raise ValueError(f"the held-out item {targets[row]} of user {users[row]} is not among the user's candidates")
