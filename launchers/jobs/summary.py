"""The summary of a multirun: a table of its experiments and a picture of their learning curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from sac.errors import UserError
from sac.report.curves import EVALUATION, TRAINING, RunCurves, draw, read_run
from sac.report.statistics import bootstrap_interval, iqm

Ended = tuple[Job, Status]
COLUMNS = ["experiment", "jobs", "failed", "mean", "standard error", "IQM", "IQM low", "IQM high", "each"]
MAX_CURVES = 12  # experiments in the picture: more curves could not be told apart
MAX_LEGEND_LETTERS = 60  # of an experiment's name in the picture


def write(ended: Sequence[Ended], folder: Path) -> str:
    """Writes summary.csv and summary.png into `folder`; returns the table and the two paths as text for the screen."""
    experiments = _experiments(ended)
    rows = [_row(name, jobs) for name, jobs in experiments.items()]
    with (folder / "summary.csv").open("w", newline="", encoding="utf8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    lines = [_shown(rows).rstrip(), f"table:   {folder / 'summary.csv'}"]
    if _picture(experiments, folder / "summary.png"):
        lines.append(f"picture: {folder / 'summary.png'}")
    return "\n".join(lines)


def _experiments(ended: Sequence[Ended]) -> dict[str, list[Ended]]:
    """Experiment -> its jobs, which differ in their seeds only, in the order of their numbers."""
    found: dict[str, list[Ended]] = {}
    for job, status in sorted(ended, key=lambda one: one[0].number):
        found.setdefault(" ".join(job.experiment) or "all jobs", []).append((job, status))
    return found


def objective(status: Status) -> float:
    """The mean of the last evaluation window; NaN without one."""
    value = status.result.get("objective")
    return math.nan if value is None else float(value)


def _row(name: str, jobs: Sequence[Ended]) -> list[Any]:
    values = np.array([objective(status) for _, status in jobs if status.state == states.DONE])
    values = values[np.isfinite(values)]
    n = len(values)
    error = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    mean = float(values.mean()) if n else math.nan
    failed = sum(status.state == states.FAILED for _, status in jobs)
    each = " ".join(f"{value:.6g}" for value in values)
    return [name, len(jobs), failed, mean, error, iqm(values), *bootstrap_interval(values, iqm), each]


def _shown(rows: Sequence[list[Any]]) -> str:
    table = Table(title="objective: mean of the last evaluation window", title_justify="left")
    for name in ("experiment", "jobs", "failed", "mean", "± std. error", "IQM", "95 % interval"):
        table.add_column(name, justify="left" if name == "experiment" else "right", overflow="fold")
    for name, jobs, failed, mean, error, middle, low, high, _ in rows:
        interval = "" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
        table.add_row(Text(name), str(jobs), str(failed), *(_number(v) for v in (mean, error, middle)), interval)
    text = StringIO()
    console = Console(file=text, width=max(Console().width, 80))
    console.print(table)
    return text.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _picture(experiments: dict[str, list[Ended]], path: Path) -> bool:
    """Draws evaluation returns, or training returns where there are none: mean and range over the seeds.

    Returns whether there was anything to draw.
    """
    curves = {name: _curves(jobs) for name, jobs in list(experiments.items())[:MAX_CURVES]}
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    metric = EVALUATION if any(len(run.series(EVALUATION)[0]) for runs in curves.values() for run in runs) else TRAINING
    drawn = [
        draw(axes, runs, metric, f"{_short(name)} ({len(runs)} run{'s' * (len(runs) > 1)})")
        for name, runs in curves.items()
    ]
    if any(drawn):
        axes.set(xlabel="environment steps (all agents)", ylabel=f"{metric}: mean, lowest and highest seed")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return any(drawn)


def _short(name: str) -> str:
    """The name for the legend, in which a longer one would leave no room for the curves."""
    return name if len(name) <= MAX_LEGEND_LETTERS else f"{name[: MAX_LEGEND_LETTERS - 1]}…"


def _curves(jobs: Sequence[Ended]) -> list[RunCurves]:
    found = []
    for _, status in jobs:
        if status.folder:
            try:
                found.append(read_run(status.folder))
            except UserError:  # the run ended before it had written a curve
                continue
    return found
