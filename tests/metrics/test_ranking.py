from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.metrics import RankingMetric, load_metric, ranking, ranking_scores

ITEMS = "abcdefghijklmnop"
ranked_lists = st.lists(st.sampled_from(ITEMS), unique=True, max_size=len(ITEMS))
rows = st.lists(st.tuples(ranked_lists, st.sampled_from(ITEMS)), min_size=1, max_size=12)

# Refuses every connection, so that a test of working offline also fails where there is a network.
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""


def oracle(pairs: list[tuple[list[str], str]], k: int) -> tuple[float, float]:
    hits = 0
    gain = 0.0
    for ranked, right in pairs:
        for place, item in enumerate(ranked, start=1):
            if item == right and place <= k:
                hits += 1
                gain += math.log(2) / math.log(place + 1)
    return hits / len(pairs), gain / len(pairs)


@given(rows, st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True))
@settings(max_examples=40, deadline=None)
def test_metric_equals_the_definition(pairs: list[tuple[list[str], str]], ks: list[int]) -> None:
    predictions, references = [list(column) for column in zip(*pairs, strict=True)]
    scores = RankingMetric(keep_in_memory=True).compute(predictions=predictions, references=references, ks=ks)
    assert list(scores) == [f"{name}@{k}" for k in ks for name in ("hr", "ndcg")]
    for k in ks:
        hit_rate, gain = oracle(pairs, k)
        assert scores[f"hr@{k}"] == pytest.approx(hit_rate)
        assert scores[f"ndcg@{k}"] == pytest.approx(gain)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=50))
def test_scores_grow_with_k_and_gain_is_at_most_the_hit_rate(ranks: list[int]) -> None:
    scores = ranking_scores(ranks, ks=[1, 5, 10, 40])
    assert scores["hr@1"] == scores["ndcg@1"]
    for smaller, larger in ((1, 5), (5, 10), (10, 40)):
        assert scores[f"hr@{smaller}"] <= scores[f"hr@{larger}"]
        assert scores[f"ndcg@{smaller}"] <= scores[f"ndcg@{larger}"]
        assert scores[f"ndcg@{larger}"] <= scores[f"hr@{larger}"]


def test_hand_computed() -> None:
    scores = ranking_scores(np.array([1, 3, 6, 0]))
    assert scores == pytest.approx(
        {
            "hr@1": 1 / 4,
            "ndcg@1": 1 / 4,
            "hr@5": 2 / 4,
            "ndcg@5": (1 + 0.5) / 4,
            "hr@10": 3 / 4,
            "ndcg@10": (1 + 0.5 + 1 / math.log2(7)) / 4,
        }
    )


def test_batches_give_what_one_call_gives() -> None:
    predictions = [["a", "b"], [], ["c", "a", "b"], ["b"]]
    references = ["b", "a", "b", "c"]
    whole = load_metric("ranking").compute(predictions=predictions, references=references)
    metric = load_metric("ranking")
    metric.add_batch(predictions=predictions[:3], references=references[:3])
    metric.add(prediction=predictions[3], reference=references[3])
    assert metric.compute() == whole
    # A second use starts from nothing.
    assert metric.compute(predictions=[["a"]], references=["a"])["hr@1"] == 1.0


