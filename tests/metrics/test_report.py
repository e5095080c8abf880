from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.metrics import Bootstrap, Protocol, Report, TaskResult, UserRanks, ranking_scores, software_versions

names = st.text(min_size=1, max_size=8)
protocols = st.builds(
    Protocol,
    part=st.sampled_from(["validation", "test"]),
    num_users=st.integers(1, 10**9),
    candidates=st.none() | st.sampled_from(["full", "candidates-100"]),
    history_excluded=st.none() | st.booleans(),
    beams=st.none() | st.integers(1, 50),
    details=st.dictionaries(
        names.map("x_".__add__), st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    ),
    split=st.none() | st.sampled_from(["leave-one-out", "temporal"]),
    fingerprint=st.none() | names,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
measured = st.dictionaries(names, finite, min_size=1, max_size=3).flatmap(
    lambda metrics: st.builds(
        TaskResult,
        protocol=protocols,
        metrics=st.just(metrics),
        intervals=st.dictionaries(st.sampled_from(sorted(metrics)), st.tuples(finite, finite)),
        bootstrap=st.none() | st.builds(Bootstrap, st.integers(1, 9), st.floats(0.1, 0.9), st.integers(0, 9)),
        statistics=st.dictionaries(names, finite, max_size=2),
    )
)
reports = st.builds(
    Report,
    corpus=st.fixed_dictionaries({"name": names, "fingerprint": names}),
    part=st.sampled_from(["validation", "test"]),
    tasks=st.dictionaries(names, measured, max_size=2),
    baselines=st.dictionaries(names, st.dictionaries(names, measured, max_size=2), max_size=2),
    versions=st.dictionaries(names, names, max_size=2),
    seed=st.integers(0, 2**31),
    notes=st.lists(names, max_size=2).map(tuple),
)


@given(reports)
def test_json_gives_the_report_back(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report
    assert Report.from_dict(report.to_dict()) == report


def example(model: float = 0.08, baseline: float = 0.02, users: int = 100) -> Report:
    protocol = Protocol("test", 100, "full", True, beams=20)
    other = Protocol("test", users, "full", True)
    return Report(
        corpus={"name": "embedded", "fingerprint": "0123"},
        part="test",
        tasks={"sequential": TaskResult(protocol, {"hr@10": model, "ndcg@10": 0.01})},
        baselines={"sequential": {"popularity": TaskResult(other, {"hr@10": baseline, "ndcg@10": 0.005})}},
        versions={"torch": "2.13"},
        seed=7,
    )


def test_the_json_form(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    example().save(path)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "corpus": {"name": "embedded", "fingerprint": "0123"},
        "part": "test",
        "tasks": {
            "sequential": {
                "protocol": {
                    "part": "test",
                    "num_users": 100,
                    "candidates": "full",
                    "history_excluded": True,
                    "beams": 20,
                },
                "metrics": {"hr@10": 0.08, "ndcg@10": 0.01},
            }
        },
        "baselines": {
            "sequential": {
                "popularity": {
                    "protocol": {"part": "test", "num_users": 100, "candidates": "full", "history_excluded": True},
                    "metrics": {"hr@10": 0.02, "ndcg@10": 0.005},
                }
            }
        },
        "versions": {"torch": "2.13"},
        "seed": 7,
    }
    assert Report.load(path) == example()
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_who_beats_the_model() -> None:
    assert example().lost_to("sequential") == {}
    assert example(model=0.02, baseline=0.02).lost_to("sequential") == {}
    assert example(model=0.01).lost_to("sequential") == {"popularity": ["hr@10"]}
    # Other users: not comparable, so nothing can be said.
    assert example(model=0.01, users=99).lost_to("sequential") == {}
    assert example().lost_to("topn") == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"part": "validation"},
        {"num_users": 9},
        {"candidates": "candidates-100"},
        {"history_excluded": False},
        {"split": "temporal"},
        {"fingerprint": "0123"},
        {"details": {"text_convention": "paper"}},
    ],
)
def test_protocols_that_ask_another_question(changes: dict) -> None:
    asked = {"part": "test", "num_users": 10, "candidates": "full", "history_excluded": True, "split": "leave-one-out"}
    assert Protocol(**asked).comparable_to(Protocol(**asked, beams=5, details={"dtype": "bf16"}))
    other = Protocol(**{**asked, **changes})
    assert not Protocol(**asked).comparable_to(other)
    (name,) = changes.get("details", changes)
    assert set(Protocol(**asked).differences(other)) == {name}
    assert Protocol(**asked).differences(other, ignore=[name]) == {}


