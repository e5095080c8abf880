"""Hit rate, NDCG, reciprocal rank, recall and precision of ranked lists.

This file imports nothing of `peft_pod`, so that `evaluate.load("<folder>/ranking.py")` can copy it and load the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt

DEFAULT_KS = (1, 5, 10)
DEFAULT_METRICS = ("hr", "ndcg")

SEVERAL = "several"
"""`config_name` of a metric whose references are lists, of one right item or more."""

_DESCRIPTION = """
Ranked lists with one right item each, or with several. HR@k is the share of users with a right item among the first k;
NDCG@k is the gain, 1 / log2(rank + 1) for each right item at a rank of at most k, over the largest gain there could be;
MRR@k is the mean of 1 / rank of the first right item, where that is at most k; recall@k and precision@k are the number
of right items among the first k over the number of right items, and over k.
"""

_INPUTS = """
Args:
    predictions: for each user the ranked item IDs, best first; strings, lists of any length.
    references: for each user the ID of the right item; lists of IDs with config_name="several".
    ks: the cut-offs (default 1, 5, 10).
    metrics: which of hr, ndcg, mrr, recall, precision (default hr, ndcg).
Returns:
    `hr@k`, `ndcg@k` … for each cut-off, between 0 and 1.
"""

_CITATION = """
@article{jarvelin2002cumulated,
  author  = {J{\\"a}rvelin, Kalervo and Kek{\\"a}l{\\"a}inen, Jaana},
  title   = {Cumulated gain-based evaluation of {IR} techniques},
  journal = {ACM Transactions on Information Systems},
  volume  = {20},
  number  = {4},
  year    = {2002}
}
"""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def ranking_scores(
    ranks: npt.ArrayLike,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    num_right: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Ranking metrics from the ranks of the right items: the means over users of `user_scores`.

    With r the rank of the only right item, for n users: `HR@k = 1/n Σ [r ≤ k]`, `NDCG@k = 1/n Σ [r ≤ k] / log2(r + 1)`
    (Järvelin & Kekäläinen, 2002), `MRR@k = 1/n Σ [r ≤ k] / r` (Voorhees, 1999), `recall@k = HR@k` and
    `precision@k = HR@k / k`. For several right items see `user_scores`.

    Args:
        ranks: for each user the rank of the right item, counted from 1; 0 where it is not in the list; integers of
            shape `(num_users,)`. For several right items of shape `(num_users, most right items)`, with 0 in the places
            that a user with fewer of them leaves.
        ks: the cut-offs.
        metrics: names, of `"hr"`, `"ndcg"`, `"mrr"`, `"recall"`, `"precision"`.
        num_right: for each user how many items are right; needed for, and only for, ranks of two axes.

    Returns:
        `hr@k`, `ndcg@k` … for each cut-off, in the order of `ks` and then of `metrics`.

    Raises:
        ValueError: no ranks, a rank that is negative or no integer, a rank that one user has twice, more ranks than
            right items, a cut-off that is not a positive integer, or an unknown metric.

    Example:
        >>> ranking_scores([1, 3, 0, 7], ks=[5])
        {'hr@5': 0.5, 'ndcg@5': 0.375}
        >>> ranking_scores([[1, 4], [2, 0]], ks=[4], metrics=["recall", "precision", "mrr"], num_right=[2, 1])
        {'recall@4': 1.0, 'precision@4': 0.375, 'mrr@4': 0.75}
    """
    return {name: float(values.mean()) for name, values in user_scores(ranks, ks, metrics, num_right=num_right).items()}


def user_scores(
    ranks: npt.ArrayLike,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    num_right: npt.ArrayLike | None = None,
) -> dict[str, FloatArray]:
    """Ranking metrics of each user by themselves.

    With R the ranks of a user's right items that are in the list and m the number of their right items:
    `HR@k = [min R ≤ k]`, `NDCG@k = Σ_{r ∈ R, r ≤ k} 1 / log2(r + 1) / Σ_{r = 1}^{min(k, m)} 1 / log2(r + 1)`,
    `MRR@k = [min R ≤ k] / min R`, `recall@k = |{r ∈ R: r ≤ k}| / m`, `precision@k = |{r ∈ R: r ≤ k}| / k`.

    Args:
        ranks: see `ranking_scores`, as the other arguments.
        ks: likewise.
        metrics: likewise.
        num_right: likewise.

    Returns:
        For each metric and cut-off an array of shape `(num_users,)`.

    Raises:
        ValueError: see `ranking_scores`.

    Example:
        >>> user_scores([1, 3, 0], ks=[5])["ndcg@5"].tolist()
        [1.0, 0.5, 0.0]
    """
    check_ks(ks)
    check_metrics(metrics)
    table, right = _checked_ranks(np.asarray(ranks), num_right)
    scores: dict[str, FloatArray] = {}
    for k in ks:
        hits = (table > 0) & (table <= k)
        for metric in metrics:
            scores[f"{metric}@{k}"] = _METRICS[metric](table, hits, right, k)
    return scores


def _hit_rate(ranks: IntArray, hits: npt.NDArray[np.bool_], num_right: IntArray, k: int) -> FloatArray:
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def _ndcg(ranks: IntArray, hits: npt.NDArray[np.bool_], num_right: IntArray, k: int) -> FloatArray:
    gains = np.where(hits, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0).sum(axis=1)
    most = int(min(k, num_right.max()))
    ideal = np.cumsum(1.0 / np.log2(np.arange(1, most + 1) + 1.0))
    normalised: FloatArray = gains / ideal[np.minimum(num_right, most) - 1]
    return normalised


def _reciprocal_rank(ranks: IntArray, hits: npt.NDArray[np.bool_], num_right: IntArray, k: int) -> FloatArray:
    first: FloatArray = np.where(hits, 1.0 / np.maximum(ranks, 1), 0.0).max(axis=1)
    return first


def _recall(ranks: IntArray, hits: npt.NDArray[np.bool_], num_right: IntArray, k: int) -> FloatArray:
    found: FloatArray = hits.sum(axis=1) / num_right
    return found


def _precision(ranks: IntArray, hits: npt.NDArray[np.bool_], num_right: IntArray, k: int) -> FloatArray:
    found: FloatArray = hits.sum(axis=1) / k
    return found


_METRICS: dict[str, Callable[[IntArray, npt.NDArray[np.bool_], IntArray, int], FloatArray]] = {
    "hr": _hit_rate,
    "ndcg": _ndcg,
    "mrr": _reciprocal_rank,
    "recall": _recall,
    "precision": _precision,
}


def _checked_ranks(ranks: npt.NDArray[Any], num_right: npt.ArrayLike | None) -> tuple[IntArray, IntArray]:
    if ranks.ndim not in (1, 2) or ranks.size == 0:
        raise ValueError(f"ranks must be a list with one rank for each user and at least one user, not {ranks.shape}")
    if not np.issubdtype(ranks.dtype, np.integer) or ranks.min() < 0:
        raise ValueError("ranks must be integers, counted from 1, with 0 for an item that is not in the list")
    if (ranks.ndim == 2) != (num_right is not None):
        raise ValueError("num_right, the number of each user's right items, goes with ranks of two axes and only those")
    if num_right is None:
        return ranks[:, None], np.ones(len(ranks), dtype=np.int64)
    right = np.asarray(num_right)
    if right.shape != ranks.shape[:1] or not np.issubdtype(right.dtype, np.integer):
        raise ValueError(f"num_right must have an integer for each of {len(ranks)} users, not the shape {right.shape}")
    found = np.sort(ranks, axis=1)
    for what, wrong in (
        ("no right item", right < 1),
        ("more ranks than right items", (ranks > 0).sum(axis=1) > right),
        ("one rank twice", ((found[:, 1:] == found[:, :-1]) & (found[:, 1:] > 0)).any(axis=1)),
    ):
        if wrong.any():
            raise ValueError(f"the user in row {int(np.flatnonzero(wrong)[0])} of ranks has {what}")
    return ranks, right


def check_ks(ks: Sequence[int]) -> None:
    """Refuse cut-offs that are none.

    Raises:
        ValueError: there are none, or one is not a positive integer.

    Example:
        >>> check_ks([1, 10])
    """
    if len(ks) == 0:
        raise ValueError("ks is empty; name at least one cut-off, such as ks=(10,)")
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"ks has {k!r}; a cut-off must be an integer of at least 1")


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse names of ranking metrics that are none.

    Raises:
        ValueError: there are none, or one is unknown.

    Example:
        >>> check_metrics(["hr", "mrr"])
    """
    unknown = [metric for metric in metrics if metric not in _METRICS]
    if len(metrics) == 0 or unknown:
        raise ValueError(f"metrics has {unknown or 'nothing'}; name some of {list(_METRICS)}")


class RankingMetric(evaluate.Metric):
    """Ranking metrics for lists of item IDs, as an `evaluate` metric.

    Accepts what every `evaluate` metric does: `compute(predictions=..., references=...)`, `add_batch` and then
    `compute()`, and several processes (`num_process`, `process_id`, `experiment_id`). The cut-offs and the names of the
    metrics are arguments of `compute`: `compute(..., ks=(1, 5, 10), metrics=("hr", "ndcg"))`. See `ranking_scores` for
    the formulas. With `config_name="several"` a reference is a list of the right items.

    Raises:
        ValueError: there are no rows; the numbers of predictions and references differ; a prediction is not a list of
            strings or names an item twice; a reference is not a string (with `"several"`: not a list of at least one,
            each named once); a cut-off is below 1; a metric is unknown.

    Example:
        >>> metric = RankingMetric(keep_in_memory=True)
        >>> metric.compute(predictions=[["a", "b"], ["c"]], references=["b", "c"], ks=[1, 2])["hr@1"]
        0.5
        >>> metric = RankingMetric("several", keep_in_memory=True)
        >>> metric.compute(predictions=[["a", "b"]], references=[["b", "c"]], ks=[2], metrics=["recall"])
        {'recall@2': 0.5}
    """

    def _info(self) -> evaluate.MetricInfo:
        several = self.config_name == SEVERAL
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("string")),
                    "references": datasets.List(datasets.Value("string")) if several else datasets.Value("string"),
                }
            ),
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float] | None:
        """Compute the metric over what was added and what is given here; `None` in processes other than the first."""
        # Checked before rows are written, which an error would leave behind.
        check_ks(kwargs.get("ks", DEFAULT_KS))
        check_metrics(kwargs.get("metrics", DEFAULT_METRICS))
        if predictions is None and references is None and self.writer is None:
            if self.num_process == 1:
                raise ValueError("there are no rows; give predictions and references, or call add_batch before compute")
            self.add_batch(predictions=[], references=[])  # the other processes wait for this one's file
        return super().compute(predictions=predictions, references=references, **kwargs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add rows."""
        if predictions is None or references is None:
            raise ValueError("predictions and references are both needed")
        if len(predictions) != len(references):
            raise ValueError(
                f"there are {len(predictions)} predictions and {len(references)} references; a user needs both"
            )
        for row, (ranked, right) in enumerate(zip(predictions, references, strict=True)):
            self._check_row(row, ranked, right)
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one row."""
        self._check_row(len(self), prediction, reference)
        super().add(prediction=prediction, reference=reference, **kwargs)

    def _compute(
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[Any],
        ks: Sequence[int] = DEFAULT_KS,
        metrics: Sequence[str] = DEFAULT_METRICS,
    ) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("there are no rows; the metric of no users is not defined")
        rows = list(zip(predictions, references, strict=True))
        if self.config_name != SEVERAL:
            ranks = [ranked.index(right) + 1 if right in ranked else 0 for ranked, right in rows]
            return ranking_scores(ranks, ks, metrics)
        num_right = np.array([len(right) for _, right in rows])
        table = np.zeros((len(rows), num_right.max()), dtype=np.int64)
        for row, (ranked, right) in enumerate(rows):
            places = {item: place for place, item in enumerate(ranked, start=1)}
            table[row, : len(right)] = [places.get(item, 0) for item in right]
        return ranking_scores(table, ks, metrics, num_right=num_right)

    def _check_row(self, row: int, ranked: Any, right: Any) -> None:
        _check_items(f"predictions[{row}]", ranked, "a rank is over distinct items")
        if self.config_name == SEVERAL:
            _check_items(f"references[{row}]", right, "an item is right once")
            if len(right) == 0:
                raise ValueError(f"references[{row}] is empty; leave out users without a right item")
        elif not isinstance(right, str):
            raise ValueError(f"references[{row}] is {right!r}; item IDs must be strings")


def _check_items(name: str, items: Any, why_once: str) -> None:
    # evaluate looks at the first row only and turns other types into strings, which then never match.
    if isinstance(items, str) or not isinstance(items, Sequence | np.ndarray):
        raise ValueError(f"{name} is {items!r}; it must be a list of item IDs")
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"{name} has {item!r}; item IDs must be strings")
    if len(set(items)) != len(items):
        twice = next(item for position, item in enumerate(items) if item in items[:position])
        raise ValueError(f"{name} names item {twice!r} twice; {why_once}, so drop the repetition")
