"""Is it good? Metrics, baselines to compare with, and the report that holds both.

Example:
    >>> from peft_pod.metrics import load_metric
    >>> scores = load_metric("ranking").compute(predictions=[["a", "b"], ["c"]], references=["b", "c"])
    >>> scores["hr@1"], scores["hr@5"]
    (0.5, 1.0)
"""

from .baselines import Baseline, SparseBaseline, StaticBaseline, available_baselines, load_baseline
from .bootstrap import Bootstrap
from .comparison import Comparison, Difference, compare_results, compare_runs, format_comparison
from .evaluation import evaluate_baseline
from .explanation import ExplanationMetric
from .list_statistics import list_statistics
from .model_evaluation import evaluate_baselines, evaluate_model
from .protocol import Protocol
from .ranking import RankingMetric, ranking_scores, user_scores
from .registry import available_metrics, load_metric
from .report import Report, TaskResult, software_versions
from .table import format_table
from .user_ranks import UserRanks
from .validation_ranking import ValidationRanking

__all__ = [
    "load_metric",
    "available_metrics",
    "RankingMetric",
    "ExplanationMetric",
    "ranking_scores",
    "user_scores",
    "list_statistics",
    "Bootstrap",
    "Baseline",
    "SparseBaseline",
    "StaticBaseline",
    "load_baseline",
    "available_baselines",
    "evaluate_baseline",
    "evaluate_baselines",
    "evaluate_model",
    "Report",
    "TaskResult",
    "Protocol",
    "UserRanks",
    "ValidationRanking",
    "compare_runs",
    "compare_results",
    "Comparison",
    "Difference",
    "format_comparison",
    "format_table",
    "software_versions",
]
