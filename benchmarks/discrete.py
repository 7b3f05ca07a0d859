"""Discrete scenes with and without the entropy in the critics' targets, over several seeds.

    python benchmarks/discrete.py --models models/discrete --tasks "FrozenLake 4x4" CartPole --seeds 1 2 3
    python benchmarks/discrete.py --models models/discrete --collect-only

Each run is one process with one thread in a folder of its own below `--models`/<variant>/<task>; a finished one is not
repeated and an interrupted one goes on, so this may be stopped and begun again at any time. Runs come in the order
of TASKS, all variants of a seed one after another. Writes discrete.csv and discrete.md into docs/results, of all runs
found there; a task or variant without a run that has ended has no row.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.learning import DONE, Run, collect, train
from benchmarks.report import RESULTS, ROOT, Row, show, stamp, versions, write_csv, write_markdown


@dataclass(frozen=True)
class Task:
    """A scene, what differs from its shipped settings, and the return at which it counts as solved."""

    env: str
    goal: float
    overrides: tuple[str, ...] = ()


def cart_pole_settings(scene: str, env_id: str, steps: int, every: int, goal: float, kwargs: str = "{}") -> Task:
    """A task that nobody has chosen settings for: those of CartPole."""
    overrides = (
        f"base.scene={scene}", f"base.build_path={env_id}", f"base.env_kwargs={kwargs}", f"base.max_step={steps}",
        f"eval.per_step={every}", "eval.stop_return=null",
    )  # fmt: skip
    return Task("gym/cart_pole", goal, overrides)


LAKE = ("lake", "FrozenLake-v1", 15_000, 1000, 1.0)
TASKS = {  # the cheap ones first
    "FrozenLake 4x4, CartPole's settings": cart_pole_settings(*LAKE, "{is_slippery: false}"),
    "FrozenLake 4x4": Task("gym/frozen_lake", 1.0),
    "CartPole": Task("gym/cart_pole", 500.0),
    "FrozenLake 8x8": Task("gym/frozen_lake/8x8", 1.0),
    "FrozenLake 4x4, slippery": Task("gym/frozen_lake", 0.7, ("base.env_kwargs.is_slippery=true", "eval.episodes=100",
                                                             "eval.window=100", "eval.stop_return=null",
                                                             "base.max_step=30000", "eval.per_step=5000")),
    "Acrobot": Task("gym/acrobot", -85.0),
    "Hallway": Task("hallway", 0.69),
    "GridWorld": Task("grid_world", 0.87),
}  # fmt: skip
VARIANTS = {  # what is compared: overrides of a task's own
    "default": ("sac.soft_target=null",),
    "entropy in the targets": ("sac.soft_target=true",),
}
HEADER = (
    "task", "goal", "targets", "steps", "at the end", "spread", "solved", "each seed", "first at the goal", "minutes",
    "seeds", "commit",
)  # fmt: skip


def folder(models: Path, variant: str, task: str) -> Path:
    return models / slug(variant) / slug(task)


def slug(words: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in words.lower())


def row(name: str, task: Task, variant: str, runs: Sequence[Run]) -> Row:
    """What the runs of one task and variant came to at their ends."""
    last = [run.at(None)[1] for run in runs]
    first = [run.reached(task.goal) for run in runs]
    return (
        name, task.goal, variant, max(run.at(None)[0] for run in runs), float(np.mean(last)), float(np.std(last)),
        f"{sum(value >= task.goal for value in last)} of {len(last)}", " ".join(f"{value:.4g}" for value in last),
        " ".join(f"{step:,}" if step else "-" for step in first), float(np.mean([run.minutes for run in runs])),
        " ".join(str(run.seed) for run in runs), " ".join(sorted({run.commit for run in runs})),
    )  # fmt: skip


def table(models: Path) -> list[Row]:
    """A row for each task and variant that has runs which ended by themselves."""
    rows: list[Row] = [HEADER]
    for name, task in TASKS.items():
        for variant in VARIANTS:
            found = collect(folder(models, variant, name), [task.env], None).get(task.env, [])
            if ended := [run for run in found if run.reason in DONE]:
                rows.append(row(name, task, variant, ended))
    return rows


def write(models: Path, out: Path) -> None:
    rows = table(models)
    show(rows)
    write_csv(out / "discrete.csv", rows)
    measured = {x[0] for x in rows}
    settings = [
        f"* {name}: `{' '.join((f'env={x.env}', *x.overrides))}`" for name, x in TASKS.items() if name in measured
    ]
    compared = {x[2] for x in rows}
    variants = [f"* {name}: `{' '.join(words)}`" for name, words in VARIANTS.items() if name in compared]
    write_markdown(out / "discrete.md", "Discrete actions", [
        "Deterministic evaluation (mean of its episodes) at the end of each run, mean and standard deviation over "
        "seeds; a run ends at its last step, or earlier where its scene's `eval.stop_return` is reached. `solved` "
        "counts the seeds that end at the goal or above. Minutes are wall time of one run on one thread, beside other "
        "work on the same machine.",
        rows, "The tasks:\n\n" + "\n".join(settings), "Targets:\n\n" + "\n".join(variants),
        stamp(versions("tensorflow", "keras", "numpy", "gymnasium")),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=120.0, help="time limit of one run")
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "discrete")
    parser.add_argument("--collect-only", action="store_true", help="only rebuild the table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    models = options.models.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `train` then asks its run to save and stop
    for task in [] if options.collect_only else options.tasks:
        for seed in options.seeds:
            for variant in options.variants:
                here = folder(models, variant, task)
                here.mkdir(parents=True, exist_ok=True)
                overrides = [*TASKS[task].overrides, *VARIANTS[variant]]
                train(TASKS[task].env, seed, here, options.minutes, overrides)
    write(models, options.out)


if __name__ == "__main__":
    main()
