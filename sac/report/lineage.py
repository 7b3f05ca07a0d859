"""Draws a lineage of learners: their parents, their mean returns and their hyperparameters in each generation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LANE_INCHES, GENERATION_INCHES = 0.45, 0.35  # height of a lane, width of a generation
NUMBERS_INCHES = 1.8  # height of a panel of hyperparameters
MAX_WIDTH_INCHES = 60.0
FRESH_COLOR, COPY_COLOR, LINE_COLOR = "#ef4444", "#2563eb", "#94a3b8"
STYLES = {"copied": (COPY_COLOR, 1.6), "kept": (LINE_COLOR, 2.0)}  # colour and width of the line from the parent
LOG_SCALE_FROM = 20.0  # ratio of the largest and the smallest value of a panel


@dataclass(frozen=True)
class Line:
    """A line of lineage.csv."""

    generation: int
    learner: str
    what: str
    parents: Sequence[str]
    mean_return: float | None  # None: it was not evaluated
    numbers: Mapping[str, float]  # before the change

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Line:
        """The line of a row of the table; tables of earlier versions have no hyperparameters."""
        pairs = (word.partition("=") for word in (row.get("numbers") or "").split())
        value = float(row["mean_return"]) if int(row["evaluations"]) else None
        numbers = {name: float(number) for name, _, number in pairs}
        return cls(int(row["generation"]), row["learner"], row["what"], row["parents"].split(), value, numbers)


def draw(table: Path, path: Path) -> None:
    """Draws a lineage.csv as a PNG.

    Each learner has a lane with a point for each generation; lines lead to the learners that inherit from it. Below,
    each hyperparameter that was moved has a panel.
    """
    with table.open(newline="", encoding="utf8") as file:
        lineage = [Line.of(row) for row in csv.DictReader(file)]
    named = {name for line in lineage for name in (line.learner, *line.parents)}  # a parent's lines may be lost
    learners = sorted(named, key=lambda name: (len(name), name))
    moved = sorted({name for line in lineage for name in line.numbers})
    last = max((line.generation for line in lineage), default=0)
    heights = [1.4 + LANE_INCHES * len(learners), *[NUMBERS_INCHES] * len(moved)]
    width = min(3.5 + GENERATION_INCHES * last, MAX_WIDTH_INCHES)
    figure = Figure((width, sum(heights)), layout="constrained")
    lanes, *panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    colors = {name: f"C{i % 10}" for i, name in enumerate(learners)}
    _draw_lanes(figure, lanes, lineage, learners)
    for name in learners:
        lanes.get_yticklabels()[learners.index(name)].set_color(colors[name])
    for axes, name in zip(panels, moved):
        _draw_numbers(axes, lineage, name, colors)
    bottom = panels[-1] if panels else lanes
    bottom.set_xlabel("generation")
    bottom.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    bottom.set_xlim(-0.5, max(last, 1) + 0.5)
    figure.savefig(path, dpi=110)


def _draw_lanes(figure: Figure, axes: Axes, lineage: Sequence[Line], learners: Sequence[str]) -> None:
    """A lane for each learner, with its mean returns and what it became."""
    lane = {name: i for i, name in enumerate(learners)}
    for line in lineage:
        color, width = STYLES.get(line.what, (LINE_COLOR, 0.8))
        for parent in line.parents:
            x, y = (line.generation - 1, line.generation), (lane[parent], lane[line.learner])
            axes.plot(x, y, color=color, linewidth=width, zorder=1)
    evaluated = [(x.generation - 1, lane[x.learner], x.mean_return) for x in lineage if x.mean_return is not None]
    if evaluated:
        x, y, returns = zip(*evaluated)
        points = axes.scatter(x, y, c=returns, s=60, zorder=2)
        figure.colorbar(points, ax=axes, label="mean return before")
    said = ["blue: became a copy"] * any(line.what == "copied" for line in lineage)
    fresh = [(line.generation, lane[line.learner]) for line in lineage if line.what == "fresh"]
    if fresh:
        x, y = zip(*fresh)
        axes.scatter(x, y, s=120, facecolors="none", edgecolors=FRESH_COLOR, zorder=3)
        said.append("red: began anew")
    axes.set_title(", ".join(said), fontsize="small", loc="left")
    axes.set_yticks(range(len(learners)), learners)
    axes.set_ylim(max(len(learners), 1) - 0.5, -0.5)


def _draw_numbers(axes: Axes, lineage: Sequence[Line], name: str, colors: Mapping[str, object]) -> None:
    """A hyperparameter of each learner before each generation, in the learner's color."""
    values = [line.numbers[name] for line in lineage if name in line.numbers]
    for learner, color in colors.items():
        mine = [(x.generation - 1, x.numbers[name]) for x in lineage if x.learner == learner and name in x.numbers]
        if mine:
            axes.plot(*zip(*mine), color=color, marker="o", markersize=3, linewidth=1.2)
    if min(values) > 0 and max(values) / min(values) > LOG_SCALE_FROM:
        axes.set_yscale("log")
    axes.set_ylabel(name, fontsize="small")
    axes.grid(alpha=0.3)
