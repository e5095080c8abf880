"""The metrics by name. A new metric is one file and one line of `_METRICS`."""

from __future__ import annotations

from typing import Any

import evaluate

from .explanation import ExplanationMetric
from .ranking import RankingMetric

_METRICS: dict[str, type[evaluate.Metric]] = {
    "ranking": RankingMetric,
    "explanation": ExplanationMetric,
}


def available_metrics() -> list[str]:
    """The names that `load_metric` knows."""
    return sorted(_METRICS)


def load_metric(name: str, **options: Any) -> evaluate.Metric:
    """A metric by its name, without asking the Hub.

    Args:
        name: one of `available_metrics()`.
        **options: arguments of `evaluate.Metric`: `num_process`, `process_id` and `experiment_id` for several
            processes, `cache_dir`, `config_name`. In one process rows are kept in memory unless `keep_in_memory=False`.

    Raises:
        ValueError: there is no metric of that name.

    Example:
        >>> load_metric("ranking").compute(predictions=[["a", "b"]], references=["b"], ks=[2])["hr@2"]
        1.0
    """
    if name not in _METRICS:
        raise ValueError(f"there is no metric {name!r}; choose one of {available_metrics()}")
    options.setdefault("keep_in_memory", options.get("num_process", 1) == 1 and "cache_dir" not in options)
    return _METRICS[name](**options)
