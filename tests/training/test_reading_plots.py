from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from peft_pod.training.prompt_plot import plot_prompts
from peft_pod.training.reading_plots import plot_attention, plot_hit_rates

from .test_plots import drawn


def group(name: str, span: str, users: int, **rates: float) -> dict:
    systems = {
        system.replace("_", "-"): {"hit_rate": rate, "interval": [rate / 2, min(1.0, 2 * rate)]}
        for system, rate in rates.items()
    }
    return {"name": name, "span": span, "users": users, "systems": systems}


def test_hit_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    found = {
        "sequential": {
            "k": 5,
            "protocol": "test, full catalogue",
            "by_popularity": [
                group("cold", "0", 1200, model=0.1, popularity=0.0),
                group("10", "7–9", 30, model=0.4, popularity=0.3),
            ],
            "by_history": [group("21–50", "21–44", 40, model=0.25, popularity=0.2)],
        }
    }
    plot_hit_rates(found, tmp_path / "hit_rates.png")
    popularity, history = figures[0].axes
    assert [bar.get_height() for bar in popularity.patches] == [0.1, 0.4]
    assert [text.get_text() for text in popularity.get_xticklabels()] == ["cold\n0×\nn=1,200", "D10\n7–9×\nn=30"]
    assert [text.get_text() for text in history.get_xticklabels()] == ["21–50\nn=40"]
    whiskers = {
        container.get_label(): [segment[:, 1].tolist() for segment in container.lines[2][0].get_segments()]
        for container in popularity.containers
        if hasattr(container, "lines")
    }
    assert np.allclose(whiskers["popularity"], [[0, 0], [0.15, 0.6]])
    assert history.get_ylabel() == "HR@5"
    assert history.get_title() == "sequential: test, full catalogue"
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["model", "popularity"]


def test_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    place = {"layers": [0.5, 0.25], "heads": [[0.4, 0.6], [0.25, 0.25]]}
    values = {"questions": 7, "uniform": 0.3, "encoder_from_tokens": place, "encoder_from_prompts": place}
    plot_attention({"topn": {**values, "decoder": {"layers": [0.1], "heads": [[0.1]]}}}, tmp_path / "attention.png")
    assert len(figures[0].axes) == 3
    first, last = figures[0].axes[0], figures[0].axes[2]
    assert first.containers[0].lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.25]]
    assert np.allclose(first.containers[0].lines[2][0].get_segments()[0][:, 1], [0.4, 0.6])
    assert [0.3, 0.3] in [list(line.get_ydata()) for line in first.lines]
    assert last.containers[0].lines[0].get_xydata().tolist() == [[1, 0.1]]
    # One scale, up to the head that attends most.
    assert [axis.get_ylim() for axis in figures[0].axes] == [(0, pytest.approx(0.66))] * 3


def test_long_titles_do_not_run_into_the_next_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    protocol = "test, candidates-100, 20 beams, candidate seed 0, candidates in trie, history length 20, 943 users"
    groups = [group("10", "7–9", 30, model=0.4)]
    values = {"k": 10, "protocol": protocol, "by_popularity": groups, "by_history": groups}
    plot_hit_rates({"topn": values}, tmp_path / "hit_rates.png")
    figure = figures[0]
    figure.canvas.draw()
    boxes = [axis.title.get_window_extent() for axis in figure.axes]
    assert boxes[0].x1 < boxes[1].x0
    assert figure.axes[0].get_title().replace("\n", " ") == f"topn: {protocol}"


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may hold what matplotlib would take for formulas."""
    figures = drawn(monkeypatch)

    def vector(x: float, y: float, name: str, cosine: float) -> dict:
        nearest = [{"token": 1, "name": name, "cosine": cosine}, {"token": 2, "name": "▁soap", "cosine": 0.2}]
        return {"point": [x, y], "norm": 1.0, "nearest": nearest}

    found = {
        "tasks": {
            "sequential": [vector(0, 0, "“$5 and $\\oops”", 0.51), vector(1, 1, "▁next", 0.3)],
            "topn": [vector(-1, 1, "▁a-name-that-is-far-too-long-for-a-picture", 0.31)],
        },
        "variance": [0.6, 0.25],
        "chance": {"median": 0.28, "high": 0.4},
    }
    plot_prompts(found, tmp_path / "prompts.png")
    (figure,) = figures
    texts = texts_of(figure)
    assert "1 “$5 and $\\oops” 0.51" in texts
    assert "2 ▁next 0.30" in texts
    assert "1 ▁a-name-that-is… 0.31" in texts
    assert texts.count("▁soap 0.20") == 3
    bold = {text.get_text() for axis in figure.axes for text in axis.texts if text.get_weight() == "bold"}
    assert bold == {"1 “$5 and $\\oops” 0.51", "“$5 and $\\oops” 0.51", "sequential", "topn"}
    assert "a random direction finds a token at 0.28" in figure.get_suptitle()
    assert figure.axes[0].get_xlabel() == "first principal component (60% of the variance)"
    assert (tmp_path / "prompts.png").stat().st_size > 10_000


def test_many_vectors_in_one_place_all_have_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    one = {"point": [0.0, 0.0], "norm": 0.0, "nearest": [{"token": 1, "name": "▁soap", "cosine": 0.2}]}
    found = {
        "tasks": {"topn": [one] * 30},
        "variance": [0.0, 0.0],
        "chance": {"median": 0.28, "high": 0.4},
    }
    plot_prompts(found, tmp_path / "prompts.png")
    numbers = {text.get_text().split()[0] for text in figures[0].axes[0].texts}
    assert numbers == {str(number) for number in range(1, 31)}


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no task has ranks"):
        plot_hit_rates({}, tmp_path / "a.png")
    with pytest.raises(ValueError, match="no attention to draw"):
        plot_attention({}, tmp_path / "a.png")
