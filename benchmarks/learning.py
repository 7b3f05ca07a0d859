"""Learning: the shipped configurations, trained by `run.py` over several seeds, against the goals.

    python benchmarks/learning.py --envs gym/pendulum 3dball --seeds 1 2 3 --jobs 2 [--set sac.updates_per_call=4]
    python benchmarks/learning.py --collect-only

Each run is one process with one thread, in a folder of its own below `--models`; a finished one is not repeated and
an interrupted one goes on. Reported is the deterministic evaluation (mean of its episodes) at the goal's step: the
first one at or after it, or the last one of a run that ended earlier (marked when it was not by success). Writes
learning.csv, learning.md (or of another `--name`) and one curve for each environment (mean and min-max band over
seeds) into docs/results. What an earlier table of this name says of other environments stays, of these nothing does.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import RESULTS, ROOT, commit, show, stamp, versions, write_csv, write_markdown

GOALS = {  # env -> the least mean over seeds at these steps; None: at the end of the run
    "gym/pendulum": {20_000: -160.0},
    "gym/cart_pole": {50_000: 500.0},
    "gym/acrobot": {100_000: -85.0},
    "gym/mountain_car": {50_000: 94.0},
    "gym/lunar_lander": {300_000: 260.0},
    "roller": {None: 0.95},
    "3dball": {100_000: 90.0, 200_000: 90.0},
    "hallway": {None: 0.69},  # 0.9 of the best return
    "grid_world": {None: 0.87},  # 0.9 of the best return, pictures CHW
    "grid_world/hwc": {None: 0.87},
    "gym/pendulum/hidden_velocity": {20_000: -174.2},  # within 15 % of what the whole observation gives
    "gym/cart_pole/hidden_velocity": {50_000: 425.0},
    "mujoco/half_cheetah": {100_000: 5500.0, 300_000: 8500.0},
    "mujoco/hopper": {100_000: 900.0, 300_000: 2400.0},
    "mujoco/walker2d": {100_000: 620.0, 300_000: 2370.0},
}
CHOSEN = {  # how an env came to its settings, where runs that are shown have had a part in that
    "mujoco/half_cheetah": "the second setting tried, both on seed 1 (the first: learning_rate 3e-4, init_log_alpha "
    "-2.3, 10,000 random steps, 4,503 at 100,000 steps); the run that chose it is seed 1 in mujoco.md",
    "mujoco/hopper": "learning_rate 3e-4 is the second value tried, both on seed 1 (1e-3 collapsed to 25)",
    "mujoco/walker2d": "the second setting tried: with n_step 1 seeds 1 2 3 had 394 236 512 (at 1c363c9); n_step 3 "
    "with sac.use_n_step_is=false was tried on seed 11, which is not shown, up to 40,000 steps (563; n_step 1 had 255 "
    "on seed 1)",
}
DONE = ("max_step", "max_iter", "solved")
COMMIT = "commit.txt"  # written into each run's folder: what it was trained with
SUMMARY = [
    "env", "goal", "at step", "mean", "spread", "met", "seeds", "each seed", "first met at", "minutes", "commit",
    "with",
]  # fmt: skip
running: set[subprocess.Popen] = set()


@dataclass
class Run:
    """What one finished or running folder holds."""

    seed: int
    curve: np.ndarray  # [evaluations, 2] of env_step, eval/return
    minutes: float
    reason: str
    commit: str

    def at(self, step: int | None) -> tuple[int, float]:
        """Step and return of the evaluation that counts for `step`."""
        later = self.curve[self.curve[:, 0] >= step] if step else self.curve[:0]
        found = later[0] if len(later) else self.curve[-1]
        return int(found[0]), float(found[1])

    def reached(self, goal: float) -> int | None:
        """Step of the first evaluation at or above `goal`."""
        good = self.curve[self.curve[:, 1] >= goal]
        return int(good[0, 0]) if len(good) else None


@dataclass
class Outcome:
    """What one run came to by a goal's step; a line of the CSV."""

    env: str
    goal: float | None
    goal_step: int | None
    seed: int
    env_step: int
    eval_return: float
    first_met_at: int | None
    minutes: float
    reason: str
    commit: str
    overrides: str = ""

    @classmethod
    def of(cls, row: dict[str, str]) -> Outcome:
        """From a line of the CSV."""
        number = {"goal": float, "eval_return": float, "minutes": float}
        number |= dict.fromkeys(("goal_step", "seed", "env_step", "first_met_at"), int)
        return cls(**{key: (number[key](x) if x else None) if key in number else x for key, x in row.items()})


