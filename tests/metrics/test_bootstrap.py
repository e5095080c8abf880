from __future__ import annotations

import math

import numpy as np
import pytest

from peft_pod.metrics import Bootstrap, bootstrap, user_scores


def resampled_means(rows: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Users drawn one by one with replacement."""
    rng = np.random.default_rng(seed)
    return np.stack([rows[rng.integers(len(rows), size=len(rows))].mean(axis=0) for _ in range(resamples)])


def test_resamples_are_draws_of_users_with_replacement() -> None:
    """The means have the distribution that drawing users one by one gives, of both metrics together."""
    ranks = np.random.default_rng(5).choice([0, 1, 2, 3, 9], p=[0.6, 0.1, 0.1, 0.1, 0.1], size=300)
    rows = np.stack(list(user_scores(ranks, [10], ["hr", "ndcg"]).values()), axis=1)
    ours = Bootstrap(resamples=20_000, seed=1)._means(rows)
    theirs = resampled_means(rows, 20_000, seed=2)
    error = rows.std(axis=0) / math.sqrt(len(rows))
    assert ours.mean(axis=0) == pytest.approx(rows.mean(axis=0), abs=4 * error.max() / math.sqrt(20_000))
    assert ours.std(axis=0) == pytest.approx(error, rel=0.03)
    assert np.corrcoef(ours.T)[0, 1] == pytest.approx(np.corrcoef(theirs.T)[0, 1], abs=0.02)
    for share in (0.025, 0.5, 0.975):
        assert np.quantile(ours, share, axis=0) == pytest.approx(
            np.quantile(theirs, share, axis=0), abs=0.1 * error.max()
        )


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Hit rates of 500 users whose chance is .3: 90 % intervals hold .3 in about 90 % of 400 trials."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        hits = (rng.random(500) < 0.3).astype(float)
        low, high = Bootstrap(resamples=400, confidence=0.9, seed=trial).intervals({"hr@1": hits})["hr@1"]
        held += low <= 0.3 <= high
    assert 0.85 < held / 400 < 0.95


def test_the_same_seed_gives_the_same_intervals_however_memory_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"ndcg@10": np.random.default_rng(3).random(50)}
    whole = Bootstrap(resamples=100, seed=4).intervals(values)
    assert whole == Bootstrap(resamples=100, seed=4).intervals(values)
    assert whole != Bootstrap(resamples=100, seed=5).intervals(values)
    # The order of the users has no say.
    assert Bootstrap(resamples=100, seed=4).intervals({"ndcg@10": values["ndcg@10"][::-1]}) == whole
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 7 * 50)
    assert Bootstrap(resamples=100, seed=4).intervals(values) == whole


def test_equal_users_leave_no_doubt() -> None:
    assert Bootstrap().intervals({"hr@1": np.ones(30), "mrr@1": np.zeros(30)}) == {
        "hr@1": (1.0, 1.0),
        "mrr@1": (0.0, 0.0),
    }
    assert Bootstrap().intervals({}) == {}


def test_bad_input() -> None:
    for options, message in (
        ({"resamples": 0}, "resamples is 0"),
        ({"confidence": 95}, "confidence is 95; it must be between 0 and 1"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            Bootstrap(**options)
    for values in ({"a": np.ones(2), "b": np.ones(3)}, {"a": np.ones(0)}):
        with pytest.raises(ValueError, match="the same users for every metric and at least one"):
            Bootstrap().intervals(values)
    with pytest.raises(ValueError, match=r"the bootstrap must have .*; it has \['resamples'\]"):
        Bootstrap.from_dict({"resamples": 5})
