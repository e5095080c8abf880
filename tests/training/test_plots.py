from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from peft_pod.training import plots

LOG = [
    {"step": 1, "loss": 3.0, "loss_sequential": 4.0, "loss_topn": 2.0, "grad_norm": 1.0, "learning_rate": 0.1},
    {"step": 2, "loss": 2.0, "loss_sequential": 2.0},
    {"step": 2, "eval_loss": 2.5, "eval_sequential_loss": 2.75, "eval_runtime": 3.0},
    {"step": 2, "loss_sequential": 1.0},
    {"train_runtime": 10.0, "train_loss": 2.0},
]
PROTOCOL = {"part": "test", "num_users": 400, "candidates": "full", "history_excluded": True, "beams": 5}


def result(rates: dict[str, float], **protocol) -> dict:
    return {"protocol": {**PROTOCOL, **protocol}, "metrics": rates}


def shows(path: Path, colour: str) -> bool:
    """Whether a picture has at least a few dots of a colour."""
    dots = imread(path)[..., :3].reshape(-1, 3)
    return int((abs(dots - np.array(to_rgb(colour))).max(axis=1) < 0.02).sum()) >= 10


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written from here on."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args, **kwargs) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_losses_are_drawn_by_task_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    plots.plot_losses(LOG, tmp_path / "losses.png")
    curves = {
        (axis.get_title(), line.get_label()): [tuple(point) for point in line.get_xydata().tolist()]
        for axis in figures[0].axes
        for line in axis.lines
    }
    assert curves == {
        ("sequential", "training"): [(1, 4.0), (2, 1.0)],
        ("sequential", "validation"): [(2, 2.75)],
        ("topn", "training"): [(1, 2.0)],
        ("all tasks", "training"): [(1, 3.0), (2, 2.0)],
        ("all tasks", "validation"): [(2, 2.5)],
    }
    assert shows(tmp_path / "losses.png", plots.BLUE)
    assert shows(tmp_path / "losses.png", plots.VERMILION)
    labels = [(axis.get_xlabel(), axis.get_ylabel()) for axis in figures[0].axes]
    assert labels == [("training step", "loss (nats per target token)")] * 3


def test_one_task_has_one_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    plots.plot_losses([{"step": 1, "loss": 2.0, "loss_topn": 2.0}], tmp_path / "losses.png")
    assert [axis.get_title() for axis in figures[0].axes] == ["topn"]
    assert not shows(tmp_path / "losses.png", plots.VERMILION)  # nothing was validated


def test_ranking_bars_have_the_rates_and_their_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    report = {
        "tasks": {
            "sequential": result({"hr@10": 0.2, "hr@1": 0.1, "ndcg@10": 0.15}),
            "explanation": result({"bleu-4": 1.0}),
        },
        "baselines": {
            "sequential": {
                "popularity": result({"hr@1": 0.0, "hr@10": 0.05}, beams=None),
                "random": result({"hr@1": 0.01, "hr@10": 0.02}, num_users=100),
            }
        },
    }
    plots.plot_ranking(report, tmp_path / "ranking.png")
    (axis,) = figures[0].axes
    assert axis.get_title().splitlines() == ["sequential", "test, full catalogue, history excluded, 400 users"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["HR@1", "HR@10"]
    bars = [group for group in axis.containers if hasattr(group, "patches")]
    heights = {group.get_label(): [bar.get_height() for bar in group] for group in bars}
    assert heights == {"model": [0.1, 0.2], "popularity": [0.0, 0.05], "random (other protocol)": [0.01, 0.02]}
    lines = bars[0].errorbar.lines[2][0].get_segments()
    low, high = lines[0][0][1], lines[0][1][1]
    assert (low + high) / 2 == pytest.approx(0.1)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.1 * 0.9 / 400))
    # The interval of a rare hit does not reach below nothing.
    rare = bars[2].errorbar.lines[2][0].get_segments()[0]
    assert rare[0][1] == pytest.approx(0.0)
    assert shows(tmp_path / "ranking.png", plots.BLUE)


def test_a_report_as_the_metrics_write_it(tmp_path: Path) -> None:
    from peft_pod.metrics import Protocol, Report, TaskResult

    task = TaskResult(Protocol("test", 10, "full", True), {"hr@1": 0.5})
    report = Report(corpus={"name": "x"}, part="test", tasks={}, baselines={"topn": {"popularity": task}})
    plots.plot_ranking(report.to_dict(), tmp_path / "ranking.png")
    assert shows(tmp_path / "ranking.png", plots.BASELINE_COLOURS[0])


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log_history has no losses"):
        plots.plot_losses([{"train_loss": 1.0}], tmp_path / "losses.png")
    with pytest.raises(ValueError, match="hr@k"):
        plots.plot_ranking({"tasks": {"explanation": result({"bleu-4": 1.0})}, "baselines": {}}, tmp_path / "r.png")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "losses.png"
    path.write_bytes(b"old")

    def fail(figure: Figure, target: Path, **kwargs) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.plot_losses(LOG, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["losses.png"]


def test_no_figure_is_left_to_pyplot(tmp_path: Path) -> None:
    plots.plot_losses(LOG, tmp_path / "losses.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
