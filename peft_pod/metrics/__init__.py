"""Is it good? Metrics, baselines to compare with, and the report that holds both.

Example:
    >>> from peft_pod.metrics import load_metric
    >>> scores = load_metric("ranking").compute(predictions=[["a", "b"], ["c"]], references=["b", "c"])
    >>> scores["hr@1"], scores["hr@5"]
    (0.5, 1.0)
"""

from .baselines import Baseline, available_baselines, load_baseline
from .evaluation import evaluate_baseline
from .explanation import ExplanationMetric
from .model_evaluation import evaluate_baselines, evaluate_model
from .ranking import RankingMetric, ranking_scores
from .registry import available_metrics, load_metric
from .report import Protocol, Report, TaskResult, software_versions
from .table import format_table

__all__ = [
    "load_metric",
    "available_metrics",
    "RankingMetric",
    "ExplanationMetric",
    "ranking_scores",
    "Baseline",
    "load_baseline",
    "available_baselines",
    "evaluate_baseline",
    "evaluate_baselines",
    "evaluate_model",
    "Report",
    "TaskResult",
    "Protocol",
    "format_table",
    "software_versions",
]