def test_the_cache_on_disk_is_left_clean(tmp_path: Path) -> None:
    metric = RankingMetric(cache_dir=str(tmp_path))
    assert metric.compute(predictions=[["a"]], references=["a"])["hr@1"] == 1.0
    assert not list(tmp_path.rglob("*.arrow"))
    # What is refused has not been written yet, so nothing of it is left behind or counted later.
    with pytest.raises(ValueError, match="names item 'a' twice"):
        metric.compute(predictions=[["b"], ["a", "a"]], references=["b", "a"])
    assert not list(tmp_path.rglob("*.arrow"))
    assert metric.compute(predictions=[["b"]], references=["a"])["hr@1"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "references", "options", "message"),
    [
        ([["a", "b", "a"]], ["a"], {}, r"predictions\[0\] names item 'a' twice"),
        ([["a"], ["c", "b", "b"]], ["a", "a"], {}, r"predictions\[1\] names item 'b' twice"),
        ([["a"]], ["a", "b"], {}, "1 predictions and 2 references"),
        ([], [], {}, "no rows"),
        (None, None, {}, "no rows"),
        ([["a"]], None, {}, "both needed"),
        (["ab"], ["a"], {}, r"predictions\[0\] is 'ab'; it must be a list"),
        ([["a"], ["a", 7]], ["a", "a"], {}, r"predictions\[1\] has 7"),
        ([["a"], ["a"]], ["a", 7], {}, r"references\[1\] is 7"),
        ([["a"]], ["a"], {"ks": [0]}, "ks has 0"),
        ([["a"]], ["a"], {"ks": [2.5]}, "ks has 2.5"),
        ([["a"]], ["a"], {"ks": []}, "ks is empty"),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_bad_input(predictions, references, options, message, in_memory, tmp_path) -> None:
    metric = RankingMetric(**({"keep_in_memory": True} if in_memory else {"cache_dir": str(tmp_path)}))
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)


@pytest.mark.parametrize("ranks", [[], [[[1]]], [-1], [1.5]])
def test_bad_ranks(ranks: list) -> None:
    with pytest.raises(ValueError, match="ranks must be"):
        ranking_scores(ranks)


@pytest.mark.parametrize(
    ("ranks", "num_right", "message"),
    [
        ([[1, 2]], None, "num_right, the number of each user's right items, goes with ranks of two axes"),
        ([1, 2], [1, 1], "num_right, the number of each user's right items, goes with ranks of two axes"),
        ([[1, 2]], [1, 1], r"num_right must have an integer for each of 1 users, not the shape \(2,\)"),
        ([[1, 2]], [2.0], "num_right must have an integer"),
        ([[1, 2], [1, 2]], [2, 1], "the user in row 1 of ranks has more ranks than right items"),
        ([[1, 0], [0, 0]], [1, 0], "the user in row 1 of ranks has no right item"),
        ([[3, 0, 3]], [3], "the user in row 0 of ranks has one rank twice"),
    ],
)
def test_bad_numbers_of_right_items(ranks: list, num_right: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_scores(ranks, num_right=num_right)


def test_all_metrics_hand_computed_for_several_right_items() -> None:
    """Two users: right items at 1 and 4 of three that are right; and at 3 of one."""
    scores = ranking_scores(
        [[4, 1, 0], [3, 0, 0]], ks=[2, 4], metrics=["hr", "ndcg", "mrr", "recall", "precision"], num_right=[3, 1]
    )
    assert scores == pytest.approx(
        {
            "hr@2": 1 / 2,
            "ndcg@2": (1 / (1 + 1 / math.log2(3))) / 2,
            "mrr@2": 1 / 2,
            "recall@2": (1 / 3) / 2,
            "precision@2": (1 / 2) / 2,
            "hr@4": 1,
            "ndcg@4": ((1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2) + 1 / 2) / 2,
            "mrr@4": (1 + 1 / 3) / 2,
            "recall@4": (2 / 3 + 1) / 2,
            "precision@4": (2 / 4 + 1 / 4) / 2,
        }
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=50), st.integers(1, 20))
def test_one_right_item_makes_recall_the_hit_rate_and_precision_a_kth_of_it(ranks: list[int], k: int) -> None:
    scores = ranking_scores(ranks, ks=[k], metrics=["hr", "recall", "precision", "mrr", "ndcg"])
    assert scores[f"recall@{k}"] == scores[f"hr@{k}"]
    assert scores[f"precision@{k}"] == pytest.approx(scores[f"hr@{k}"] / k)
    assert scores[f"mrr@{k}"] <= scores[f"ndcg@{k}"] <= scores[f"hr@{k}"]
    column = ranking_scores([[rank] for rank in ranks], ks=[k], num_right=[1] * len(ranks))
    assert column == {name: scores[name] for name in column}


