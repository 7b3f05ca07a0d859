"""Reads the metrics of run folders, brings several runs onto common steps, and draws their mean and range."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from sac.errors import UserError

STEP_COLUMN = "env_step"  # the first column of metrics.csv, which counts the transitions of all agents
EVALUATION, TRAINING = "eval/return", "episode/return"
MAX_CURVE_POINTS = 300
LOG_TAIL_BYTES = 65536  # the end of log.log, which is searched for the last error


@dataclass
class RunCurves:
    """The content of one run folder. `config` is flat: {"sac.n_step": 3, ...}."""

    path: Path
    config: dict[str, Any]
    columns: dict[str, tuple[np.ndarray, np.ndarray]]  # metric -> steps [n], values [n]; recorded NaNs are included
    result: dict[str, Any] = field(
        default_factory=dict
    )  # of result.json; empty while the run goes on and after a crash
    damaged: int = 0  # number of lines of metrics.csv that could not be read
    failure: str = ""  # the error that ended the run, if any
    commit: str = ""  # of the program that trained it, if known

    def series(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps [n] and finite values [n] of a metric; both are empty where it was not recorded."""
        steps, values = self.columns.get(metric, (np.zeros(0), np.zeros(0)))
        good = np.isfinite(values)
        return steps[good], values[good]

    def last(self, metric: str) -> float | None:
        """The newest finite value of a metric, or None."""
        values = self.series(metric)[1]
        return float(values[-1]) if len(values) else None

    @property
    def steps(self) -> int:
        """The last step that was recorded anywhere."""
        ends = [int(steps[-1]) for steps, _ in self.columns.values() if len(steps)]
        told = self.result.get("env_steps")
        return max([*ends, told if isinstance(told, int) else 0])

    @property
    def is_over(self) -> bool:
        """Whether result.json covers all recorded steps; that of a run that was resumed later does not."""
        told = self.result.get("env_steps")
        return isinstance(told, int) and told >= self.steps

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.path.name


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """The run folders (those with a config.yaml) among these paths and below them, each once, in order.

    Raises UserError for a path that does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path} is no folder" if path.exists() else f"{path}: no such folder")
        runs = list(_runs_below(path))
        if not runs:
            raise UserError(f"{path} holds no run: there is no config.yaml in it or below it")
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_below(path: Path) -> Iterable[Path]:
    """The run folders below a path. Inside a run none is looked for: Weights & Biases keeps a config.yaml there."""
    for folder, inner, files in os.walk(path):
        inner.sort()
        if "manifest.json" in files:  # a checkpoint, which has a copy of its run's config.yaml
            inner.clear()
        elif "config.yaml" in files:
            inner.clear()
            yield Path(folder)


def read_run(path: Path | str) -> RunCurves:
    """Reads a run folder, also one of a run that goes on; lines of metrics that cannot be read are counted.

    Raises UserError when there is no readable config.yaml.
    """
    path = Path(path)
    columns, damaged = read_metrics(path / "metrics.csv")
    result = _result(path / "result.json")
    commit = result.get("commit") or _text(path / "commit.txt").strip()
    return RunCurves(path, _config(path / "config.yaml"), columns, result, damaged, _failure(path), str(commit))


def read_metrics(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """{metric: (steps [n], values [n])} in the order of steps, and the number of damaged lines."""
    whole, _, _incomplete = _text(path).rpartition("\n")  # an incomplete last line is no damage
    rows = list(csv.reader(whole.replace("\0", "").splitlines()))
    if not rows or rows[0][:1] != [STEP_COLUMN]:
        return {}, len(rows)
    names, damaged = rows[0][1:], 0
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for row in rows[1:]:
        try:
            step = int(row[0])
            values = {name: float(text) for name, text in zip(names, row[1:]) if text != ""}
        except (ValueError, IndexError):
            damaged += 1
            continue
        damaged += len(row) > len(names) + 1
        for name, value in values.items():
            points[name].append((step, value))
    return {name: _in_order(found) for name, found in points.items() if found}, damaged


def _in_order(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(points, np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0], table[:, 1]


def _config(path: Path) -> dict[str, Any]:
    """The flat config of config.yaml, or else of its copy in the newest checkpoint."""
    first: Exception | None = None
    for file in (path, *sorted(path.parent.glob("checkpoints/step_*/config.yaml"), reverse=True)):
        try:
            tree: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            if loaded := dict(_flat(tree)):
                return loaded
        except Exception as error:  # yaml raises exceptions of its own
            first = first or error
    if first is not None:
        raise UserError(f"{path} cannot be read: {' '.join(str(first).split())}") from first
    return {}


def _flat(tree: dict, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of a nested config with their dotted names."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _result(path: Path) -> dict[str, Any]:
    """The content of result.json; empty where it cannot be read."""
    try:
        found = json.loads(_text(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failure(folder: Path) -> str:
    """The last error in the log of the run (in a cell, of its learner); empty if it was resumed or has ended well."""
    error, log, result = "", folder / "log.log", folder / "result.json"
    log = log if log.exists() else folder / "roles" / "learner.log"
    for line in _text(log, LOG_TAIL_BYTES).splitlines():
        _, found, message = line.partition(" ERROR sac: ")
        error = message if found else "" if " resumed at step " in line else error
    ended_well = result.exists() and log.exists() and result.stat().st_mtime > log.stat().st_mtime
    return "" if ended_well else error


def _text(path: Path, tail: int | None = None) -> str:
    """The text of a file, or of its last `tail` bytes; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail) if tail else 0)
            return file.read().decode("utf8", errors="replace")
    except OSError:
        return ""


