"""What a population gains, at equal environment steps and updates.

    python benchmarks/population.py [--tasks wide delayed ...] [--methods pbt none ...] [--populations 10]
        [--models models/population] [--minutes 600] [--report]

Each population of 4 learners of S steps is one command of `hydra/launcher=population`, as a user types it. "one
learner" is one run of 4 S steps with what the first learner of the population has drawn. "halving" begins 8 learners
and lets the better half go on, three times, so that each round takes S steps; each of its runs begins anew to wait for
a batch, so it makes fewer updates. Finished populations are not repeated, so that the measurement may be spread over
many calls; `--report` only reads. The learner that is deployed is the one that the evolver finds the best by its
training episodes: the newest 10 measurements. It is scored by 50 deterministic episodes of other seeds (10 on cheetah,
which needs the extra mujoco). Where training episodes say little about the policy (car), the deployed learner is the
best in the last evaluation but one, and the last one, of 10 episodes, is its score.
Keeps what was found in evolver.jsonl and writes evolver.csv, evolver.md and evolver.png, all in docs/results.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.population_judges import BY_EVALUATION, BY_TRAINING, BY_TRAINING_LONG, ByTraining, Judge, curve, newest
from benchmarks.population_report import report
from benchmarks.report import RESULTS, ROOT, commit

LEARNERS = 4
FIRST_SEED = 101  # of the populations that are reported; budgets were chosen with others
CORES = 2  # processes that run at once where a method has no launcher of its own


@dataclass(frozen=True)
class Task:
    """An environment, what learners draw, and what one of them may use."""

    env: str
    steps: int  # of each of the 4 learners
    generation: int  # measurements of each learner that make a generation
    draws: dict[str, str]  # key -> form of random_params
    overrides: tuple[str, ...] = ()
    success: float = 0.0  # return from which a population counts as successful
    about: str = ""  # a sentence for the reader
    judge: Judge = BY_TRAINING
    decimals: int = 1  # of returns in the table


WIDE = {
    "sac.learning_rate": "{truncated: [1e-5, 3e-2], log: true}",
    "sac.gamma": "{truncated: [0.9, 0.999]}",
    "sac.init_log_alpha": "{truncated: [-5, 0]}",
}
SMALL = "base.nn_kwargs={ModelPolicy: {hidden: [64, 64]}, ModelQ: {hidden: [64, 64]}}"
FIXED_ALPHA = "sac.use_auto_alpha=false"
DELAYED = (
    SMALL, FIXED_ALPHA, "replay.batch_size=64", "sac.updates_per_call=16",
    "base.build_path=benchmarks.delayed:PendulumDelayed-v0", "base.scene=delayed",
)  # fmt: skip
TASKS = {
    "wide": Task(
        "gym/pendulum", 3000, 3, WIDE, (SMALL, FIXED_ALPHA), -200.0,
        "A wide prior, of which a part cannot learn; the budget ends while learners still learn.",
    ),
    "delayed": Task(
        "gym/pendulum", 10000, 8, WIDE, (*DELAYED, "sac.n_step=10", "base.evolver_pbt_start=0.4"), -200.0,
        "The same prior with rewards that are paid every 20 steps, as in P3S (arXiv:2001.02907). V-trace corrects the "
        "returns over 10 steps.",
    ),
    "delayed_uncorrected": Task(
        "gym/pendulum", 20000, 5, WIDE, (*DELAYED, "sac.n_step=20", "sac.use_n_step_is=false"), -200.0,
        "The same with uncorrected returns over 20 steps, twice the steps and earlier generations: this task as it was "
        "first designed.",
    ),
    "cheetah": Task(
        "mujoco/half_cheetah", 20000, 4, WIDE,
        (SMALL, FIXED_ALPHA, "replay.random_steps=1000", "base.evolver_pbt_start=0.3"), 1000.0,
        "The wide prior on HalfCheetah-v5, whose episodes have 1000 steps, with few and late generations.",
        BY_TRAINING_LONG,
    ),
    "roller": Task(
        "roller", 3000, 6, WIDE,
        (SMALL, FIXED_ALPHA, "sac.updates_per_step=1", "base.n_agents=4", "replay.random_steps=300",
         "base.evolver_pbt_start=0.5", "eval.stop_return=null"), 0.95,
        "The wide prior on RollerBall, where only the goal pays, a return of 1, with 4 agents.",
        ByTraining(episodes=100), decimals=3,
    ),
    "car": Task(
        "gym/mountain_car", 20000, 2, WIDE, (SMALL, FIXED_ALPHA, "base.evolver_pbt_start=0.5"), 90.0,
        "Learners explore with pink noise, which finds the goal whatever they have learnt.", BY_EVALUATION,
    ),
}  # fmt: skip
SHARE, PBT = "base.evolver_share_replay=0.5", "base.evolver_strategy=pbt"
NONE, NEAR = "base.evolver_strategy=none", "base.evolver_shared_start=true"
POPULATIONS = {
    "best of 4": (NONE,),
    "shared rows": (NONE, SHARE),
    "pbt": (PBT,),
    "pbt, shared rows": (PBT, SHARE),
    "cem": ("base.evolver_strategy=cem",),
    "cem, shared start": ("base.evolver_strategy=cem", NEAR),
}
NEWEST = "best of 4, by fewer"  # the learners of "best of 4", chosen by as few episodes as a generation of pbt has
METHODS = (*POPULATIONS, NEWEST, "one learner", "halving")
CHOSEN_BY = 10  # training episodes, the newest ones, by which the best learner is chosen where nothing evolves
ROUNDS = (8, 4, 2, 1)  # learners of each round of "halving"
running: set[subprocess.Popen] = set()


@dataclass
class Found:
    """What a population came to."""

    task: str
    method: str
    seed: int
    score: float  # of the deployed learner
    best: float  # of the best learner, which nobody knew
    curve: list[float]  # the deployed learner's evaluation after each fifth of the steps
    steps: int  # environment steps of all learners
    updates: int
    minutes: float
    commit: str
    drawn: dict[str, float]  # by the first learner


def common(task: Task, models: Path, steps: int) -> list[str]:
    """Arguments of every run of a task that takes so many steps."""
    evaluations, episodes = task.judge.evaluations, task.judge.episodes
    evaluation = [f"eval.per_step={steps // evaluations}", f"eval.episodes={episodes}", f"eval.window={episodes}"]
    quiet = ["track.wandb=disabled", "track.tensorboard=false", "replay.save=false", "eval.n_agents=10"]
    return [f"env={task.env}", *task.overrides, f"base.models={models}", f"base.max_step={steps}", *evaluation, *quiet]


def start(words: Sequence[str], log: Path) -> subprocess.Popen:
    """Starts `run.py` with these arguments, in a process group of its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "run.py", *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    running.add(process)
    return process


