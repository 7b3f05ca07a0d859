"""The pictures of a report for each scene: learning curves, and small panels of the other metrics."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import EngFormatter

from sac.report.curves import EVALUATION, TRAINING, aggregate, draw
from sac.report.groups import Group

COLORS = [
    "#3b82f6",
    "#f59e0b",
    "#10b981",
    "#ef4444",
    "#8b5cf6",
    "#06b6d4",
    "#ec4899",
    "#84cc16",
]  # visible on black and on white
PANELS_PER_ROW, PANEL_INCHES = 3, (4.1, 2.5)  # width and height
RETURNS_INCHES, LEGEND_LINE_INCHES = 3.6, 0.28  # heights
LEGEND_CHARACTERS = 140  # in one line
MIN_LOGARITHMIC_RATIO = 20  # of highest to lowest value, from which on an axis is logarithmic
DOTS_PER_INCH, MAX_HEIGHT_PIXELS = 110, 60_000
LOGARITHMIC_METRICS = ("critic/loss", "critic/td_error", "alpha/")
SHARE_METRICS = ("policy/saturated", "replay/fill", "actors/waiting")
EXTRA_PANELS = "extra"  # the place of the metrics of extras in PANELS

RETURNS = {EVALUATION: "return of evaluation episodes", TRAINING: "return of training episodes"}
PANELS = {
    "critic/loss": "critic loss",
    "critic/td_error": "TD error",
    "policy/loss": "policy loss",
    "alpha/continuous": "alpha, continuous actions",
    "alpha/discrete": "alpha, discrete actions",
    "policy/entropy_continuous": "entropy, continuous actions",
    "policy/entropy_discrete": "entropy, discrete actions",
    "critic/q": "Q of the batch",
    "eval/q_start": "Q at the start; dashed: discounted return",
    "policy/saturated": "share of saturated actions",
    "normalizer/clipped": "share of clipped observations",
    "policy/ratio": "clipped ratio pi / mu",
    "recurrent/delta_q": "Q: stored against fresh states",
    EXTRA_PANELS: "",
    "episode/length": "length of training episodes",
    "replay/updates_per_step": "updates per step; dotted: target",
    "rate/steps": "environment steps a second",
    "rate/updates": "updates a second",
    "replay/fill": "memory in use",
    "actors/present": "actors",
    "actors/steps_per_second": "steps a second of all actors",
    "actors/policy_lag": "versions that actors are behind",
    "actors/waiting": "share of time that actors wait",
}
AREAS = {name.partition("/")[0] for name in PANELS} | {"seconds", "learner"}  # other areas belong to extras
SECOND_METRIC = {  # drawn in the same panel, with this style of line
    "eval/q_start": ("eval/discounted_return", "--"),
    "replay/updates_per_step": ("replay/updates_per_step_target", ":"),
}


@dataclass(frozen=True)
class Theme:
    """The colours of a picture."""

    ink: str
    grid: str
    paper: str  # "none" is transparent


LIGHT, DARK = Theme("#1f2937", "#e5e7eb", "none"), Theme("#d1d5db", "#374151", "none")
ON_PAPER = Theme(LIGHT.ink, LIGHT.grid, "white")


def returns_picture(groups: Sequence[Group], theme: Theme) -> bytes:
    """Evaluation and training returns of the groups of one scene, as PNG; empty when no run has any."""
    return _png(lambda figure: _draw(figure, groups, _present(groups, RETURNS), 2), *_returns_size(groups), theme)


def inside_picture(groups: Sequence[Group], theme: Theme) -> bytes:
    """Losses, temperatures, entropies, Q, rates and other metrics, as PNG; empty when no run has any."""
    return _png(lambda figure: _draw(figure, groups, panels(groups), PANELS_PER_ROW), *_inside_size(groups), theme)


def whole_picture(scenes: Sequence[Sequence[Group]]) -> bytes:
    """All pictures of all scenes, one below the other, as PNG on white."""
    parts = []
    for groups in scenes:
        parts += [(groups, _present(groups, RETURNS), 2, _returns_size(groups)[1])]
        parts += [(groups, panels(groups), PANELS_PER_ROW, _inside_size(groups)[1])]
    parts = [part for part in parts if part[1]]
    heights = [height for *_, height in parts]

    def draw_all(figure: Figure) -> None:
        if not parts:
            figure.text(0.5, 0.5, "no metrics yet", ha="center", va="center")
            return
        rows = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
        for row, (groups, names, columns, _) in zip(rows, parts):
            _draw(row, groups, names, columns, title=groups[0].scene)

    return _png(draw_all, PANELS_PER_ROW * PANEL_INCHES[0], sum(heights) or RETURNS_INCHES, ON_PAPER)


def panels(groups: Sequence[Group]) -> dict[str, str]:
    """{metric: title} of the panels for which at least one run has values, in their order."""
    found: dict[str, str] = {}
    for name, title in PANELS.items():
        if name == EXTRA_PANELS:
            found |= _present(groups, {extra: extra.replace("/", ": ").replace("_", " ") for extra in _extras(groups)})
        else:
            found |= _present(groups, {name: title})
    return found


def colors_of(groups: Sequence[Group]) -> list[str]:
    """A colour (#rrggbb) for each group."""
    if len(groups) <= len(COLORS):
        return COLORS[: len(groups)]
    places = np.linspace(0.05, 0.95, len(groups))
    return [matplotlib.colors.to_hex(color) for color in matplotlib.colormaps["turbo"](places)]


def _extras(groups: Sequence[Group]) -> list[str]:
    """The metrics of extras."""
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.columns)
    return [name for name in names if name.partition("/")[0] not in AREAS]


