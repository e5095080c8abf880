from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.metrics import (
    Bootstrap,
    Protocol,
    Report,
    TaskResult,
    UserRanks,
    compare_results,
    compare_runs,
    comparison,
    format_comparison,
    ranking_scores,
)
from peft_pod.metrics.comparison import sign_flip_p_value

PROTOCOL = Protocol("test", 100, "full", True, split="leave-one-out", fingerprint="0123")


def result(ranks: dict[str, int], metrics: tuple[str, ...] = ("hr", "ndcg"), **changes: object) -> TaskResult:
    order = np.array(list(ranks.values()))
    protocol = replace(PROTOCOL, num_users=len(ranks), **changes)
    return TaskResult(protocol, ranking_scores(order, [1, 10], metrics), ranks=UserRanks(list(ranks), order))


def drawn(chance: float, num_users: int, seed: int) -> dict[str, int]:
    """Users whose item is first with this chance, and otherwise not in the list."""
    hits = np.random.default_rng(seed).random(num_users) < chance
    return {f"user-{user}": int(hit) for user, hit in enumerate(hits)}


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
@settings(deadline=None, max_examples=40)
def test_p_values_are_those_of_all_signs(differences: list[float]) -> None:
    """Over every choice of signs the share of sums as large as the one that was seen."""
    seen = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product([-1, 1], repeat=len(differences))
    ]
    exact = np.mean([value >= seen - 1e-9 for value in sums])
    found = sign_flip_p_value(np.array(differences), permutations=4000)
    assert found == pytest.approx(exact, abs=5 * math.sqrt(0.25 / 4000) + 1 / 4000)


def test_p_values_do_not_depend_on_the_order_or_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, 60)
    whole = sign_flip_p_value(differences, 500, seed=2)
    assert sign_flip_p_value(differences[::-1], 500, seed=2) == whole
    assert sign_flip_p_value(-differences, 500, seed=2) == whole
    monkeypatch.setattr(comparison, "_CELLS_AT_ONCE", 7 * 60)
    assert sign_flip_p_value(differences, 500, seed=2) == whole


def test_luck_is_taken_for_a_difference_as_often_as_it_should() -> None:
    """Both runs hit with the same chance: a p-value of at most .1 comes in about a tenth of 300 trials."""
    lucky = 0
    for trial in range(300):
        first, second = result(drawn(0.3, 200, 2 * trial)), result(drawn(0.3, 200, 2 * trial + 1))
        found = compare_results(first, second, permutations=400, bootstrap=Bootstrap(10, seed=trial))
        lucky += found.differences["hr@1"].p_value <= 0.1
    assert 0.05 < lucky / 300 < 0.15


def test_a_real_difference_is_found_and_its_interval_holds_it() -> None:
    first, second = result(drawn(0.4, 2000, 0)), result(drawn(0.3, 2000, 1))
    found = compare_results(first, second).differences["hr@10"]
    assert found.difference == pytest.approx(first.metrics["hr@10"] - second.metrics["hr@10"])
    assert (found.first, found.second) == (first.metrics["hr@10"], second.metrics["hr@10"])
    assert 0 < found.low < 0.1 < found.high
    # Of independent runs, the standard error of a difference is √(Σ p (1 − p) / n).
    error = math.sqrt((0.4 * 0.6 + 0.3 * 0.7) / 2000)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert found.p_value == 1 / 10_001
    # The other way round.
    other = compare_results(second, first).differences["hr@10"]
    assert other.difference == -found.difference
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=0.2 * error)


def test_pairs_make_a_small_difference_visible() -> None:
    """Runs that agree on all but 12 of 1000 users: unpaired intervals would overlap."""
    first = {f"u{user}": int(user % 2) for user in range(1000)}
    second = {user: 0 if int(user[1:]) < 24 else rank for user, rank in first.items()}
    found = compare_results(result(first), result(second)).differences["hr@1"]
    assert found.difference == pytest.approx(0.012)
    assert found.low > 0
    assert found.p_value < 0.002


def test_only_users_whom_both_evaluated_are_compared() -> None:
    first = result({"ann": 1, "bob": 0, "cat": 2, "dan": 1})
    second = result({"eve": 1, "cat": 1, "bob": 3})
    found = compare_results(first, second)
    assert found.protocol == replace(first.protocol, num_users=2)
    both = found.differences["ndcg@10"]
    assert both.first == pytest.approx((0 + 1 / math.log2(3)) / 2)
    assert both.second == pytest.approx((1 / 2 + 1) / 2)


