"""Whether one run is better than another, or only luckier: paired tests over the users that both evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bootstrap import Bootstrap
from .evaluation import DEFAULT_BOOTSTRAP
from .protocol import Protocol
from .ranking import user_scores
from .report import Report, TaskResult

DEFAULT_PERMUTATIONS = 10_000
"""Smallest p-value that so many permutations can give: 1 / 10,001."""

_CELLS_AT_ONCE = 4_000_000
"""Counts held in memory at a time: a chunk of permutations times the different values that differences have."""

_ROUNDING = 1e-9
"""Relative difference below which two sums of the same numbers are equal."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How much better the first of two results is on one metric, over the same users.

    Attributes:
        first: mean of the first.
        second: mean of the second.
        difference: first − second.
        low: lower end of the confidence interval of the difference.
        high: upper end.
        p_value: how often a difference at least as large, either way, would come about if there were none.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """Two results on one task, compared user by user.

    Attributes:
        protocol: of the first; `num_users` is the number of users that were compared.
        differences: by metric.
        bootstrap: how the intervals were made.
        permutations: of each test.
    """

    protocol: Protocol
    differences: Mapping[str, Difference]
    bootstrap: Bootstrap
    permutations: int

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return {
            "protocol": self.protocol.to_dict(),
            "differences": {name: asdict(difference) for name, difference in self.differences.items()},
            "bootstrap": self.bootstrap.to_dict(),
            "permutations": self.permutations,
        }


def compare_runs(
    first: Report,
    second: Report,
    *,
    tasks: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    permutations: int = DEFAULT_PERMUTATIONS,
) -> dict[str, Comparison]:
    """Compare the models of two reports on each task that ranks items and that both have.

    Args:
        first: a report with ranks, see `Report.load`.
        second: another.
        tasks: names of tasks to compare; all that have ranks in both where left out.
        bootstrap: see `compare_results`.
        permutations: likewise.

    Returns:
        The comparison of each task.

    Raises:
        ValueError: the reports are of different corpora, no task or not every task named has ranks in both, or
            `compare_results` refuses one of them; the message has its name.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.metrics import evaluate_baseline, load_baseline
        >>> corpus = load_corpus("embedded", num_users=50)
        >>> split, about = corpus.split(), {"name": corpus.name, "fingerprint": corpus.fingerprint}
        >>> reports = [
        ...     Report(about, "test", {"sequential": evaluate_baseline(load_baseline(name).fit(split.train), split)})
        ...     for name in ("popularity", "random")
        ... ]
        >>> sorted(compare_runs(*reports)["sequential"].differences)[:2]
        ['hr@1', 'hr@10']
    """
    prints = [report.corpus.get("fingerprint") for report in (first, second)]
    if prints[0] != prints[1]:
        raise ValueError(
            f"the reports are of different corpora, with the fingerprints {prints[0]} and {prints[1]}; evaluate both "
            "runs on the same data"
        )
    ranked = [
        task for task, result in first.tasks.items() if result.ranks is not None and _has_ranks(second.tasks.get(task))
    ]
    missing = [task for task in tasks or () if task not in ranked]
    if missing:
        raise ValueError(f"the tasks {missing} don't have ranks in both reports; those that have are {ranked}")
    if not ranked:
        raise ValueError(
            "no task has ranks in both reports: load them with `Report.load(path, ranks=...)`; evaluate again what "
            "an earlier version evaluated"
        )
    comparisons = {}
    for task in ranked if tasks is None else tasks:
        try:
            comparisons[task] = compare_results(
                first.tasks[task], second.tasks[task], bootstrap=bootstrap, permutations=permutations
            )
        except ValueError as error:
            raise ValueError(f"task {task!r}: {error}") from error
    return comparisons


