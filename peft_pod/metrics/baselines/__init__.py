"""Baselines that see only the training part, by name."""

from __future__ import annotations

from typing import Any

from .base import Baseline
from .cooccurrence import CooccurrenceBaseline
from .index_rules import INDEX_RULES, IndexRule, InterleavedIndexRule, LargestIndexRule
from .popularity import PopularityBaseline
from .random_order import RandomBaseline
from .recent_popularity import RecentPopularityBaseline
from .sparse import SparseBaseline, StaticBaseline

_BASELINES: dict[str, type[Baseline]] = {
    "random": RandomBaseline,
    "popularity": PopularityBaseline,
    "recent-popularity": RecentPopularityBaseline,
    "co-occurrence": CooccurrenceBaseline,
}


def available_baselines() -> list[str]:
    """The names that `load_baseline` knows, weakest first."""
    return list(_BASELINES)


def available_index_rules() -> list[str]:
    """The names of the rules that count on from item IDs; `load_baseline` knows them, with the option `indexing`."""
    return list(INDEX_RULES)


def load_baseline(name: str, **options: Any) -> Baseline:
    """A baseline by its name, not yet fitted.

    Args:
        name: one of `available_baselines()` or `available_index_rules()`.
        **options: arguments of the baseline's class, such as `seed` of `"random"` or `indexing` of an index rule.

    Raises:
        ValueError: there is no baseline of that name, or it does not take such options.

    Example:
        >>> type(load_baseline("popularity")).__name__
        'PopularityBaseline'
    """
    known = {**_BASELINES, **INDEX_RULES}
    if name not in known:
        raise ValueError(
            f"there is no baseline {name!r}; choose one of {[*available_baselines(), *available_index_rules()]}"
        )
    try:
        return known[name](**options)
    except TypeError as error:
        raise ValueError(f"baseline {name!r} does not take the options {sorted(options)}: {error}") from error


__all__ = [
    "Baseline",
    "CooccurrenceBaseline",
    "IndexRule",
    "InterleavedIndexRule",
    "LargestIndexRule",
    "PopularityBaseline",
    "RandomBaseline",
    "RecentPopularityBaseline",
    "SparseBaseline",
    "StaticBaseline",
    "available_baselines",
    "available_index_rules",
    "load_baseline",
]
