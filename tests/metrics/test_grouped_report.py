from __future__ import annotations

from dataclasses import replace

import pytest

from peft_pod.corpus import load_corpus
from peft_pod.metrics import Report, evaluate_baseline, load_baseline
from peft_pod.metrics.grouped_report import grouped_hit_rates


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=60, num_items=80).split()


def report_of(split, part, ks=(1, 10, 20)):
    results = {
        name: evaluate_baseline(load_baseline(name).fit(split.train), split, part, ks=ks, bootstrap=None)
        for name in ("co-occurrence", "popularity")
    }
    return Report(
        {"name": "embedded", "fingerprint": ""},
        part,
        {"sequential": results["co-occurrence"]},
        {"sequential": {"popularity": results["popularity"]}},
    )


@pytest.mark.parametrize("part", ["validation", "test"])
def test_groups_add_up_to_the_report(split, part):
    """And every user is in the group of their own item and history, looked up one by one."""
    report = report_of(split, part)
    found = grouped_hit_rates(report, split)["sequential"]
    assert found["k"] == 10
    for grouping in ("by_popularity", "by_history"):
        groups = found[grouping]
        assert sum(group["users"] for group in groups) == len(split.evaluated_users(part))
        for system, result in (
            ("model", report.tasks["sequential"]),
            ("popularity", report.baselines["sequential"]["popularity"]),
        ):
            hits = sum(group["systems"][system]["hits"] for group in groups)
            assert hits / len(split.evaluated_users(part)) == pytest.approx(result.metrics["hr@10"])
    ranks = report.tasks["sequential"].ranks
    rank_of = dict(zip(ranks.user_ids, ranks.ranks.tolist(), strict=True))
    for grouping, value in (
        ("by_popularity", lambda user: split.train.item_counts[split.target(user, part)]),
        ("by_history", lambda user: len(split.history(user, part))),
    ):
        for group in found[grouping]:
            users = [user for user in split.evaluated_users(part) if group["low"] <= value(user) <= group["high"]]
            assert len(users) == group["users"]
            hits = sum(1 <= rank_of[split.train.user_ids[user]] <= 10 for user in users)
            assert hits == group["systems"]["model"]["hits"]


def test_the_cutoff(split):
    report = report_of(split, "test")
    assert grouped_hit_rates(report, split, 20)["sequential"]["k"] == 20
    with pytest.raises(ValueError, match=r"k is 21.*from 1 to 20.*--ks 21"):
        grouped_hit_rates(report, split, 21)
    assert grouped_hit_rates(report_of(split, "test", ks=(1, 5)), split)["sequential"]["k"] == 5


def test_baselines_that_answered_another_question_are_left_out(split):
    report = report_of(split, "test")
    row = report.baselines["sequential"]["popularity"]
    other = replace(row, protocol=replace(row.protocol, candidates="candidates-100"))
    found = grouped_hit_rates(replace(report, baselines={"sequential": {"popularity": other}}), split)
    assert set(found["sequential"]["by_history"][0]["systems"]) == {"model"}


def test_another_split_is_refused(split):
    other = load_corpus("embedded", num_users=61, num_items=80).split()
    with pytest.raises(ValueError, match="made on a split with the fingerprint"):
        grouped_hit_rates(report_of(split, "test"), other)


def test_a_report_without_ranks_gives_nothing(split):
    report = report_of(split, "test")
    tasks = {name: replace(result, ranks=None) for name, result in report.tasks.items()}
    assert grouped_hit_rates(replace(report, tasks=tasks), split) == {}
