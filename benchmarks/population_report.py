"""The tables and the picture of what `benchmarks/population.py` has measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Row, show, stamp, versions, write_csv, write_markdown
from sac.report.statistics import BOOTSTRAP_RESAMPLES, CONFIDENCE, bootstrap_interval, iqm

if TYPE_CHECKING:
    from benchmarks.population import Found, Task

PANELS_IN_A_LINE = 3  # of the picture
WITHOUT_CURVE = "halving"  # its runs end at different steps
BASELINES = ("best of 4", "best of 4, by fewer")  # the same learners, chosen in two ways
HEADER = (
    "task", "method", "populations", "score (IQM)", "95 %", "minus best of 4", "95 %, pairs", "95 %, apart",
    "P(better)", "success", "area", "area minus best of 4 (95 %, pairs)", "best (unknown)", "steps", "updates",
    "minutes",
)  # fmt: skip
LEGEND = """\
*score*: the mean return of the last evaluation of the learner that was deployed, as interquartile mean over the
populations, with a bootstrap interval (Agarwal et al., arXiv:2108.13264). *minus best of 4*: the difference of the
interquartile means; of the two ways to choose the best of 4, by its newest 10 measurements or by as few as a generation
has, it is the one with the better score; on car, where the evaluation before the last chooses, both are one.
Populations of one seed begin with the same draws (but for halving, which has 8 learners), so the interval resamples
these pairs together (*pairs*); beside it both are resampled independently (*apart*). *P(better)*: the share of seeds in
which the method is ahead; equal ones count a half. *success*: populations whose score counts as a success. *area*: the
mean over all evaluations of the learner that seemed the best at that time, by the mean of its newest 20 training
episodes, those before it became a copy included (on car by the evaluation before); a method that learns faster has
more. *best*: the interquartile mean of the best score of any learner, which nobody knows when one is chosen. *steps*,
*updates*: of all learners together, medians. A measurement of training is the mean of as many episodes as a learner has
agents.

How the tasks came about: wide, delayed and car were planned. The first design of delayed showed no gain, and the one
above was chosen with seeds 1 to 3. Cheetah and roller were added when a second task was looked for. Roller's budget was
chosen with seeds 1 to 3; then six seeds of a first design were thrown away, whose first generation judged random play,
and pbt with shared rows of eleven seeds of the present one, where the best learner was told by the measurements since
the last generation alone (as still in the tasks measured before: wide, delayed_uncorrected, cheetah). The intervals in
pairs and of areas were added after the first ten populations of wide had been seen; those apart were planned. The
second ten populations of cheetah were added after the first ten had been seen."""


def apart(one: Sequence[float], other: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of iqm(one) - iqm(other), both resampled independently."""
    random = np.random.default_rng(seed)
    return _interval([
        iqm(random.choice(one, len(one))) - iqm(random.choice(other, len(other))) for _ in range(BOOTSTRAP_RESAMPLES)
    ])  # fmt: skip


