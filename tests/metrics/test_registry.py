from __future__ import annotations

import pytest

from peft_pod.metrics import ExplanationMetric, RankingMetric, available_metrics, load_metric


def test_names() -> None:
    assert available_metrics() == ["explanation", "ranking"]
    assert isinstance(load_metric("ranking"), RankingMetric)
    assert isinstance(load_metric("explanation"), ExplanationMetric)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"no metric 'rouge'; choose one of \['explanation', 'ranking'\]"):
        load_metric("rouge")
