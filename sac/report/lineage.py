"""The picture of a lineage: who descends from whom, and how good it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sac.evolution import Descent

LANE, STEP, WIDEST = 0.45, 0.35, 60.0  # inches of a learner, of a generation, of the picture
LOST = "#ef4444"


def draw(lineage: Sequence[Descent], path: Path) -> None:
    """Writes a PNG: a lane for each learner, a point for what it was before each generation, lines to its heirs."""
    names = sorted({line.learner for line in lineage}, key=lambda name: (len(name), name))
    lane = {name: i for i, name in enumerate(names)}
    last = max((line.generation for line in lineage), default=0)
    figure = Figure((min(3.5 + STEP * last, WIDEST), 1.4 + LANE * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for line in lineage:
        for parent in line.parents.split():
            x, y = (line.generation - 1, line.generation), (lane[parent], lane[line.learner])
            axes.plot(x, y, color="#94a3b8", linewidth=2.0 if line.what == "kept" else 0.8, zorder=1)
    evaluated = [line for line in lineage if line.evaluations]
    if evaluated:
        x, y = [line.generation - 1 for line in evaluated], [lane[line.learner] for line in evaluated]
        points = axes.scatter(x, y, c=[line.mean_return for line in evaluated], s=60, zorder=2)
        figure.colorbar(points, ax=axes, label="mean return before")
    fresh = [line for line in lineage if line.what == "fresh"]
    axes.scatter([f.generation for f in fresh], [lane[f.learner] for f in fresh], s=120, facecolors="none",
                 edgecolors=LOST, zorder=3, label="begins anew")  # fmt: skip
    if fresh:
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.25), frameon=False)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlim(-0.5, np.max([last, 1]) + 0.5)
    figure.savefig(path, dpi=110)
