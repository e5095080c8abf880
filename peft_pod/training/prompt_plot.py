"""The picture of a model's prompt vectors: where they lie, and the tokens nearest to each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from .drawing import PALETTE, write_figure

_LISTED = 3
_MARKERS = ("o", "s", "^", "D", "v", "P")
_POINT_LETTERS, _LIST_LETTERS = 16, 28
_LINE_INCHES = 0.155
_OFFSETS = ((5, 3), (5, -9), (-5, 3), (-5, -9), (0, 8), (0, -14), (5, 13), (-5, 13), (5, -19), (-5, -19))
"""Where a label may stand beside its point, in points of 1/72 inch; those before are tried first."""


def plot_prompts(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the prompt vectors of all tasks in the plane of their principal components, a list of tokens beside them.

    Every vector has a number, which is that of its line in the list. A point is labelled with its nearest token and
    cosine where there is room, and with the number alone elsewhere.

    Args:
        found: what `peft_pod.generation.prompt_meaning.read_prompts` gives.
        path: the PNG file to write; it is replaced only when the new one is complete.
    """
    tasks: Mapping[str, Any] = found["tasks"]
    lines = sum(len(vectors) + 2 for vectors in tasks.values())
    height = max(5.4, 1.3 + _LINE_INCHES * lines)
    figure = Figure(figsize=(13.5, height), layout="constrained")
    FigureCanvasAgg(figure)
    plane, listing = figure.subplots(1, 2, width_ratios=(1, 1))
    listing.set_axis_off()
    _draw_points(plane, tasks)
    plane.set_xlabel(f"first principal component ({found['variance'][0]:.0%} of the variance)", fontsize=9)
    plane.set_ylabel(f"second principal component ({found['variance'][1]:.0%} of the variance)", fontsize=9)
    plane.legend(loc="best", fontsize=8, framealpha=0.7)
    chance = found["chance"]
    _list_tokens(listing, tasks, lines, chance["high"])
    figure.suptitle(
        "Prompt vectors, and the tokens nearest to each with the cosine of the angle between them "
        "(1: same direction, 0: nothing in common).\n"
        f"Nearest is not near: a random direction finds a token at {chance['median']:.2f}, and 95 % of them none above "
        f"{chance['high']:.2f}. Bold: above that.",
        fontsize=10,
    )
    figure.draw_without_rendering()
    _label_points(figure, plane, tasks, chance["high"])
    write_figure(figure, path)


def _draw_points(axis: Axes, tasks: Mapping[str, Any]) -> None:
    for number, (task, vectors) in enumerate(tasks.items()):
        axis.scatter(
            [vector["point"][0] for vector in vectors],
            [vector["point"][1] for vector in vectors],
            s=26,
            marker=_MARKERS[number % len(_MARKERS)],
            color=PALETTE[number % len(PALETTE)],
            label=task,
        )
    axis.margins(0.14)
    axis.set_aspect("equal", adjustable="datalim")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)


def _label_points(figure: Figure, axis: Axes, tasks: Mapping[str, Any], chance: float) -> None:
    taken = [
        Bbox.from_bounds(x - 4, y - 4, 8, 8)
        for _, _, vector in _numbered(tasks)
        for x, y in [axis.transData.transform(vector["point"])]
    ]
    for task, number, vector in _numbered(tasks):
        nearest = vector["nearest"][0]
        colour = PALETTE[task % len(PALETTE)]
        texts = [f"{number} {_short(nearest['name'], _POINT_LETTERS)} {nearest['cosine']:.2f}", str(number)]
        tried = [(text, offset) for text in texts for offset in _OFFSETS]
        for place, (text, (right, up)) in enumerate(tried, start=1):
            label = axis.annotate(
                text,
                vector["point"],
                xytext=(right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "right" if right < 0 else "center",
                fontsize=7,
                color=colour,
                weight="bold" if nearest["cosine"] > chance else "normal",
                parse_math=False,
            )
            box = label.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
            free = not any(box.overlaps(other) for other in taken)
            # A number that stands on something else is still better than a point without one.
            if place == len(tried) or (free and axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max)):
                taken.append(box)
                break
            label.remove()


def _numbered(tasks: Mapping[str, Any]) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    for task, vectors in enumerate(tasks.values()):
        for number, vector in enumerate(vectors, start=1):
            yield task, number, vector


def _list_tokens(axis: Axes, tasks: Mapping[str, Any], lines: int, chance: float) -> None:
    row = 0

    def write(left: float, text: str, **how: Any) -> None:
        axis.text(
            left, 1 - row / lines, text, transform=axis.transAxes, va="top", fontsize=7.5, parse_math=False, **how
        )

    for task, (name, vectors) in enumerate(tasks.items()):
        colour = PALETTE[task % len(PALETTE)]
        write(0.0, name, color=colour, weight="bold")
        row += 1
        for number, vector in enumerate(vectors, start=1):
            write(0.03, str(number), color=colour, ha="right")
            for place, token in enumerate(vector["nearest"][:_LISTED]):
                weight = "bold" if token["cosine"] > chance else "normal"
                text = f"{_short(token['name'], _LIST_LETTERS)} {token['cosine']:.2f}"
                write(0.05 + 0.32 * place, text, weight=weight)
            row += 1
        row += 1


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