def test_unknown_metrics_are_refused_before_rows_are_written(tmp_path: Path) -> None:
    for metrics, message in ((["map"], r"metrics has \['map'\]; name some of \['hr', 'ndcg'"), ([], "has nothing")):
        with pytest.raises(ValueError, match=message):
            ranking_scores([1], metrics=metrics)
        with pytest.raises(ValueError, match=message):
            RankingMetric(cache_dir=str(tmp_path)).compute(predictions=[["a"]], references=["a"], metrics=metrics)
    assert not list(tmp_path.rglob("*.arrow"))


def test_several_right_items_in_the_metric(tmp_path: Path) -> None:
    rows = {"predictions": [["a", "b", "c"], ["d"], []], "references": [["c", "a"], ["e", "d"], ["a"]]}
    expected = ranking_scores([[3, 1], [0, 1], [0, 0]], ks=[1, 3], metrics=["recall", "ndcg"], num_right=[2, 2, 1])
    how = {"ks": [1, 3], "metrics": ["recall", "ndcg"]}
    assert load_metric("ranking", config_name="several").compute(**rows, **how) == expected
    on_disk = RankingMetric("several", cache_dir=str(tmp_path))
    on_disk.add_batch(predictions=rows["predictions"][:2], references=rows["references"][:2])
    on_disk.add(prediction=[], reference=["a"])
    assert on_disk.compute(**how) == expected


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("a", r"references\[0\] is 'a'; it must be a list"),
        ([], r"references\[0\] is empty; leave out users without a right item"),
        (["a", "a"], r"references\[0\] names item 'a' twice; an item is right once"),
        (["a", 3], r"references\[0\] has 3; item IDs must be strings"),
    ],
)
def test_bad_lists_of_right_items(reference: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_metric("ranking", config_name="several").compute(predictions=[["a"]], references=[reference])


def offline_environment(folder: Path) -> dict[str, str]:
    names = {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    root = str(Path(__file__).parents[2])
    return {**os.environ, **names, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_both_files_load_by_path_without_network(tmp_path: Path) -> None:
    folder = Path(ranking.__file__).parent
    script = f"""{NO_NETWORK}
import sys
import evaluate
ranking = evaluate.load({str(folder / "ranking.py")!r})
explanation = evaluate.load({str(folder / "explanation.py")!r}, "features")
assert not any(name.startswith("peft_pod") for name in sys.modules), "the files must stand alone"
assert ranking.compute(predictions=[["a", "b"]], references=["b"], ks=[2])["hr@2"] == 1.0
assert explanation.compute(predictions=["a b"], references=["a b"], features=["b"])["fmr"] == 1.0
"""
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env=offline_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr


def part_of_an_evaluation(process: int, cache: str) -> dict[str, float] | None:
    metric = load_metric(
        "ranking", num_process=3, process_id=process, experiment_id="test", cache_dir=cache, timeout=60
    )
    if process < 2:
        predictions, references = [([["a", "b"], ["c"]], ["b", "c"]), ([["a"]], ["b"])][process]
        metric.add_batch(predictions=predictions, references=references)
    return metric.compute(ks=[1, 2])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs processes that start fast")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_processes(tmp_path: Path) -> None:
    """Two processes with rows and one without give what one process gives."""
    with multiprocessing.get_context("fork").Pool(3) as pool:
        waiting = pool.starmap_async(part_of_an_evaluation, [(process, str(tmp_path)) for process in range(3)], 1)
        results = waiting.get(timeout=120)
    assert results == [pytest.approx(ranking_scores([2, 1, 0], ks=[1, 2])), None, None]