def test_only_metrics_that_both_have_are_compared() -> None:
    users = {"ann": 1, "bob": 0}
    found = compare_results(result(users, ("mrr", "hr")), result(users, ("hr", "recall")))
    assert list(found.differences) == ["hr@1", "hr@10"]
    assert found.differences["hr@1"].p_value == 1.0
    with pytest.raises(ValueError, match="no ranking metric is in both"):
        compare_results(result(users, ("mrr",)), result(users, ("hr",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "validation"}, "part is 'test' in the first, 'validation' in the second"),
        ({"candidates": "candidates-100"}, "candidates is 'full' in the first, 'candidates-100' in the second"),
        ({"history_excluded": False}, "history_excluded is True in the first, False in the second"),
        ({"split": "temporal", "fingerprint": "4567"}, "split is .*; fingerprint is '0123' in the first, '4567'"),
        ({"details": {"candidate_seed": 3}}, "candidate_seed is None in the first, 3 in the second"),
    ],
)
def test_other_questions_are_refused(changes: dict, message: str) -> None:
    users = {"ann": 1, "bob": 0}
    with pytest.raises(ValueError, match=f"different questions and can't be compared: {message}"):
        compare_results(result(users), result(users, **changes))


def test_what_cannot_be_compared() -> None:
    one, other = result({"ann": 1}), result({"bob": 1})
    with pytest.raises(ValueError, match="no user was evaluated in both"):
        compare_results(one, other)
    with pytest.raises(ValueError, match="the second result has no ranks"):
        compare_results(one, replace(one, ranks=None))
    with pytest.raises(ValueError, match="permutations is 0"):
        compare_results(one, one, permutations=0)


def report(fingerprint: str = "0123", **tasks: TaskResult) -> Report:
    return Report({"name": "made up", "fingerprint": fingerprint}, "test", tasks)


def test_runs_are_compared_on_the_tasks_that_both_rank() -> None:
    text = TaskResult(Protocol("test", 2), {"bleu-1": 1.0})
    first = report(sequential=result({"ann": 1}), topn=result({"ann": 0}), explanation=text)
    second = report(topn=result({"ann": 2}), explanation=text)
    found = compare_runs(first, second)
    assert list(found) == ["topn"]
    assert found["topn"] == compare_results(first.tasks["topn"], second.tasks["topn"])
    assert found["topn"].to_dict()["differences"]["hr@10"]["difference"] == -1.0
    with pytest.raises(ValueError, match="different corpora, with the fingerprints 0123 and 4567"):
        compare_runs(first, report("4567", topn=result({"ann": 2})))
    with pytest.raises(ValueError, match="no task has ranks in both reports"):
        compare_runs(first, report(explanation=text))
    with pytest.raises(
        ValueError, match=r"the tasks \['sequential'\] don't have ranks .*; those that have are \['topn'\]"
    ):
        compare_runs(first, second, tasks=["sequential"])


def test_one_task_may_be_comparable_where_another_is_not() -> None:
    """As of two runs whose seeds, and so the candidates of the top-N task, differ."""
    first, second = (
        report(sequential=result({"ann": 1}), topn=result({"ann": 1}, details={"candidate_seed": seed}))
        for seed in (1, 2)
    )
    with pytest.raises(ValueError, match="task 'topn': .* candidate_seed is 1 in the first, 2 in the second"):
        compare_runs(first, second)
    assert list(compare_runs(first, second, tasks=["sequential"])) == ["sequential"]


def test_a_table() -> None:
    users = {f"u{number}": 1 for number in range(5)}
    lines = format_comparison(compare_runs(report(topn=result(users)), report(topn=result(users)))).splitlines()
    assert lines == [
        "topn: test, full catalogue, history excluded, leave-one-out, 5 users",
        "          first  second  first - second     95 % interval       p",
        "hr@1     1.0000  1.0000         +0.0000  +0.0000, +0.0000  1.0000",
        "ndcg@1   1.0000  1.0000         +0.0000  +0.0000, +0.0000  1.0000",
        "hr@10    1.0000  1.0000         +0.0000  +0.0000, +0.0000  1.0000",
        "ndcg@10  1.0000  1.0000         +0.0000  +0.0000, +0.0000  1.0000",
    ]