def test_other_candidates_are_another_question() -> None:
    """The same number of candidates, drawn from another seed, are other candidates."""
    drawn, again, other = (
        Protocol("test", 10, "candidates-100", False, beams=beams, details={"candidate_seed": seed})
        for beams, seed in ((20, 0), (None, 0), (None, 1))
    )
    assert drawn.comparable_to(again)
    assert not drawn.comparable_to(other)


@pytest.mark.parametrize(
    ("content", "message"), [('{\n "part": ,', "line 2"), ("[]", "the report lacks"), ('{"part": "test"}', "lacks")]
)
def test_a_damaged_report_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"report\.json is not a report: .*{message}"):
        Report.load(path)


def test_a_protocol_in_words() -> None:
    assert str(Protocol("test", 1000, "candidates-100", False, 1, {"candidate_seed": 3})) == (
        "test, candidates-100, history included, greedy, candidate seed 3, 1,000 users"
    )
    assert str(Protocol("test", 5)) == "test, 5 users"
    assert str(Protocol("test", 5, "full", split="temporal")) == "test, full catalogue, temporal, 5 users"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match="metric 'hr@1' is"):
        TaskResult(Protocol("test", 1), {"hr@1": value})
    with pytest.raises(ValueError, match="metric 'coverage@1' is"):
        TaskResult(Protocol("test", 1), {"hr@1": 0.5}, statistics={"coverage@1": value})
    with pytest.raises(ValueError, match="the interval of 'hr@1' is"):
        TaskResult(Protocol("test", 1), {"hr@1": 0.5}, intervals={"hr@1": (0.1, value)})
    with pytest.raises(ValueError, match="the interval of 'hr@5' is .* must belong to a metric"):
        TaskResult(Protocol("test", 1), {"hr@1": 0.5}, intervals={"hr@5": (0.1, 0.2)})


def with_ranks(ranks: list[int]) -> Report:
    """Of a model and a baseline, whose ranks are the other way round."""
    users = [f"user-{number}" for number in range(len(ranks))]
    results = [
        TaskResult(Protocol("test", len(ranks)), ranking_scores(order, [1, 5]), ranks=UserRanks(users, np.array(order)))
        for order in (ranks, ranks[::-1])
    ]
    return Report({"name": "made up"}, "test", {"topn": results[0]}, {"topn": {"popularity": results[1]}})


def test_ranks_come_back_with_their_report(tmp_path: Path) -> None:
    report = with_ranks([1, 0, 3, 7])
    report.save(tmp_path / "report.json")
    report.save_ranks(tmp_path / "ranks.parquet")
    plain = Report.load(tmp_path / "report.json")
    assert plain == report
    assert plain.tasks["topn"].ranks is None
    whole = Report.load(tmp_path / "report.json", ranks=tmp_path / "ranks.parquet")
    model, baseline = whole.tasks["topn"].ranks, whole.baselines["topn"]["popularity"].ranks
    assert (list(model.user_ids), model.ranks.tolist()) == ([f"user-{n}" for n in range(4)], [1, 0, 3, 7])
    assert baseline.ranks.tolist() == [7, 3, 0, 1]


def test_ranks_of_another_report_are_refused(tmp_path: Path) -> None:
    with_ranks([1, 0, 3, 7]).save(tmp_path / "report.json")
    for number, others in enumerate(([1, 1, 3, 7], [1, 0, 3])):
        with_ranks(others).save_ranks(tmp_path / f"{number}.parquet")
        with pytest.raises(ValueError, match=rf"{number}\.parquet has other ranks of 'model' on 'topn'"):
            Report.load(tmp_path / "report.json", ranks=tmp_path / f"{number}.parquet")


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="num_users is 0"):
        Protocol("test", 0)
    with pytest.raises(ValueError, match="beams is 0"):
        Protocol("test", 1, beams=0)
    with pytest.raises(ValueError, match=r"details has \['beams'\]"):
        Protocol("test", 1, details={"beams": 3})
    with pytest.raises(ValueError, match=r"report lacks \['corpus'"):
        Report.from_dict({"part": "test"})
    with pytest.raises(ValueError, match=r"protocol lacks \['num_users'\]"):
        TaskResult.from_dict({"protocol": {"part": "test"}, "metrics": {}})


def test_versions() -> None:
    versions = software_versions()
    assert {"peft-pod", "torch", "peft", "transformers"} <= set(versions)
    assert all(isinstance(version, str) and version for version in versions.values())
