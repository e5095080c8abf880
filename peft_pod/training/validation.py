"""What a validation measures beside losses, and by what the best model is chosen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Protocol

from peft import PeftModel

EVAL = "eval_"
MEAN_LOSS = "eval_loss"
_RANKING = re.compile(r"(?:eval_)?(?P<task>.+)_(?P<metric>[a-z]+)@(?P<k>[0-9]+)")


class RanksValidation(Protocol):
    """Ranks items for the samples of the validation part, as `peft_pod.metrics.ValidationRanking` does."""

    @property
    def names(self) -> Sequence[str]:
        """Names of what is measured: `<task>_<metric>@<k>`; more of each is better."""

    @property
    def size(self) -> int:
        """How many samples are ranked for."""

    def __call__(self, model: PeftModel, limit: int | None = None) -> dict[str, float]:
        """Measure a model, on at most so many samples, and give what was found by those names."""


def ranking_metric(name: str) -> tuple[str, str, int] | None:
    """Task, metric and cut-off of a ranking metric of the validation; `None` for another name.

    Args:
        name: as `metric_for_best_model` takes it.

    Example:
        >>> ranking_metric("eval_sequential_ndcg@10"), ranking_metric("eval_loss")
        (('sequential', 'ndcg', 10), None)
    """
    found = _RANKING.fullmatch(name)
    return None if found is None else (found["task"], found["metric"], int(found["k"]))


def check_best_metric(name: str | None, tasks: Collection[str], ranking: RanksValidation | None) -> None:
    """Refuse a `metric_for_best_model` that no validation will measure.

    Args:
        name: of the metric, with or without `eval_`; `None` for the mean loss.
        tasks: whose losses are taken.
        ranking: what else is measured.

    Raises:
        ValueError: there is none of that name; the message lists those there are.

    Example:
        >>> check_best_metric("topn_loss", ["topn"], None)
    """
    known = [MEAN_LOSS, *(f"{EVAL}{task}_loss" for task in tasks)]
    known += [] if ranking is None else [f"{EVAL}{name}" for name in ranking.names]
    named = name or MEAN_LOSS
    if (named if named.startswith(EVAL) else EVAL + named) not in known:
        hint = ""
        if ranking is None and ranking_metric(named):
            hint = "; to choose by how items are ranked, give the trainer rank_validation=ValidationRanking(...)"
        raise ValueError(f"metric_for_best_model must be one of {known}, got {named!r}{hint}")