def finish(process: subprocess.Popen, words: Sequence[str]) -> None:
    """Waits for the end. Raises CalledProcessError for a failure."""
    try:
        code = process.wait(timeout=1800)
    finally:
        running.discard(process)
    if code:
        raise subprocess.CalledProcessError(code, list(words))


def run_all(commands: Sequence[tuple[list[str], Path]]) -> None:
    """Runs these commands, CORES at a time."""
    for i in range(0, len(commands), CORES):
        batch = [(start(words, log), words) for words, log in commands[i : i + CORES]]
        for process, words in batch:
            finish(process, words)


def population(task: Task, overrides: Sequence[str], seed: int, models: Path, name: str, learners: int, steps: int):
    """Trains a population; its run folders."""
    forms = "+random_params={" + ", ".join(f"{key}: {form}" for key, form in task.draws.items()) + "}"
    words = ["-m", *common(task, models, steps), "hydra/launcher=population", f"hydra.launcher.learners={learners}"]
    words += [f"base.name={name}", f"seed={seed}", forms, f"base.evolver_fitness={task.judge.fitness}", *overrides]
    length = CHOSEN_BY if NONE in overrides else task.generation
    words += [f"base.evolver_cem_length={length}", "base.evolver_cem_time=600"]
    finish(start(words, models / f"{name}.txt"), words)
    return folders(models, name, learners)


