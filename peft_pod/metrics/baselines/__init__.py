"""Baselines that see only the training part, by name."""

from __future__ import annotations

from typing import Any

from .base import Baseline
from .cooccurrence import CooccurrenceBaseline
from .popularity import PopularityBaseline
from .random_order import RandomBaseline

_BASELINES: dict[str, type[Baseline]] = {
    "random": RandomBaseline,
    "popularity": PopularityBaseline,
    "co-occurrence": CooccurrenceBaseline,
}


def available_baselines() -> list[str]:
    """The names that `load_baseline` knows, weakest first."""
    return list(_BASELINES)


def load_baseline(name: str, **options: Any) -> Baseline:
    """A baseline by its name, not yet fitted.

    Args:
        name: one of `available_baselines()`.
        **options: arguments of the baseline's class, such as `seed` of `"random"`.

    Raises:
        ValueError: there is no baseline of that name, or it does not take such options.

    Example:
        >>> type(load_baseline("popularity")).__name__
        'PopularityBaseline'
    """
    if name not in _BASELINES:
        raise ValueError(f"there is no baseline {name!r}; choose one of {available_baselines()}")
    try:
        return _BASELINES[name](**options)
    except TypeError as error:
        raise ValueError(f"baseline {name!r} does not take the options {sorted(options)}: {error}") from error


__all__ = [
    "Baseline",
    "CooccurrenceBaseline",
    "PopularityBaseline",
    "RandomBaseline",
    "available_baselines",
    "load_baseline",
]