def run_name(env: str, seed: int) -> str:
    return f"{env.replace('/', '-')}-seed{seed}"


def run_folder(models: Path, env: str, seed: int) -> Path | None:
    """The folder is below the scene's name, which only the configuration knows."""
    return next(iter(models.glob(f"*/{run_name(env, seed)}")), None)


def train(env: str, seed: int, models: Path, minutes: float, overrides: list[str]) -> None:
    """Runs one seed to its end, or to the time limit."""
    name, folder = run_name(env, seed), run_folder(models, env, seed)
    if folder and (run := read(folder, seed)) and run.reason in DONE:
        print(f"{name}: done already", flush=True)
        return
    words = [
        sys.executable, "run.py", f"env={env}", f"seed={seed}", f"base.name={name}", f"base.models={models}",
        "ckpt=auto", "base.threads=1", "track.console=false", "track.tensorboard=false",
        "track.wandb=disabled", *overrides,
    ]  # fmt: skip
    trained_with = commit()
    with (models / f"{name}.log").open("a") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process)
        try:
            code = str(process.wait(minutes * 60))
        except subprocess.TimeoutExpired:
            code = f"stopped after {minutes:g} minutes"
        finally:
            end(process)
            running.discard(process)
    folder = run_folder(models, env, seed)
    if folder:
        (folder / COMMIT).write_text(trained_with)
    print(f"{name}: exit {code}", flush=True)


def end(process: subprocess.Popen) -> None:
    """Asks the run to save and stop; then no more asking, for it and whatever it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait(10)


def read(folder: Path, seed: int) -> Run | None:
    """None before the first evaluation."""
    metrics, result, written = folder / "metrics.csv", folder / "result.json", folder / COMMIT
    if not metrics.exists():
        return None
    with metrics.open(newline="") as file:
        rows = [(r["env_step"], r.get("eval/return")) for r in csv.DictReader(file)]
    curve = np.array([(int(step), float(value)) for step, value in rows if value])
    if not len(curve):
        return None
    told = json.loads(result.read_text()) if result.exists() else {"seconds": np.nan, "reason": "running"}
    trained_with = written.read_text() if written.exists() else "unknown"
    return Run(seed, curve, told["seconds"] / 60, told["reason"], trained_with)


def collect(models: Path, envs: list[str], seeds: list[int] | None) -> dict[str, list[Run]]:
    """All runs found, by environment."""
    found: dict[str, list[Run]] = {}
    for env in envs:
        for folder in sorted(models.glob(f"*/{run_name(env, 0)[:-1]}*")):
            number = folder.name.rpartition("seed")[2]
            if number.isdigit() and (seeds is None or int(number) in seeds):
                run = read(folder, int(number))
                if run:
                    found.setdefault(env, []).append(run)
    return found


def outcomes(found: dict[str, list[Run]], overrides: list[str]) -> list[Outcome]:
    """One for each goal and seed."""
    told, words = [], " ".join(overrides)
    for env, runs in found.items():
        for step, goal in GOALS.get(env, {None: None}).items():
            for run in runs:
                first = run.reached(goal) if goal is not None else None
                told.append(
                    Outcome(env, goal, step, run.seed, *run.at(step), first, run.minutes, run.reason, run.commit, words)
                )
    return told


def earlier(path: Path, envs: Container[str]) -> list[Outcome]:
    """What an earlier table says of other envs than `envs`: their runs may lie on another machine, or be gone."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Outcome.of(row) for row in csv.DictReader(file) if row["env"] not in envs]


