"""The code in `docs/evaluation.md` runs as it is written."""

from __future__ import annotations

from pathlib import Path

from ..documentation import page, python_blocks, run_blocks

BLOCKS = python_blocks(page("evaluation.md"))
NEEDS_DATA = "PEFT_POD_DATA"
STANDS_ALONE = "__main__"

CHECKS = """
assert result.metrics == evaluate_baseline(load_baseline("co-occurrence").fit(split.train), split).metrics
assert str(result.protocol) == "test, full catalogue, history excluded, leave-one-out, 100 users"
paper, standard = (load_metric("explanation").compute(**texts, convention=way) for way in ("paper", "standard"))
assert (round(standard["rouge-1"], 1), round(paper["rouge-1"], 1)) == (88.9, 44.4)
assert found.low < found.difference < found.high and found.p_value < 0.05
low, high = Bootstrap().intervals({"rating error": np.array([0.5, 1.0, 0.0])})["rating error"]
assert 0 <= low < 0.5 < high <= 1
follower = evaluate_baseline(FollowerBaseline().fit(split.train), split).metrics
assert follower == evaluate_baseline(NextItemBaseline().fit(split.train), split).metrics
assert ManyReadersBaseline().fit(split.train).scores([0], [[]]).shape == (1, split.train.num_items)
assert baselines["topn"]["popularity"].protocol.candidates == "candidates-100"
assert Report.load("report.json") == report
metric = ReciprocalRankMetric(keep_in_memory=True)
assert metric.compute(predictions=[["a", "b"], ["c"]], references=["b", "c"]) == {"mrr": 0.75}
"""


def test_the_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    """All but the one that needs the data of the paper; `test_scores_on_the_corpora_of_the_paper` has its numbers."""
    blocks = [block for block in BLOCKS if NEEDS_DATA not in block and STANDS_ALONE not in block]
    assert len(blocks) == len(BLOCKS) - 2
    printed = run_blocks(blocks, tmp_path, checks=CHECKS)
    assert "sequential: test, full catalogue, history excluded, 20 beams, leave-one-out, 50 users" in printed
    assert "†" not in printed


def test_the_script_for_several_processes(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if STANDS_ALONE in block)
    assert run_blocks([block], tmp_path) == "fmr is 0.67\n"
