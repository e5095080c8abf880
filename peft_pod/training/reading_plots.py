"""Pictures of what a trained model does: for whom it finds items, what its prompts are, and who looks at them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .drawing import BASELINE_COLOURS, BLUE, GREY, PALETTE, panels, shared_legend, write_figure

_MODEL = "model"
_TITLE_WIDTH = 76
"""Characters that stand above one panel."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GROUPINGS = (
    ("by_popularity", "decile of the held-out item's popularity, and how often such items occur in training"),
    ("by_history", "items in the user's history"),
)
_PLACES = (
    ("encoder_from_tokens", "encoder, from the question's tokens"),
    ("encoder_from_prompts", "encoder, from the prompts"),
    ("decoder", "decoder, from the answer (cross-attention)"),
)


def plot_hit_rates(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw hit rates by popularity and by history, a row of two panels for each task.

    The model is a bar, baselines are markers; whiskers are 95 % intervals.

    Args:
        found: what `peft_pod.metrics.grouped_hit_rates` gives.
        path: the PNG file to write; it is replaced only when the new one is complete.

    Raises:
        ValueError: there is no task.
    """
    if not found:
        raise ValueError("no task has ranks; there are no hit rates to draw")
    figure, axes = panels(2 * len(found), columns=2, inches=(7.2, 4.2))
    baselines = list(
        dict.fromkeys(
            system
            for task in found.values()
            for group in task["by_popularity"]
            for system in group["systems"]
            if system != _MODEL
        )
    )
    for row, (task, values) in enumerate(found.items()):
        for column, (grouping, what) in enumerate(_GROUPINGS):
            axis = axes[2 * row + column]
            _draw_groups(axis, values[grouping], baselines, _decile if grouping == "by_popularity" else _bucket)
            axis.set_title(fill(f"{task}: {values['protocol']}", _TITLE_WIDTH), fontsize=9)
            axis.set_ylabel(f"HR@{values['k']}")
            axis.set_xlabel(f"{what}\nn: users; whiskers: 95 % interval (Wilson)", fontsize=8)
    shared_legend(figure, axes)
    write_figure(figure, path)


def _draw_groups(
    axis: Axes, groups: Sequence[Mapping[str, Any]], baselines: Sequence[str], named: Callable[[Mapping[str, Any]], str]
) -> None:
    for place, system in enumerate([_MODEL, *baselines]):
        drawn = [(x, group["systems"][system]) for x, group in enumerate(groups) if system in group["systems"]]
        rates = [rate["hit_rate"] for _, rate in drawn]
        errors = [
            [max(0.0, rate["hit_rate"] - rate["interval"][0]) for _, rate in drawn],
            [max(0.0, rate["interval"][1] - rate["hit_rate"]) for _, rate in drawn],
        ]
        if system == _MODEL:
            centres = [float(x) for x, _ in drawn]
            axis.bar(centres, rates, 0.86, color=BLUE, alpha=0.35, edgecolor=BLUE, linewidth=1, label=system)
            colour, marker = BLUE, "_"
            shift = 0.0
        else:
            colour = BASELINE_COLOURS[(place - 1) % len(BASELINE_COLOURS)]
            marker = _MARKERS[(place - 1) % len(_MARKERS)]
            shift = _shift(place - 1, len(baselines))
        axis.errorbar(
            [x + shift for x, _ in drawn],
            rates,
            errors,
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=1.6 if system == _MODEL else 0.8,
            capsize=2,
            label="_" if system == _MODEL else system,
        )
    axis.set_xticks(range(len(groups)), [f"{named(group)}\nn={group['users']:,}" for group in groups], fontsize=7)
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)


def _shift(place: int, number: int) -> float:
    """Baselines stand beside the middle, which is the model's."""
    half = (number + 1) // 2
    step = 0.38 / max(half, 1)
    return (place - half) * step if place < half else (place - half + 1) * step


def _decile(group: Mapping[str, Any]) -> str:
    name = str(group["name"])
    return f"D{name}\n{group['span']}×" if name.isdigit() else f"{name}\n{group['span']}×"


def _bucket(group: Mapping[str, Any]) -> str:
    return str(group["name"])


def plot_attention(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the share of attention that falls on the prompts by layer, a panel for each place, a line for each task.

    Args:
        found: by task, `PromptAttention.to_dict()` of `peft_pod.generation.prompt_attention`.
        path: the PNG file to write; it is replaced only when the new one is complete.

    Raises:
        ValueError: there is no task.
    """
    if not found:
        raise ValueError("no task has questions in the part; there is no attention to draw")
    figure, axes = panels(len(_PLACES), columns=3, inches=(5.0, 4.2))
    # The same in all panels, which are there to be compared.
    shares = [
        share for values in found.values() for place, _ in _PLACES for row in values[place]["heads"] for share in row
    ]
    highest = max(*shares, *(values["uniform"] for values in found.values()))
    for axis, (place, title) in zip(axes, _PLACES, strict=True):
        for number, (task, values) in enumerate(found.items()):
            colour = PALETTE[number % len(PALETTE)]
            layers, heads = values[place]["layers"], values[place]["heads"]
            shift = 0.08 * (number - (len(found) - 1) / 2)
            centres = [layer + shift for layer in range(1, len(layers) + 1)]
            errors = [
                [mean - min(row) for mean, row in zip(layers, heads, strict=True)],
                [max(row) - mean for mean, row in zip(layers, heads, strict=True)],
            ]
            axis.errorbar(
                centres,
                layers,
                errors,
                color=colour,
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=5,
                elinewidth=0.8,
                capsize=2,
                label=f"{task} ({values['questions']:,} questions)",
            )
            axis.axhline(values["uniform"], color=colour, linestyle="--", linewidth=1)
        axis.plot([], [], color=GREY, linestyle="--", linewidth=1, label="uniform attention: prompts / positions")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("layer (whiskers: lowest and highest head)", fontsize=8)
        axis.set_ylabel("share of attention on the prompts")
        axis.set_ylim(0, min(1.0, 1.1 * highest))
        axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
    shared_legend(figure, axes)
    write_figure(figure, path)
