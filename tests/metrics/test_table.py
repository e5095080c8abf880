from __future__ import annotations

from peft_pod.metrics import Bootstrap, Protocol, Report, TaskResult, format_table

FULL = Protocol("test", 22363, "full", True)
BEAMS = Protocol("test", 22363, "full", True, beams=20)


def report(**parts) -> Report:
    return Report(corpus={"name": "beauty", "fingerprint": "1ebd44e55eb5"}, part="test", **{"tasks": {}, **parts})


def test_a_whole_table() -> None:
    table = format_table(
        report(
            tasks={
                "sequential": TaskResult(BEAMS, {"hr@1": 0.02, "hr@10": 0.0679}),
                "explanation": TaskResult(Protocol("test", 300), {"bleu-4": 1.064, "fmr": 0.5}),
            },
            baselines={
                "sequential": {
                    "popularity": TaskResult(FULL, {"hr@1": 0.02, "hr@10": 0.0115}),
                    "co-occurrence": TaskResult(FULL, {"hr@10": 0.0715}),
                    "random": TaskResult(Protocol("test", 50, "full", True), {"hr@1": 0.5, "hr@10": 0.9}),
                }
            },
            notes=("audit: the item order leaks.",),
        )
    )
    assert table == "\n".join(
        [
            "beauty (fingerprint 1ebd44e55eb5), seed 0",
            "",
            "sequential: test, full catalogue, history excluded, 20 beams, 22,363 users",
            "                 hr@1    hr@10",
            "-------------------------------",
            "model          0.0200*  0.0679",
            "popularity     0.0200*  0.0115",
            "co-occurrence       -   0.0715*",
            "random †       0.5000   0.9000",
            "† random: test, full catalogue, history excluded, 50 users; can't be compared with the others",
            "The model loses to co-occurrence on hr@10.",
            "",
            "explanation: test, 300 users",
            "       bleu-4      fmr",
            "-----------------------",
            "model    1.06   0.5000",
            "",
            "audit: the item order leaks.",
        ]
    )


def test_baselines_without_a_model() -> None:
    lines = format_table(
        report(
            baselines={"topn": {"model": TaskResult(FULL, {"hr@1": 0.1}), "random": TaskResult(FULL, {"hr@1": 0.2})}}
        )
    ).splitlines()
    assert lines[2] == "topn: test, full catalogue, history excluded, 22,363 users"
    assert lines[5:] == ["model (baseline)  0.1000", "random            0.2000*"]


def test_nothing_to_show() -> None:
    assert format_table(report(baselines={"topn": {}})).splitlines()[-1] == "topn: no results"


def test_intervals_and_statistics_on_demand() -> None:
    model = TaskResult(
        BEAMS, {"hr@1": 0.02, "hr@10": 0.0679}, {"hr@1": (0.018, 0.0221)}, Bootstrap(500, 0.9), {"coverage@10": 0.25}
    )
    baseline = TaskResult(FULL, {"hr@1": 0.01, "hr@10": 0.07}, statistics={"coverage@10": 0.9, "arp@10": 123.456})
    whole = report(tasks={"sequential": model}, baselines={"sequential": {"random": baseline}})
    assert format_table(whole, intervals=True, statistics=True).splitlines()[2:] == [
        "sequential: test, full catalogue, history excluded, 20 beams, 22,363 users",
        "                 hr@1    hr@10   coverage@10   arp@10",
        "------------------------------------------------------",
        "model          0.0200*  0.0679          0.25        -",
        "        0.0180-0.0221",
        "random         0.0100   0.0700*          0.9    123.5",
        "Below each row: 90 % intervals, 500 resamples of the users",
        "The model loses to random on hr@10.",
    ]
    plain = format_table(whole)
    assert "coverage" not in plain
    assert "0.0180" not in plain
