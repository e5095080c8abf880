from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from peft_pod.corpus import LeaveOneOut, load_corpus
from peft_pod.corpus.split import leave_one_out
from peft_pod.metrics import Protocol, evaluate_baseline, load_baseline

DATA = Path(os.environ.get("PEFT_POD_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def split() -> LeaveOneOut:
    # Training part: anna a b, bert a c, carl d a, dora d (too short to hold anything out).
    taken = {"anna": "abcd", "bert": "acba", "carl": "dabc", "dora": "d"}
    rows = [(user, item, time) for user, items in taken.items() for time, item in enumerate(items)]
    users, items, times = zip(*rows, strict=True)
    return leave_one_out(
        Dataset.from_dict({"user_id": users, "item_id": items, "timestamp": times}),
        Dataset.from_dict({"item_id": list("abcde"), "title": list("ABCDE")}),
    )


def test_hand_computed(split: LeaveOneOut) -> None:
    """Popularity by training part: a 3, d 2, then b and c once, e never."""
    baseline = load_baseline("popularity").fit(split.train)
    excluded = evaluate_baseline(baseline, split, ks=[1, 2])
    # Test items: anna d (left: d e, rank 1), bert a (seen: a miss), carl c (left: c e, rank 1).
    assert excluded.metrics == pytest.approx({"hr@1": 2 / 3, "ndcg@1": 2 / 3, "hr@2": 2 / 3, "ndcg@2": 2 / 3})
    assert excluded.protocol == Protocol("test", 3, "full", True)

    included = evaluate_baseline(baseline, split, exclude_seen=False, ks=[1, 2])
    # Anna's d is second, Bert's a first, Carl's c third or fourth.
    assert included.metrics["hr@1"] == pytest.approx(1 / 3)
    assert included.metrics["ndcg@2"] == pytest.approx((1 / np.log2(3) + 1) / 3)
    assert included.protocol.history_excluded is False


def test_validation_history_ends_before_the_validation_item(split: LeaveOneOut) -> None:
    baseline = load_baseline("popularity").fit(split.train)
    result = evaluate_baseline(baseline, split, "validation", users=[1], ks=[1, 3])
    # Bert has a and c; his validation item b comes after d.
    assert result.metrics["hr@1"] == 0.0
    assert result.metrics["ndcg@3"] == pytest.approx(1 / np.log2(3))
    assert result.protocol.num_users == 1


def test_candidates(split: LeaveOneOut) -> None:
    baseline = load_baseline("popularity").fit(split.train)
    result = evaluate_baseline(
        baseline,
        split,
        users=[0],
        exclude_seen=False,
        candidates=[np.array([4, 3, 0])],
        candidate_set="candidates-3",
        ks=[1, 2],
        details={"candidates_seed": 1},
    )
    assert result.metrics == pytest.approx({"hr@1": 0, "ndcg@1": 0, "hr@2": 1, "ndcg@2": 1 / np.log2(3)})
    assert result.protocol.to_dict()["candidates_seed"] == 1


def test_bad_input(split: LeaveOneOut) -> None:
    baseline = load_baseline("popularity").fit(split.train)
    with pytest.raises(ValueError, match="user 3 has no held-out item"):
        evaluate_baseline(baseline, split, users=[3])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate_baseline(baseline, split, users=[])
    with pytest.raises(ValueError, match="candidates are given"):
        evaluate_baseline(baseline, split, candidates=[np.array([0])] * 3)
    with pytest.raises(ValueError, match="candidates are not given"):
        evaluate_baseline(baseline, split, candidate_set="candidates-100")
    with pytest.raises(ValueError, match="held-out item 3 of user 0 is not among"):
        evaluate_baseline(baseline, split, users=[0], candidates=[np.array([0])], candidate_set="one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "popularity", "cooccurrence"),
    [
        ("beauty", (0.0008, 0.0115, 0.0055), (0.0243, 0.0715, 0.0453)),
        ("sports", (0.0024, 0.0091, 0.0052), (0.0122, 0.0369, 0.0231)),
    ],
)
def test_published_baselines_are_reproduced(
    corpus: str, popularity: tuple[float, ...], cooccurrence: tuple[float, ...]
) -> None:
    """Test part, all users, full catalogue, history excluded; the rest of the difference is ties."""
    folder = DATA / "amazon-2014" / corpus
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; set PEFT_POD_DATA to the folder of the data")
    split = load_corpus(f"amazon-2014/{corpus}", data_dir=folder).split()
    for name, expected in (("popularity", popularity), ("co-occurrence", cooccurrence)):
        metrics = evaluate_baseline(load_baseline(name).fit(split.train), split).metrics
        assert [metrics[m] for m in ("hr@1", "hr@10", "ndcg@10")] == pytest.approx(expected, abs=0.0003)