def folders(models: Path, name: str, learners: int) -> list[Path]:
    """The run folders of a population's learners."""
    return [next(models.glob(f"*/{name}-0-{number}")) for number in range(1, learners + 1)]


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def told(task: str, method: str, seed: int, runs: Sequence[Path], chosen: int, minutes: float) -> Found:
    """What these runs of a population came to; `chosen` is the position of the deployed one."""
    results = [result(run) for run in runs]
    scores = [one["objective"] for one in results]
    known = [score for score in scores if score is not None]
    score = scores[chosen] if scores[chosen] is not None else float("nan")
    steps, updates = (sum(one[name] for one in results) for name in ("env_steps", "updates"))
    config = OmegaConf.load(runs[0] / "config.yaml")
    drawn = {key: OmegaConf.select(config, key) for key in TASKS[task].draws}
    over_time = curve(TASKS[task].judge, runs)
    return Found(task, method, seed, score, max(known), over_time, steps, updates, minutes, commit(), drawn)


def measure(name: str, method: str, seed: int, models: Path, earlier: Sequence[Found]) -> list[Found]:
    """Trains one population by one method; what it came to, in two ways of choosing where nothing evolves."""
    task, began, short = TASKS[name], time.monotonic(), method.replace(",", "").replace(" ", "_")
    label, here, also = f"{short}-{seed}", models / name, []
    if method in POPULATIONS:
        runs = population(task, POPULATIONS[method], seed, here, label, LEARNERS, task.steps)
        evolver = runs[0].with_name(f"{label}-0")
        chosen = task.judge.deployed(evolver, runs, CHOSEN_BY)
        if method == "best of 4":
            also = [(NEWEST, task.judge.deployed(evolver, runs, task.generation))]
    elif method == "one learner":
        drawn = next(x.drawn for x in earlier if (x.task, x.method, x.seed) == (name, "best of 4", seed))
        words = [*common(task, here, LEARNERS * task.steps), *(f"{key}={value}" for key, value in drawn.items())]
        run_all([([*words, f"base.name={label}", f"seed={seed}", "base.threads=1"], here / f"{label}.txt")])
        runs, chosen = [next(here.glob(f"*/{label}"))], 0
    else:
        runs, chosen = halving(task, here, label, seed), 0
    minutes = (time.monotonic() - began) / 60
    return [told(name, *way, runs, position, minutes) for *way, position in
            ((method, seed, chosen), *((other, seed, position) for other, position in also))]  # fmt: skip


def halving(task: Task, models: Path, label: str, seed: int) -> list[Path]:
    """Successive halving (Jamieson and Talwalkar, arXiv:1502.07943); the runs, the one that is left first."""
    steps = task.steps // ROUNDS[0]
    runs = population(task, (NONE,), seed, models, label, ROUNDS[0], steps)
    left = list(runs)
    for learners in ROUNDS[1:]:
        left = sorted(left, key=lambda run: newest(task.judge, run), reverse=True)[:learners]
        steps += task.steps // learners
        commands = []
        for run in left:
            words = [
                f"env={task.env}",
                f"base.models={models}",
                f"base.scene={run.parent.name}",
                f"base.name={run.name}",
            ]
            words += ["ckpt=latest", f"base.max_step={steps}", "base.evolver_enabled=false", "base.threads=1"]
            words += [f"eval.per_step={steps // task.judge.evaluations}"]
            commands.append((words, models / f"{label}.txt"))
        run_all(commands)
    return [left[0], *(run for run in runs if run != left[0])]


def measured(file: Path) -> list[Found]:
    """What was measured before."""
    return [Found(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--populations", type=int, default=10)
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "population")
    parser.add_argument("--minutes", type=float, default=600, help="begin no further population after so long")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    until, models, file = time.monotonic() + 60 * args.minutes, args.models.resolve(), args.out / "evolver.jsonl"
    models.mkdir(parents=True, exist_ok=True)
    seeds = range(FIRST_SEED, FIRST_SEED + args.populations)
    try:
        for seed, name, method in product(seeds, args.tasks, [m for m in args.methods if m != NEWEST]):
            known = measured(file)
            done = any((one.task, one.method, one.seed) == (name, method, seed) for one in known)
            if done or args.report or time.monotonic() > until:
                continue
            for found in measure(name, method, seed, models, known):
                with file.open("a") as lines:
                    lines.write(json.dumps(asdict(found)) + "\n")
                words = f"{name} {found.method} {seed}: {found.score:.4g} (best {found.best:.4g})"
                print(f"{words} {found.minutes:.1f} min", flush=True)
        report(measured(file), TASKS, METHODS, args.out)
    finally:
        for process in list(running):
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