@dataclass
class Curve:
    """The values of one metric of several runs on common steps [n], up to where the shortest run ends."""

    steps: np.ndarray  # [n]
    values: np.ndarray  # [runs, n]

    @property
    def mean(self) -> np.ndarray:
        """Over runs [n]."""
        return self.values.mean(0)

    @property
    def low(self) -> np.ndarray:
        """The lowest of all runs [n]."""
        return self.values.min(0)

    @property
    def high(self) -> np.ndarray:
        """The highest of all runs [n]."""
        return self.values.max(0)


def aggregate(runs: Sequence[RunCurves], metric: str, points: int = MAX_CURVE_POINTS) -> Curve:
    """The metric of all runs that have it, interpolated linearly onto the steps that all of them cover.

    Beyond the end of the shortest run the mean would leave that run out, and would jump.
    """
    series = [s for s in (run.series(metric) for run in runs) if len(s[0])]
    if not series:
        return Curve(np.zeros(0), np.zeros((0, 0)))
    first, last = max(steps[0] for steps, _ in series), min(steps[-1] for steps, _ in series)
    grid = np.unique(np.concatenate([steps for steps, _ in series]))
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) > points:
        grid = np.linspace(first, last, points)
    return Curve(grid, np.array([np.interp(grid, *_last_of_each_step(*s)) for s in series]).reshape(len(series), -1))


def _last_of_each_step(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Only the last value of each step, where a step has several."""
    keep = np.append(steps[1:] != steps[:-1], True)
    return steps[keep], values[keep]


def draw(axes: Any, runs: Sequence[RunCurves], metric: str, label: str, color: str | None = None) -> bool:
    """Draws a metric: its mean over runs as a line, its range as a band, each run as a thin line.

    `axes` are those of Matplotlib; x is the number of environment steps. Returns whether there was anything to draw.
    """
    curve = aggregate(runs, metric)
    alone = [run.series(metric) for run in runs if len(run.series(metric)[0])]
    if not alone:
        return False
    if len(curve.steps) < 2 or len(alone) == 1:  # no common steps, or a single run
        for i, (steps, values) in enumerate(alone):
            marker = "o" if len(steps) == 1 else None
            [line] = axes.plot(steps, values, color=color, marker=marker, linewidth=1.6, label=label if not i else None)
            color = line.get_color()
        return True
    [line] = axes.plot(curve.steps, curve.mean, color=color, linewidth=1.8, label=label)
    axes.fill_between(curve.steps, curve.low, curve.high, color=line.get_color(), alpha=0.18, linewidth=0)
    for steps, values in alone:
        axes.plot(steps, values, color=line.get_color(), alpha=0.5, linewidth=0.9)
    return True
