"""How the house draws: colours, panels, one legend, and files that are whole."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peft_pod.files import replacing

# Okabe & Ito's colours, told apart with any colour vision.
BLUE, VERMILION, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
GREY = "#666666"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Of things of equal standing, such as tasks."""
BASELINE_COLOURS = (ORANGE, GREEN, PURPLE, SKY, VERMILION)
HATCHES = ("", "///", "...", "xxx", "\\\\\\")
PANEL_INCHES = (4.6, 3.6)
DOTS_PER_INCH = 150


def panels(
    number: int, columns: int | None = None, inches: tuple[float, float] = PANEL_INCHES
) -> tuple[Figure, list[Axes]]:
    """A figure of its own, outside pyplot, which keeps figures alive and may want a screen.

    Args:
        number: of panels.
        columns: in which they stand; by default up to three side by side, more in a square.
        inches: width and height of each.
    """
    width, height = inches
    columns = columns or (number if number <= 3 else math.ceil(math.sqrt(number)))
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    axes = grid[:number]
    for unused in grid[number:]:
        unused.remove()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, each label once."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG file; it is replaced only when the new one is complete."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
