"""Hit rate and normalised discounted cumulative gain of ranked lists with one right item.

This file imports nothing of `peft_pod`, so that `evaluate.load("<folder>/ranking.py")` can copy it and load the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt

DEFAULT_KS = (1, 5, 10)

_DESCRIPTION = """
Ranked lists with one right item each. HR@k is the share of users whose right item is among the first k;
NDCG@k is the mean over users of 1 / log2(rank + 1) where the rank is at most k, and of 0 elsewhere.
"""

_INPUTS = """
Args:
    predictions: for each user the ranked item IDs, best first; strings, lists of any length.
    references: for each user the ID of the right item.
    ks: the cut-offs (default 1, 5, 10).
Returns:
    `hr@k` and `ndcg@k` for each cut-off, between 0 and 1.
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


def ranking_scores(ranks: npt.ArrayLike, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """HR@k and NDCG@k from the ranks of the right items.

    `HR@k = mean(1 ≤ rank ≤ k)` and `NDCG@k = mean([1 ≤ rank ≤ k] / log2(rank + 1))`. With one right item the ideal
    gain is 1, so nothing is left to normalise (Järvelin & Kekäläinen, 2002).

    Args:
        ranks: for each user the rank of the right item, counted from 1; 0 where it is not in the list; shape
            `(num_users,)`, integers.
        ks: the cut-offs.

    Returns:
        `hr@k` and `ndcg@k` for each cut-off, in the order of `ks`.

    Raises:
        ValueError: no ranks, a rank that is negative or no integer, or a cut-off that is not a positive integer.

    Example:
        >>> ranking_scores([1, 3, 0, 7], ks=[5])
        {'hr@5': 0.5, 'ndcg@5': 0.375}
    """
    check_ks(ks)
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or ranks.size == 0:
        raise ValueError(f"ranks must be a list with one rank for each user and at least one user, not {ranks.shape}")
    if not np.issubdtype(ranks.dtype, np.integer) or ranks.min() < 0:
        raise ValueError("ranks must be integers, counted from 1, with 0 for an item that is not in the list")
    gains = np.zeros(ranks.shape)
    gains[ranks > 0] = 1.0 / np.log2(ranks[ranks > 0] + 1.0)
    scores: dict[str, float] = {}
    for k in ks:
        hit = (ranks > 0) & (ranks <= k)
        scores[f"hr@{k}"] = float(hit.mean())
        scores[f"ndcg@{k}"] = float(np.where(hit, gains, 0.0).mean())
    return scores


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


class RankingMetric(evaluate.Metric):
    """HR@k and NDCG@k for ranked lists of item IDs with one right item, as an `evaluate` metric.

    Accepts what every `evaluate` metric does: `compute(predictions=..., references=...)`, `add_batch` and then
    `compute()`, and several processes (`num_process`, `process_id`, `experiment_id`). The cut-offs are an argument of
    `compute`: `compute(..., ks=(1, 5, 10))`. See `ranking_scores` for the formulas.

    Raises:
        ValueError: there are no rows; the numbers of predictions and references differ; a prediction is not a list of
            strings or names an item twice; a reference is not a string; a cut-off is below 1.

    Example:
        >>> metric = RankingMetric(keep_in_memory=True)
        >>> metric.compute(predictions=[["a", "b"], ["c"]], references=["b", "c"], ks=[1, 2])["hr@1"]
        0.5
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("string")), "references": datasets.Value("string")}
            ),
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float] | None:
        """Compute the metric over what was added and what is given here; `None` in processes other than the first."""
        check_ks(kwargs.get("ks", DEFAULT_KS))  # before rows are written, which an error would leave behind
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
            _check_row(row, ranked, right)
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one row."""
        _check_row(len(self), prediction, reference)
        super().add(prediction=prediction, reference=reference, **kwargs)

    def _compute(
        self, predictions: Sequence[Sequence[str]], references: Sequence[str], ks: Sequence[int] = DEFAULT_KS
    ) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("there are no rows; the metric of no users is not defined")
        rows = zip(predictions, references, strict=True)
        return ranking_scores([ranked.index(right) + 1 if right in ranked else 0 for ranked, right in rows], ks)


def _check_row(row: int, ranked: Any, right: Any) -> None:
    # evaluate looks at the first row only and turns other types into strings, which then never match.
    if isinstance(ranked, str) or not isinstance(ranked, Sequence | np.ndarray):
        raise ValueError(f"predictions[{row}] is {ranked!r}; it must be a list of item IDs, best first")
    for item in ranked:
        if not isinstance(item, str):
            raise ValueError(f"predictions[{row}] has {item!r}; item IDs must be strings")
    if len(set(ranked)) != len(ranked):
        twice = next(item for position, item in enumerate(ranked) if item in ranked[:position])
        raise ValueError(
            f"predictions[{row}] names item {twice!r} twice; a rank is over distinct items, so drop the repetition"
        )
    if not isinstance(right, str):
        raise ValueError(f"references[{row}] is {right!r}; item IDs must be strings")