def in_pairs(one: Sequence[float], other: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of iqm(one) - iqm(other), whose values at one position belong together."""
    random, a, b, found = np.random.default_rng(seed), np.asarray(one), np.asarray(other), []
    for _ in range(BOOTSTRAP_RESAMPLES):
        chosen = random.integers(len(a), size=len(a))
        found.append(iqm(a[chosen]) - iqm(b[chosen]))
    return _interval(found)


def _interval(found: Sequence[float]) -> tuple[float, float]:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def share_ahead(one: Sequence[float], other: Sequence[float]) -> float:
    """The share of positions at which `one` is ahead; equal ones count a half."""
    a, b = np.asarray(one), np.asarray(other)
    return float(((a > b) + 0.5 * (a == b)).mean())


def _area_against(own: dict[int, float], base: dict[int, float], seeds: Sequence[int], decimals: int) -> str:
    mine, its = [own[seed] for seed in seeds], [base[seed] for seed in seeds]
    low, high = in_pairs(mine, its)
    return f"{iqm(mine) - iqm(its):+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def rows_of(name: str, task: Task, found: Sequence[Found], methods: Sequence[str]) -> list[Row]:
    """A row for each method that was measured on this task."""
    scores = {method: {one.seed: one.score for one in found if one.method == method} for method in methods}
    areas = {
        method: {one.seed: float(np.mean(one.curve)) for one in found if one.method == method} for method in methods
    }
    known = [scores[one] for one in BASELINES if len(scores.get(one, ())) > 1]
    base = max(known, key=lambda by_seed: iqm(list(by_seed.values())), default={})
    rows: list[Row] = []
    n = task.decimals
    for method in methods:
        mine, values = [one for one in found if one.method == method], list(scores[method].values())
        if len(mine) < 2:
            continue
        versus, area, versus_area = ("", "", "", ""), "", ""
        if method != WITHOUT_CURVE:
            area = f"{iqm(list(areas[method].values())):.{n}f}"
        seeds = sorted(scores[method].keys() & base.keys())
        if method not in BASELINES and len(seeds) > 1:
            own, its = [scores[method][seed] for seed in seeds], [base[seed] for seed in seeds]
            intervals = [f"{low:+.{n}f} to {high:+.{n}f}" for low, high in (in_pairs(own, its), apart(own, its))]
            if area:
                versus_area = _area_against(areas[method], areas[BASELINES[0]], seeds, n)
            versus = (f"{iqm(own) - iqm(its):+.{n}f}", *intervals, f"{share_ahead(own, its):.2f}")
        low, high = bootstrap_interval(values)
        success = sum(value >= task.success for value in values)
        rows.append((
            name, method, len(mine), f"{iqm(values):.{n}f}", f"{low:.{n}f} to {high:.{n}f}", *versus,
            f"{success} of {len(values)}", area, versus_area,
            f"{iqm([one.best for one in mine]):.{n}f}", int(np.median([one.steps for one in mine])),
            int(np.median([one.updates for one in mine])), f"{np.median([one.minutes for one in mine]):.1f}",
        ))  # fmt: skip
    return rows


def draw(found: Sequence[Found], tasks: dict[str, Task], methods: Sequence[str], path: Path) -> None:
    """A panel for each task: the deployed learner's evaluation over time, interquartile mean with its interval."""
    from matplotlib.figure import Figure

    shown = [name for name in tasks if any(one.task == name for one in found)]
    lines = -(-len(shown) // PANELS_IN_A_LINE)
    figure = Figure((5.2 * min(len(shown), PANELS_IN_A_LINE), 4.0 * lines + 0.4), layout="constrained")
    for position, name in enumerate(shown, 1):
        axes = figure.add_subplot(lines, min(len(shown), PANELS_IN_A_LINE), position)
        for i, method in enumerate(method for method in methods if method not in (BASELINES[1], WITHOUT_CURVE)):
            curves = [one.curve for one in found if (one.task, one.method) == (name, method)]
            if len(curves) < 2:
                continue
            length = min(map(len, curves))
            values = np.array([curve[:length] for curve in curves])
            x = np.arange(1, length + 1) / length
            middle = [iqm(values[:, j]) for j in range(length)]
            low, high = zip(*(bootstrap_interval(values[:, j]) for j in range(length)))
            axes.plot(x, middle, color=f"C{i}", label=method, marker="o", markersize=3)
            axes.fill_between(x, low, high, color=f"C{i}", alpha=0.12)
        axes.set_title(name)
        axes.set_xlabel("share of the environment steps")
        axes.grid(alpha=0.3)
    for axes in figure.axes[::PANELS_IN_A_LINE]:
        axes.set_ylabel("return of the deployed learner")
    labelled = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(list(labelled.values()), list(labelled), loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=110)


def report(found: Sequence[Found], tasks: dict[str, Task], methods: Sequence[str], out: Path) -> None:
    """Prints the table and writes evolver.csv, evolver.md and evolver.png into `out`."""
    rows: list[Row] = [HEADER]
    parts: list[str | Sequence[Row]] = [
        "Written by `benchmarks/population.py`: what a population gains at equal environment steps, and at equal "
        "updates but for one learner and halving (their own column tells). "
        "See [populations](../populations.md).", "![the deployed learner over time](evolver.png)"
    ]  # fmt: skip
    for name, task in tasks.items():
        mine = rows_of(name, task, [one for one in found if one.task == name], methods)
        if mine:
            rows += mine
            numbers = ", ".join(f"`{key}` {form}" for key, form in task.draws.items())
            parts += [f"## {name}", f"`{task.env}`, {task.steps} steps of each of 4 learners, a generation every "
                      f"{task.generation} {task.judge.unit}. {task.about} Drawn: {numbers}. With "
                      f"`{'`, `'.join(task.overrides)}`. The best learner is known by its {task.judge.unit}; each of "
                      f"{task.judge.evaluations} evaluations has {task.judge.episodes} deterministic episodes of other "
                      f"seeds, and a return of {task.success:g} counts as a success.",
                      [[cell for j, cell in enumerate(row) if j] for row in (HEADER, *mine)]]  # fmt: skip
    show(rows)
    parts += ["## How to read the tables", LEGEND]
    commits = sorted({one.commit for one in found})
    parts.append(f"Trained by commit {', '.join(commits)}. {stamp(versions('tensorflow', 'numpy', 'gymnasium'))}")
    write_csv(out / "evolver.csv", rows)
    write_markdown(out / "evolver.md", "What populations gain", parts)
    draw(found, tasks, methods, out / "evolver.png")
