from __future__ import annotations

import pytest

from benchmarks.quality import PAGE, RESULTS
from benchmarks.quality.page import page
from benchmarks.quality.results import add_entry, outdated, read_entries
from benchmarks.quality.rows import cell
from benchmarks.quality.settings import read_runs

RUN = "corpus: shop/soap\ntable: {table}\nkind: {kind}\npart: {part}\nseeds: [0, 1]\ntitle: {title}\n"


@pytest.fixture
def folder(tmp_path):
    def run(name, **changes):
        values = {"table": "headline", "kind": "train", "part": "test", "title": name, **changes}
        (tmp_path / f"{name}.yaml").write_text(RUN.format(**values), encoding="utf-8")

    run("model")
    run("later")
    run("counts", table="baselines", kind="baselines")
    run("validated", table="baselines", kind="baselines", part="validation")
    run("tried", table="schemes", part="validation")
    return tmp_path


def entry(seed, systems, *, task="sequential", part="test", **more):
    """The entry of a seed; `systems` gives HR@10 and NDCG@10 with the history excluded, and included."""
    tasks = {}
    for name, (hr, ndcg, *included) in systems.items():
        tasks[name] = {"protocol": f"{part}, 9 users", "metrics": {"hr@10": hr, "ndcg@10": ndcg}}
        if included:
            metrics = dict(zip(("hr@10", "ndcg@10"), included, strict=True))
            tasks[name]["history_included"] = {"protocol": "included", "metrics": metrics}
    return {
        "seed": seed,
        "part": part,
        "arguments": {},
        "corpus": {"name": "shop/soap", "fingerprint": "0123", "indexing": "random"},
        "audit": {"leaks": False, "verdict": f"Audit {seed} of corpus 'shop/soap': no leak found."},
        "tasks": {task: tasks},
        "training": {"minutes": 2.0 + seed},
        "parameters": {"trained": 1000, "total": 2000},
        "machine": {"cpu": "CPU", "threads": 1, "python": "3.11", "accelerator": None},
        "versions": {"peft-pod": "0.1", "torch": "2.13"},
        "date": "2026-01-02",
        **more,
    }


def made(folder, text):
    source = folder / "page.md"
    source.write_text(text, encoding="utf-8")
    return page(source, folder, folder).partition("\n\n")[2]


def test_a_table_has_means_errors_baselines_what_loses_and_how_it_was_made(folder):
    for seed, hr in ((0, 0.10), (1, 0.14)):
        add_entry("model", entry(seed, {"model": (hr, 0.05, hr / 2, 0.01)}), folder)
        add_entry("counts", entry(seed, {"popularity": (0.11, 0.06, 0.04, 0.02)}), folder)
        add_entry("validated", entry(seed, {"popularity": (0.5, 0.5)}, part="validation"), folder)
    assert made(folder, "# Title\n\n{table:headline:soap}\n\nThe {end}.\n").splitlines() == [
        "# Title",
        "",
        "| `sequential`, test | item IDs | HR@10 | NDCG@10 | history included: HR@10 | history included: NDCG@10 | "
        "minutes | parameters trained | seeds | audit | made as |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| model | random | .1200 ± .0200 | .0500 | .0600 ± .0100 | .0100 | 2.5 | 1,000 | 0, 1 | no leak | a |",
        "| `popularity` | – | .1100 | .0600 | .0400 | .0200 | – | – | 0, 1 | no leak | a |",
        "",
        "model loses to `popularity` on NDCG@10, history included: NDCG@10.",
        "",
        "Not run yet: later.",
        "",
        "- a: test, 9 users; corpus shop/soap, fingerprint 0123; item IDs random: no leak found; CPU, 1 thread; "
        "Python 3.11, peft-pod 0.1, torch 2.13; 2026-01-02.",
        "",
        "Made by `python -m benchmarks.quality later model counts`.",
        "",
        "The {end}.",
    ]


def test_a_table_of_choices_has_the_baselines_of_the_validation_part(folder):
    add_entry("tried", entry(0, {"model": (0.1, 0.1)}, part="validation"), folder)
    add_entry("counts", entry(0, {"popularity": (0.9, 0.9)}), folder)
    add_entry("validated", entry(0, {"popularity": (0.5, 0.5)}, part="validation"), folder)
    text = made(folder, "{table:schemes:soap}\n")
    assert ".5000" in text
    assert ".9000" not in text
    assert "loses" not in text


def test_parts_are_never_in_the_same_block(folder):
    add_entry("counts", entry(0, {"popularity": (0.9, 0.9)}), folder)
    add_entry("validated", entry(0, {"popularity": (0.5, 0.5)}, part="validation"), folder)
    first, second = made(folder, "{table:baselines:soap}\n").split("| `sequential`, validation |")
    assert "| `sequential`, test |" in first
    assert (".9000" in first, ".5000" in first, ".9000" in second, ".5000" in second) == (True, False, False, True)


def test_a_leak_stands_in_the_row(folder):
    audit = {"leaks": True, "verdict": "Audit 1 of corpus 'shop/soap': IT LEAKS (index arithmetic)."}
    add_entry("tried", entry(0, {"model": (0.1, 0.1)}, audit=audit), folder)
    text = made(folder, "{table:schemes:soap}\n")
    assert "| 0 | LEAK | a |" in text
    assert "item IDs random: IT LEAKS (index arithmetic);" in text


def test_what_is_not_there_is_said(folder):
    assert made(folder, "{table:headline:soap}\n\n{examples:model}\n").startswith("Not run yet: later; model.")
    with pytest.raises(ValueError, match="table headline:pens, which no run belongs to"):
        made(folder, "{table:headline:pens}\n")
    with pytest.raises(ValueError, match="no run 'nobody'"):
        made(folder, "{examples:nobody}\n")


def test_examples_are_listed_with_what_the_user_wrote(folder):
    def example(written, feature=""):
        return {"item": "i", "feature": feature, "truth": "a *soft*\ntowel", "written": written, "bleu": 1.0}

    chosen = {"good": [example("soft", "soft")], "bad": [example("a|b")]}
    add_entry("model", entry(3, {"model": (0.1, 0.1)}, examples=chosen), folder)
    assert made(folder, "{examples:model}\n").splitlines() == [
        "Closest to what the user wrote (seed 3):",
        "",
        r"- written: “soft”; the user (feature: soft): “a \*soft\* towel”",
        "",
        "Farthest from it (seed 3):",
        "",
        r"- written: “a\|b”; the user: “a \*soft\* towel”",
    ]


@pytest.mark.parametrize(
    ("values", "metric", "shown"),
    [
        ([1.0], "hr@10", "1.0000"),
        ([0.99999], "hr@10", "1.0000"),
        ([10.0, 12.0], "rouge-l", "11.00 ± 1.00"),
        ([0.0, 0.0], "hr@1", ".0000"),
        ([], "hr@1", "–"),
    ],
)
def test_cells(values, metric, shown):
    assert cell(values, metric) == shown


def test_the_page_is_what_the_committed_results_generate():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.quality --page"


def test_the_committed_results_are_those_of_the_committed_runs():
    runs = read_runs()
    assert {path.stem for path in RESULTS.glob("*.json")} <= runs.keys()
    assert [name for name, run in runs.items() if outdated(run, read_entries(name))] == []
