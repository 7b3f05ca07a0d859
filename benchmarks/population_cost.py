"""CPU time of a population of 4 single processes against 4 independent runs of the same steps.

    python benchmarks/population_cost.py [--rounds 3] [--steps 4000]

Each round runs the four once as `hydra/launcher=processes` and once for each kind of population, all with one thread a
process, the same evaluations and checkpoints; CPU time is that of the command with all its processes. The order changes
from round to round. Writes evolver-cost.csv and evolver-cost.md into docs/results.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quiet import Others
from benchmarks.report import RESULTS, ROOT, Row, show, stamp, versions, write_csv, write_markdown

LEARNERS = 4
POPULATION = ("hydra/launcher=population", f"hydra.launcher.learners={LEARNERS}", "base.evolver_fitness=training",
              "base.evolver_cem_length=2", "+random_params={sac.gamma: {truncated: [0.9, 0.999]}}")  # fmt: skip
CASES = {
    "4 independent runs": ("hydra/launcher=processes", f"hydra.launcher.n_jobs={LEARNERS}", "repeat=range(4)"),
    "population, none": (*POPULATION, "base.evolver_strategy=none"),
    "population, pbt": (*POPULATION, "base.evolver_strategy=pbt"),
    "population, pbt, shared rows": (*POPULATION, "base.evolver_strategy=pbt", "base.evolver_share_replay=0.5"),
}
COMMON = ("-m", "env=gym/pendulum", "seed=1", "base.threads=1", "track.wandb=disabled", "base.name=cost")
MAX_SECONDS = 1800.0  # of one command


def cpu_seconds(case: str, steps: int) -> tuple[float, float]:
    """CPU seconds and seconds of one command with all its processes. Raises CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory(prefix="population-cost-") as folder:
        words = [sys.executable, "run.py", *COMMON, f"base.models={folder}", f"base.max_step={steps}", *CASES[case]]
        words += [f"eval.per_step={steps // 2}"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=MAX_SECONDS, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    args = parser.parse_args()
    cpu: dict[str, list[float]] = {case: [] for case in CASES}
    wall: dict[str, list[float]] = {case: [] for case in CASES}
    others = Others()
    for number in range(args.rounds):
        names = list(CASES)
        for case in [*names[number % len(names) :], *names[: number % len(names)]]:
            used, seconds = cpu_seconds(case, args.steps)
            cpu[case].append(used)
            wall[case].append(seconds)
            print(f"round {number + 1}: {case}: {used:.1f} CPU-seconds, {seconds:.1f} s", flush=True)
    base = cpu["4 independent runs"]
    rows: list[Row] = [("four learners", "CPU-seconds", "x independent", "rounds", "seconds")]
    for case, used in cpu.items():
        ratios = [one / other for one, other in zip(used, base)]
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        rows.append((case, f"{np.median(used):.1f}", f"{np.median(ratios):.2f}", each, f"{np.median(wall[case]):.1f}"))
    show(rows)
    busy = max(0.0, others.cores() - sum(map(sum, cpu.values())) / sum(map(sum, wall.values())))
    words = (
        f"Written by `benchmarks/population_cost.py`: `env=gym/pendulum`, {args.steps} steps a learner, two "
        "evaluations; medians over rounds, ratios within a round. CPU time is that of the command and all its processes."
    )
    write_csv(RESULTS / "evolver-cost.csv", rows)
    note = f"Others used {busy:.2f} cores meanwhile. {stamp(versions('tensorflow', 'numpy'))}"
    write_markdown(RESULTS / "evolver-cost.md", "What a population costs", [words, rows, note])


if __name__ == "__main__":
    main()
