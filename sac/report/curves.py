"""The curves of run folders: read one, bring several onto one axis of steps, draw their mean and spread."""

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

STEP = "env_step"  # the first column of metrics.csv: transitions of all agents
EVALUATION, TRAINING = "eval/return", "episode/return"
POINTS = 300  # of a drawn curve
LOG_TAIL = 65536  # bytes of log.log in which the last error is looked for
BAND = "band: lowest to highest seed"  # what `draw` fills


@dataclass
class RunCurves:
    """One run folder as read. `config` is flat: {"sac.n_step": 3, ...}."""

    path: Path
    config: dict[str, Any]
    columns: dict[str, tuple[np.ndarray, np.ndarray]]  # metric: steps [n], values [n] (with NaN where it was recorded)
    result: dict[str, Any] = field(default_factory=dict)  # result.json; empty while a run goes on or after a crash
    damaged: int = 0  # lines of metrics.csv that could not be read
    failure: str = ""  # what ended it, where that was an error
    commit: str = ""  # of the program that trained it, where it is known

    def series(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps [n] and finite values [n] of a metric; empty where it was not recorded."""
        steps, values = self.columns.get(metric, (np.zeros(0), np.zeros(0)))
        good = np.isfinite(values)
        return steps[good], values[good]

    def last(self, metric: str) -> float | None:
        """The newest finite value."""
        values = self.series(metric)[1]
        return float(values[-1]) if len(values) else None

    @property
    def steps(self) -> int:
        """The last step of which anything is known."""
        ends = [int(steps[-1]) for steps, _ in self.columns.values() if len(steps)]
        told = self.result.get("env_steps")
        return max([*ends, told if isinstance(told, int) else 0])

    @property
    def is_over(self) -> bool:
        """Whether result.json speaks of all that was recorded; one that was resumed since has an older one."""
        told = self.result.get("env_steps")
        return isinstance(told, int) and told >= self.steps

    @property
    def name(self) -> str:
        return self.path.name


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """Run folders (with a config.yaml) among these paths and below them, each once, in order.

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
    """What lies inside a run is no run (Weights & Biases keeps a config.yaml of its own there)."""
    for folder, inner, files in os.walk(path):
        inner.sort()
        if "manifest.json" in files:  # a checkpoint, which keeps a copy of its run's config.yaml
            inner.clear()
        elif "config.yaml" in files:
            inner.clear()
            yield Path(folder)


def read_run(path: Path | str) -> RunCurves:
    """Reads a run folder, also one that is still written to: what cannot be read of its metrics is counted.

    Raises UserError when there is no readable config.yaml.
    """
    path = Path(path)
    columns, damaged = read_metrics(path / "metrics.csv")
    result = _result(path / "result.json")
    commit = result.get("commit") or _text(path / "commit.txt").strip()
    return RunCurves(path, _config(path / "config.yaml"), columns, result, damaged, _failure(path), str(commit))


def read_metrics(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """{metric: (steps [n], values [n])} in order of steps, and how many lines were damaged. Nothing without a file."""
    whole, _, _half_line = _text(path).rpartition("\n")  # what a writer has not finished yet is nobody's fault
    rows = list(csv.reader(whole.replace("\0", "").splitlines()))
    if not rows or rows[0][:1] != [STEP]:
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
    """What config.yaml says, or else its copy in the newest checkpoint."""
    first: Exception | None = None
    for file in (path, *sorted(path.parent.glob("checkpoints/step_*/config.yaml"), reverse=True)):
        try:
            if loaded := dict(_flat(OmegaConf.to_container(OmegaConf.load(file), resolve=False))):
                return loaded
        except Exception as error:  # yaml has its own
            first = first or error
    if first is not None:
        raise UserError(f"{path} cannot be read: {' '.join(str(first).split())}") from first
    return {}


def _flat(tree: dict, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _result(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failure(folder: Path) -> str:
    """The error at the end of the log (a cell's: its learner's), unless the run was resumed since or has ended well."""
    error, log, result = "", folder / "log.log", folder / "result.json"
    log = log if log.exists() else folder / "roles" / "learner.log"
    for line in _text(log, LOG_TAIL).splitlines():
        _, found, message = line.partition(" ERROR sac: ")
        error = message if found else "" if " resumed at step " in line else error
    ended_well = result.exists() and log.exists() and result.stat().st_mtime > log.stat().st_mtime
    return "" if ended_well else error


def _text(path: Path, tail: int | None = None) -> str:
    """A small file, or the end of a large one; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail) if tail else 0)
            return file.read().decode("utf8", errors="replace")
    except OSError:
        return ""


# --- several runs on one axis


@dataclass
class Curve:
    """Several runs' values of one metric on common steps [n]; nothing beyond where the first of them ends."""

    steps: np.ndarray  # [n]
    values: np.ndarray  # [runs, n]

    @property
    def mean(self) -> np.ndarray:
        return self.values.mean(0)

    @property
    def low(self) -> np.ndarray:
        return self.values.min(0)

    @property
    def high(self) -> np.ndarray:
        return self.values.max(0)


def aggregate(runs: Sequence[RunCurves], metric: str, points: int = POINTS) -> Curve:
    """The metric of all runs that have it, interpolated in straight lines onto the steps that all of them cover.

    Beyond the end of the shortest run a mean would be one of the others only, and would jump.
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
    keep = np.append(steps[1:] != steps[:-1], True)
    return steps[keep], values[keep]


def draw(axes, runs: Sequence[RunCurves], metric: str, label: str, color=None) -> bool:
    """Mean over runs as a line, lowest to highest as a band, every run as a thin line. False where there is nothing.

    `axes` are Matplotlib's; the steps on x are those of the environment.
    """
    curve = aggregate(runs, metric)
    alone = [run.series(metric) for run in runs if len(run.series(metric)[0])]
    if not alone:
        return False
    if len(curve.steps) < 2 or len(alone) == 1:  # nothing in common, or nobody to share it with
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
