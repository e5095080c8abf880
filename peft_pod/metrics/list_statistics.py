"""What kind of items are recommended: how many of the catalogue, and how popular they are. Not how right they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from peft_pod.corpus.split import IntArray

from .ranking import DEFAULT_KS, check_ks


def list_statistics(items: IntArray, item_counts: IntArray, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """Coverage, novelty and average popularity of recommended lists.

    With L_u(k) the first k items of user u's list, I the catalogue, c(i) how often item i occurs in training:

    - `coverage@k = |∪_u L_u(k)| / |I|`, the share of the catalogue that is recommended to anyone (catalogue coverage of
      Ge, Delgado-Battenfeld & Jannach, "Beyond Accuracy", RecSys 2010);
    - `novelty@k`: mean over users of the mean over L_u(k) of `−log2 p(i)`, `p(i) = (c(i) + 1) / (Σ_j c(j) + |I|)`, the
      self-information of the recommended items in bits (Zhou et al., PNAS 107(10), 2010; p as in Vargas & Castells,
      "Rank and Relevance in Novelty and Diversity Metrics", RecSys 2011, with one interaction more for each item, so
      that items without any have a finite value);
    - `arp@k`: mean over users of the mean over L_u(k) of c(i), the average recommendation popularity (Yin et al.,
      "Challenging the Long Tail Recommendation", PVLDB 5(9), 2012).

    Larger is not better here: a random order has the largest coverage and novelty.

    Args:
        items: for each user the positions of the recommended items, best first, −1 beyond the last; shape
            `(num_users, depth)`.
        item_counts: how often each item of the catalogue occurs in training; shape `(num_items,)`.
        ks: the cut-offs. A list that is shorter than k counts as it is; users with an empty list only for coverage.

    Returns:
        `coverage@k`, `novelty@k`, `arp@k` for each cut-off. Where all lists are empty, coverage is 0 and the others are
        left out.

    Raises:
        ValueError: `items` does not have two axes and a row, an item is not in the catalogue, or a cut-off is not a
            positive integer or larger than the lists are deep.

    Example:
        >>> statistics = list_statistics(np.array([[0, 1], [0, -1]]), np.array([3, 1, 0, 0]), ks=[2])
        >>> statistics["coverage@2"], round(statistics["novelty@2"], 3), statistics["arp@2"]
        (0.5, 1.25, 2.5)
    """
    check_ks(ks)
    _check_items(items, len(item_counts), max(ks))
    information = -np.log2((item_counts + 1.0) / (item_counts.sum() + len(item_counts)))
    statistics: dict[str, float] = {}
    for k in ks:
        top = items[:, :k]
        there = top >= 0
        statistics[f"coverage@{k}"] = len(np.unique(top[there])) / len(item_counts)
        if there.any():
            statistics[f"novelty@{k}"] = _mean_of_means(information[top], there)
            statistics[f"arp@{k}"] = _mean_of_means(item_counts[top].astype(np.float64), there)
    return statistics


def _mean_of_means(values: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]) -> float:
    """Mean over rows of the mean over what is there; rows with nothing are left out."""
    lengths = there.sum(axis=1)
    filled = lengths > 0
    return float((np.where(there, values, 0.0).sum(axis=1)[filled] / lengths[filled]).mean())


def _check_items(items: IntArray, num_items: int, depth: int) -> None:
    if items.ndim != 2 or len(items) == 0:
        raise ValueError(f"items must have a row for each user and at least one user, not the shape {items.shape}")
    if depth > items.shape[1]:
        raise ValueError(f"ks has {depth} and the lists have room for {items.shape[1]} items; recommend more, or cut")
    if items.min(initial=-1) < -1 or items.max(initial=-1) >= num_items:
        wrong = items[(items < -1) | (items >= num_items)][0]
        raise ValueError(f"items names {wrong}; positions in this catalogue run from 0 to {num_items - 1}")
