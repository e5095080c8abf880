"""Ranking metrics against `ranx`, an independent library.

It would compile what it computes, which takes more than a minute; its functions are run as the Python that they are.
"""

from __future__ import annotations

import numpy as np
import pytest

from peft_pod.metrics import load_metric, user_scores

KS = (1, 3, 5, 10)
THEIR_NAMES = {"hr": "hit_rate", "ndcg": "ndcg", "mrr": "mrr", "recall": "recall", "precision": "precision"}


@pytest.fixture(scope="module")
def rankings() -> list[tuple[list[str], list[str]]]:
    """Ranked lists and right items of 400 users: short and long lists, one right item or several, found or not."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        catalogue = rng.permutation(30)
        # ranx takes no empty lists; ours are tested by hand.
        ranked = catalogue[: rng.integers(1, 21)]
        right = rng.choice(30, size=int(rng.choice([1, 1, 2, 5, 12])), replace=False)
        rows.append(([f"i{item}" for item in ranked], [f"i{item}" for item in right]))
    return rows


@pytest.fixture(scope="module")
def theirs(rankings) -> dict[str, np.ndarray]:
    numba = pytest.importorskip("numba", reason="ranx is not installed; pip install peft-pod[test]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        return scores_by_ranx(rankings)


def scores_by_ranx(rankings: list[tuple[list[str], list[str]]]) -> dict[str, np.ndarray]:
    ranx = pytest.importorskip("ranx", reason="ranx is not installed; pip install peft-pod[test]")
    qrels = ranx.Qrels({f"u{user:03}": dict.fromkeys(right, 1) for user, (_, right) in enumerate(rankings)})
    run = ranx.Run(
        {
            f"u{user:03}": {item: float(len(ranked) - place) for place, item in enumerate(ranked)}
            for user, (ranked, _) in enumerate(rankings)
        }
    )
    names = [f"{name}@{k}" for name in THEIR_NAMES.values() for k in KS]
    return ranx.evaluate(qrels, run, names, return_mean=False)


@pytest.mark.parametrize("metric", THEIR_NAMES)
def test_every_user_has_the_score_that_ranx_gives(metric: str, rankings, theirs) -> None:
    most = max(len(right) for _, right in rankings)
    ranks = np.zeros((len(rankings), most), dtype=np.int64)
    for user, (ranked, right) in enumerate(rankings):
        ranks[user, : len(right)] = [ranked.index(item) + 1 if item in ranked else 0 for item in right]
    ours = user_scores(ranks, KS, [metric], num_right=[len(right) for _, right in rankings])
    for k in KS:
        np.testing.assert_allclose(ours[f"{metric}@{k}"], theirs[f"{THEIR_NAMES[metric]}@{k}"], atol=1e-12)
        assert 0 < ours[f"{metric}@{k}"].mean() < 1


def test_the_metric_has_their_means(rankings, theirs) -> None:
    predictions, references = (list(column) for column in zip(*rankings, strict=True))
    scores = load_metric("ranking", config_name="several").compute(
        predictions=predictions, references=references, ks=KS, metrics=list(THEIR_NAMES)
    )
    assert scores == pytest.approx(
        {f"{name}@{k}": theirs[f"{other}@{k}"].mean() for k in KS for name, other in THEIR_NAMES.items()}
    )