def summary(told: list[Outcome]) -> list[list]:
    """A row for each goal."""
    table = [SUMMARY]
    for env, step in dict.fromkeys((x.env, x.goal_step) for x in told):
        seeds = [x for x in told if (x.env, x.goal_step) == (env, step)]
        goal, values = seeds[0].goal, [x.eval_return for x in seeds]
        met = "" if goal is None else "yes" if np.mean(values) >= goal else "no"
        when = f"{step:,}" if step else "end"
        if short := [x.env_step for x in seeds if x.reason != "solved" and x.env_step < (step or 0)]:
            met, when = met and "unfinished", f"{when} (only {min(short):,})"
        table.append([
            env, goal, when, float(np.mean(values)), float(np.std(values)), met,
            " ".join(str(x.seed) for x in seeds), " ".join(f"{v:.4g}" for v in values),
            " ".join(f"{x.first_met_at:,}" if x.first_met_at else "-" for x in seeds),
            float(np.nanmean([x.minutes for x in seeds])), " ".join(sorted({x.commit for x in seeds})),
            "; ".join(sorted({x.overrides for x in seeds})),
        ])  # fmt: skip
    return table


def picture_name(env: str, prefix: str) -> str:
    return f"{prefix}{env.removeprefix('gym/').replace('/', '-')}.png"


def picture(env: str, runs: list[Run], folder: Path, prefix: str = "") -> None:
    """Evaluation return against steps: mean over seeds, and a band from the worst to the best seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = np.unique(np.concatenate([run.curve[:, 0] for run in runs]))
    values = np.stack([np.interp(steps, *run.curve.T) for run in runs])
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.fill_between(steps, values.min(0), values.max(0), alpha=0.25, linewidth=0)
    axes.plot(steps, values.mean(0), marker="o", markersize=3, label=f"mean of {len(runs)} seeds, min-max band")
    goals = list(GOALS.get(env, {}).values())
    if goals:
        axes.axhline(goals[0], linestyle="--", linewidth=1, color="grey", label=f"goal {goals[0]:g}")
    axes.set(title=env, xlabel="environment steps (all agents)", ylabel="evaluation return", xlim=(0, None))
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / picture_name(env, prefix), dpi=120)
    pyplot.close(figure)


def write(found: dict[str, list[Run]], out: Path, overrides: list[str], name: str) -> None:
    order = {env: i for i, env in enumerate(GOALS)}
    told = outcomes(found, overrides) + earlier(out / f"{name}.csv", found)
    told.sort(key=lambda x: order.get(x.env, len(order)))
    table, envs = summary(told), list(dict.fromkeys(x.env for x in told))
    show(table)
    header = [field.name for field in fields(Outcome)]
    exact = [[None if x is None else str(x) for x in astuple(row)] for row in told]  # they may be read again
    write_csv(out / f"{name}.csv", [header, *exact])
    prefix = "" if name == "learning" else f"{name}-"
    chosen = [f"* {env}: {CHOSEN[env]}." for env in envs if env in CHOSEN]
    chosen = ["How the settings were chosen:\n\n" + "\n".join(chosen)] if chosen else []
    for env, runs in found.items():
        picture(env, runs, out, prefix)
    names = [(env, picture_name(env, prefix)) for env in envs]
    curves = [f"![{env}]({picture})" for env, picture in names if (out / picture).exists()]
    write_markdown(out / f"{name}.md", name.replace("-", " ").capitalize(), [
        "Shipped configurations, but for what stands under `with`; deterministic evaluation (mean of its episodes) at "
        "the stated step, mean and standard deviation over seeds. Minutes are wall time of one run on one thread, "
        "evaluations included, beside other runs on the same machine.",
        table, *chosen, stamp(versions("tensorflow", "keras", "numpy", "gymnasium")), " ".join(curves),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=list(GOALS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 1 2 3; with --collect-only: all there are")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--minutes", type=float, default=120.0, help="time limit of one run")
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "learning")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="more overrides for run.py; they stand in the table, so name them with --collect-only as well",
    )
    parser.add_argument("--collect-only", action="store_true", help="only rebuild tables and pictures")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--name", default="learning", help="of the table and, in front, of the pictures")
    options = parser.parse_args()
    models = options.models.resolve()
    if not options.collect_only:
        models.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                jobs = [
                    pool.submit(train, env, seed, models, options.minutes, options.set)
                    for seed in options.seeds or [1, 2, 3]
                    for env in options.envs
                ]
                for job in jobs:
                    job.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(running):
                    process.terminate()
    found = collect(models, options.envs, options.seeds)
    if not found:
        sys.exit(f"no run with an evaluation below {options.models}")
    write(found, options.out, options.set, options.name)


if __name__ == "__main__":
    main()