def _present(groups: Sequence[Group], names: dict[str, str]) -> dict[str, str]:
    """Those of the metrics for which some run has values."""

    def somewhere(metric: str) -> bool:
        return any(len(run.series(metric)[0]) for group in groups for run in group.runs)

    return {name: title for name, title in names.items() if somewhere(name)}


def _returns_size(groups: Sequence[Group]) -> tuple[float, float]:
    return PANELS_PER_ROW * PANEL_INCHES[0], RETURNS_INCHES + _legend_lines(groups) * LEGEND_LINE_INCHES


def _inside_size(groups: Sequence[Group]) -> tuple[float, float]:
    rows = math.ceil(len(panels(groups)) / PANELS_PER_ROW)
    return PANELS_PER_ROW * PANEL_INCHES[0], rows * PANEL_INCHES[1] + _legend_lines(groups) * LEGEND_LINE_INCHES


def _legend_columns(groups: Sequence[Group]) -> int:
    return max(1, min(4, LEGEND_CHARACTERS // (8 + max(len(_short(group)) for group in groups))))


def _short(group: Group) -> str:
    """The label of a group, shortened to fit into the legend; the tables of the page show all of it."""
    room = LEGEND_CHARACTERS - 8
    return group.label if len(group.label) <= room else f"{group.label[: room - 1]}…"


def _legend_lines(groups: Sequence[Group]) -> int:
    return math.ceil(len(groups) / _legend_columns(groups)) + 1


def _draw(figure: FigureBase, groups: Sequence[Group], names: dict[str, str], columns: int, title: str = "") -> None:
    if not names:
        return
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for one, (metric, words) in zip(axes, names.items()):
        _panel(one, groups, metric, words)
    for unused in axes[len(names) :]:
        unused.set_axis_off()
    lines = {line.get_label(): line for one in axes for line in one.lines if not line.get_label().startswith("_")}
    legend = figure.legend(
        lines.values(), lines.keys(), loc="outside upper left", ncols=_legend_columns(groups), frameon=False,
        title=" · ".join([title] * bool(title) + [_words(groups)]), alignment="left",
    )  # fmt: skip
    legend.get_title().set_fontsize("medium")


def _words(groups: Sequence[Group]) -> str:
    """What lines and bands mean."""
    if any(len(group.runs) > 1 for group in groups):
        return "line: mean over seeds · band: lowest to highest seed · thin: each run"
    return "one seed each"


def _panel(axes: Any, groups: Sequence[Group], metric: str, title: str) -> None:
    other, style = SECOND_METRIC.get(metric, ("", ""))
    for group, color in zip(groups, colors_of(groups)):
        draw(axes, group.runs, metric, _short(group).replace("$", r"\$"), color)
        if other:
            curve = aggregate(group.runs, other)
            if len(curve.steps):
                axes.plot(curve.steps, curve.mean, style, color=color, linewidth=1.2)
    axes.set_title(title, loc="left", fontsize="medium")
    if metric.startswith(LOGARITHMIC_METRICS) and _spans_decades(axes):
        axes.set_yscale("log")
    low, high = axes.get_ylim()
    middle = abs(low + high) / 2
    if high - low < 0.02 * middle:  # do not magnify rounding errors of a constant
        axes.set_ylim((low + high) / 2 - 0.1 * middle, (low + high) / 2 + 0.1 * middle)
    if metric in SHARE_METRICS:
        axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.01)
    if metric in RETURNS:
        axes.set_xlabel("environment steps")


def _spans_decades(axes: Any) -> bool:
    """Whether the values are positive and differ enough for a logarithmic axis."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    return bool(values.min() > 0 and values.max() > MIN_LOGARITHMIC_RATIO * values.min())


def _png(draw_on: Callable[[Figure], None], width: float, height: float, theme: Theme) -> bytes:
    """A PNG of this size in inches with what `draw_on` draws; empty where it draws nothing."""
    style: Any = {
        "text.color": theme.ink, "axes.edgecolor": theme.grid, "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "xtick.color": theme.ink, "ytick.color": theme.ink, "grid.color": theme.grid, "axes.grid": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "grid.linewidth": 0.8,
        "axes.axisbelow": True, "font.size": 9, "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
        layout: Any = figure.get_layout_engine()
        layout.set(h_pad=0.08, w_pad=0.08)
        draw_on(figure)
        if not (figure.axes or figure.texts or figure.subfigs):
            return b""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=min(DOTS_PER_INCH, MAX_HEIGHT_PIXELS / height))
    return stream.getvalue()
