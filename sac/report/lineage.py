"""Draws a lineage of learners: their parents and their mean returns in each generation."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

LANE_INCHES, GENERATION_INCHES = 0.45, 0.35  # height of a lane, width of a generation
MAX_WIDTH_INCHES = 60.0
FRESH_COLOR = "#ef4444"


def draw(table: Path, path: Path) -> None:
    """Draws a lineage.csv as a PNG.

    Each learner has a lane with a point for each generation; lines lead to the learners that inherit from it.
    """
    with table.open(newline="", encoding="utf8") as file:
        lineage = [(int(row["generation"]), row) for row in csv.DictReader(file)]
    names = sorted({row["learner"] for _, row in lineage}, key=lambda name: (len(name), name))
    lane = {name: i for i, name in enumerate(names)}
    last = max((generation for generation, _ in lineage), default=0)
    figure = Figure(
        (min(3.5 + GENERATION_INCHES * last, MAX_WIDTH_INCHES), 1.4 + LANE_INCHES * len(names)), layout="constrained"
    )
    axes = figure.add_subplot()
    for generation, row in lineage:
        for parent in row["parents"].split():
            x, y = (generation - 1, generation), (lane[parent], lane[row["learner"]])
            axes.plot(x, y, color="#94a3b8", linewidth=2.0 if row["what"] == "kept" else 0.8, zorder=1)
    evaluated = [
        (g - 1, lane[row["learner"]], float(row["mean_return"])) for g, row in lineage if int(row["evaluations"])
    ]
    if evaluated:
        x, y, returns = zip(*evaluated)
        points = axes.scatter(x, y, c=returns, s=60, zorder=2)
        figure.colorbar(points, ax=axes, label="mean return before")
    fresh = [(generation, lane[row["learner"]]) for generation, row in lineage if row["what"] == "fresh"]
    if fresh:
        generations, lanes = zip(*fresh)
        axes.scatter(generations, lanes, s=120, facecolors="none", edgecolors=FRESH_COLOR, zorder=3)
        axes.set_title("red: began anew", fontsize="small", loc="left")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlim(-0.5, max(last, 1) + 0.5)
    figure.savefig(path, dpi=110)
