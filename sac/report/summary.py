"""The numbers of a report's tables."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sac.report.curves import EVALUATION, TRAINING, RunCurves
from sac.report.diagnosis import Finding, diagnose
from sac.report.groups import Group
from sac.report.statistics import bootstrap_interval, iqm

WINDOW_METRIC = "eval/return_window"  # the mean return of the last evaluation episodes, the result of a run
ABSENT_CELL = "-"
ENDINGS = {"solved": "solved", "max_step": "reached max_step", "max_iter": "reached max_iter"}


@dataclass
class GroupRow:
    """One row of the summary of groups."""

    label: str
    color: str
    runs: str
    score: str
    interval: str
    training: str
    steps: str
    minutes: str
    warnings: int


@dataclass
class RunRow:
    """One row of the list of runs."""

    path: str
    label: str
    seed: str
    ending: str
    score: str
    steps: str
    minutes: str
    commit: str
    notes: str


def score_of(run: RunCurves) -> float | None:
    """The mean return of the last evaluation window, or else of the last evaluation; None without any."""
    return run.last(WINDOW_METRIC) if run.last(WINDOW_METRIC) is not None else run.last(EVALUATION)


def group_row(group: Group, color: str, findings: Sequence[Finding]) -> GroupRow:
    """The row of a group."""
    scores = [score for run in group.runs if (score := score_of(run)) is not None]
    training = [value for run in group.runs if (value := run.last(TRAINING)) is not None]
    runs = f"{len(group.runs)}" + f" ({len(scores)} evaluated)" * (len(scores) < len(group.runs))
    low, high = bootstrap_interval(scores) if scores else (math.nan, math.nan)
    interval = ABSENT_CELL if math.isnan(low) else f"{number(low)} … {number(high)}"
    return GroupRow(
        group.label, color, runs, number(iqm(scores)), interval,
        number(iqm(training)), span([run.steps for run in group.runs], "{:,.0f}"),
        span([minutes for run in group.runs if (minutes := minutes_of(run)) is not None], "{:,.1f}"), len(findings),
    )  # fmt: skip


def run_row(run: RunCurves, label: str, shown_path: str, now: float | None = None) -> RunRow:
    """The row of a run; `now` is the time in seconds since the epoch."""
    minutes = minutes_of(run)
    return RunRow(
        shown_path, label, str(run.config.get("sac.seed", run.config.get("seed", ABSENT_CELL))), ending_of(run, now),
        number(score_of(run)), f"{run.steps:,}", ABSENT_CELL if minutes is None else f"{minutes:,.1f}",
        run.commit or ABSENT_CELL, "; ".join(_notes(run)),
    )  # fmt: skip


def ending_of(run: RunCurves, now: float | None = None) -> str:
    """Why the run ended, or how long ago it has last recorded anything."""
    if run.failure:
        return f"failed: {run.failure}"
    if run.is_over:
        return ENDINGS.get(reason := str(run.result.get("reason", "")), f"ended by {reason}")
    try:
        age = (now or time.time()) - (run.path / "metrics.csv").stat().st_mtime
    except OSError:
        return "has just begun, or was killed"
    return f"running or killed; last heard of {ago(age)} ago"


def _notes(run: RunCurves) -> list[str]:
    """What is missing or damaged in the run folder."""
    notes = [] if run.columns else ["no metrics yet"]
    if run.columns and score_of(run) is None:
        notes.append("no evaluation yet")
    if run.damaged:
        notes.append(f"{run.damaged} damaged line{'s' * (run.damaged > 1)} of metrics.csv left out")
    return notes


def minutes_of(run: RunCurves) -> float | None:
    """How long a finished run has taken; None for others."""
    seconds = run.result.get("seconds")
    return seconds / 60 if run.is_over and isinstance(seconds, int | float) else None


def findings_of(group: Group) -> list[tuple[RunCurves, Finding]]:
    """The warnings of all runs of a group."""
    return [(run, finding) for run in group.runs for finding in diagnose(run)]


def number(value: float | None) -> str:
    """A number with four digits; larger ones as whole numbers."""
    if value is None or not math.isfinite(value):
        return ABSENT_CELL
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def span(values: Sequence[float], form: str) -> str:
    """The lowest and the highest value, or the only one where they are equal."""
    if not values:
        return ABSENT_CELL
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} … {high}"


def ago(seconds: float) -> str:
    """A duration in its largest unit."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}{'s' * (round(seconds / size) != 1)}"
    return f"{max(0, seconds):.0f} seconds"