def compare_results(
    first: TaskResult,
    second: TaskResult,
    *,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    permutations: int = DEFAULT_PERMUTATIONS,
) -> Comparison:
    """Compare two results, of models or baselines, over the users that both evaluated.

    With d_u the difference of user u's scores, the interval is a bootstrap over users of the mean of d (see
    `Bootstrap`), and the p-value that of a paired permutation test: were both equally good, each d_u would have either
    sign with the same chance. `p = (1 + #{|Σ_u s_u d_u| ≥ |Σ_u d_u|}) / (1 + permutations)` over random signs s
    (Fisher, 1935; recommended for comparing rankings by Smucker, Allan & Carterette, CIKM 2007; the 1 counts the signs
    that were seen, Phipson & Smyth, 2010). Tests of several metrics are not corrected for their number.

    Args:
        first: a result with ranks.
        second: another.
        bootstrap: of the interval.
        permutations: of the test; the random numbers follow from the bootstrap's seed.

    Returns:
        The differences on the ranking metrics that both have.

    Raises:
        ValueError: a result has no ranks, the protocols ask different questions (they may be of different users), no
            user or no ranking metric is in both, or `permutations` is below 1.

    Example:
        >>> from peft_pod.metrics import Protocol, UserRanks
        >>> users, protocol = [f"u{number}" for number in range(40)], Protocol("test", 40)
        >>> good = TaskResult(protocol, {"hr@1": 0.5}, ranks=UserRanks(users, np.array([1, 0] * 20)))
        >>> poor = TaskResult(protocol, {"hr@1": 0.0}, ranks=UserRanks(users, np.zeros(40, dtype=int)))
        >>> found = compare_results(good, poor).differences["hr@1"]
        >>> found.difference, found.low > 0, found.p_value < 0.001
        (0.5, True, True)
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; at least one is needed, and 10,000 for small p-values")
    asked = first.protocol.differences(second.protocol, ignore=("num_users",))
    if asked:
        words = [f"{name} is {here!r} in the first, {there!r} in the second" for name, (here, there) in asked.items()]
        raise ValueError(f"the results answer different questions and can't be compared: {'; '.join(words)}")
    ranks = _shared_ranks(first, second)
    names = [name for name in first.metrics if name in second.metrics and "@" in name]
    if not names:
        raise ValueError(f"no ranking metric is in both results: {list(first.metrics)} and {list(second.metrics)}")
    scores = [_scores_by_name(side, names) for side in ranks]
    gains = {name: scores[0][name] - scores[1][name] for name in names}
    intervals = bootstrap.intervals(gains)
    differences = {
        name: Difference(
            first=float(scores[0][name].mean()),
            second=float(scores[1][name].mean()),
            difference=float(gains[name].mean()),
            low=intervals[name][0],
            high=intervals[name][1],
            p_value=sign_flip_p_value(gains[name], permutations, bootstrap.seed),
        )
        for name in names
    }
    users = {**first.protocol.to_dict(), "num_users": len(ranks[0])}
    return Comparison(Protocol.from_dict(users), differences, bootstrap, permutations)


def sign_flip_p_value(differences: FloatArray, permutations: int, seed: int = 0) -> float:
    """Two-sided p-value of a paired permutation test, see `compare_results`.

    Only how many differences of each size turn negative matters, so a binomial number is drawn for each size that
    occurs, not a sign for each user.

    Args:
        differences: of each user; shape `(num_users,)`.
        permutations: how many are drawn.
        seed: of the draws.

    Example:
        >>> sign_flip_p_value(np.zeros(5), permutations=100)
        1.0
        >>> sign_flip_p_value(np.ones(30), permutations=999)
        0.001
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    seen = abs(float(differences.sum()))
    rng = np.random.default_rng(seed)
    least = seen - _ROUNDING * float(sizes @ counts)
    chunk = max(1, _CELLS_AT_ONCE // len(sizes))
    as_large = 0
    for start in range(0, permutations, chunk):
        negative = rng.binomial(counts, 0.5, size=(min(chunk, permutations - start), len(sizes)))
        as_large += int((np.abs((counts - 2 * negative) @ sizes) >= least).sum())
    return (1 + as_large) / (1 + permutations)


def format_comparison(comparisons: Mapping[str, Comparison], first: str = "first", second: str = "second") -> str:
    """A table of comparisons, one block a task.

    Args:
        comparisons: of `compare_runs`.
        first: what the first is called.
        second: what the second is called.

    Example:
        >>> comparison = Comparison(
        ...     Protocol("test", 500, "full", True),
        ...     {"hr@10": Difference(0.08, 0.06, 0.02, 0.004, 0.036, 0.012)},
        ...     Bootstrap(),
        ...     10_000,
        ... )
        >>> print(format_comparison({"sequential": comparison}, "new", "old"))
        sequential: test, full catalogue, history excluded, 500 users
                  new     old  new - old     95 % interval       p
        hr@10  0.0800  0.0600    +0.0200  +0.0040, +0.0360  0.0120
    """
    return "\n\n".join(
        "\n".join([f"{task}: {comparison.protocol}", *_grid(comparison, first, second)])
        for task, comparison in comparisons.items()
    )


def _grid(comparison: Comparison, first: str, second: str) -> list[str]:
    interval = f"{100 * comparison.bootstrap.confidence:g} % interval"
    rows = [["", first, second, f"{first} - {second}", interval, "p"]]
    for name, found in comparison.differences.items():
        ends = f"{found.low:+.4f}, {found.high:+.4f}"
        p_value = f"{found.p_value:.4f}"
        rows.append([name, f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}", ends, p_value])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _has_ranks(result: TaskResult | None) -> bool:
    return result is not None and result.ranks is not None


def _shared_ranks(first: TaskResult, second: TaskResult) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ranks of the users that both have, in the same order."""
    if first.ranks is None or second.ranks is None:
        which = "first" if first.ranks is None else "second"
        raise ValueError(f"the {which} result has no ranks of its users; load them with `Report.load(path, ranks=...)`")
    places = {user: place for place, user in enumerate(second.ranks.user_ids)}
    pairs = [(here, places[user]) for here, user in enumerate(first.ranks.user_ids) if user in places]
    if not pairs:
        raise ValueError("no user was evaluated in both results; evaluate both with the same --limit and seed, or all")
    here, there = np.array(pairs).T
    return first.ranks.ranks[here], second.ranks.ranks[there]


def _scores_by_name(ranks: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, FloatArray]:
    scores: dict[str, FloatArray] = {}
    for name in names:
        metric, k = name.split("@")
        scores |= user_scores(ranks, [int(k)], [metric])
    return scores
