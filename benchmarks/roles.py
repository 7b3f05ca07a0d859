"""A cell against a single process: steps and updates a second, how old the policy is, how long the learner waits.

    python benchmarks/roles.py [--repeats 3] [--updates 3000] [--env mujoco/half_cheetah]

Each measurement is `run.py` itself, one after the other in turn: a single process; a cell of one actor and one of two,
which both wait for the learner (`replay.limiter=ratio`, one update for each step, as in the single process); a cell of
two actors that never wait (`bucket`). Medians over the summaries after the first 1,000 updates, then over repeats.
No evaluation and no checkpoint. Writes roles.csv and roles.md into docs/results.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown

SUMMARY_UPDATES = 250  # between two summaries
WARM_UP_UPDATES = 1000  # that are not measured
MAX_MEASUREMENT_SECONDS = 900.0  # of one measurement
CELL = ("-m", "hydra/launcher=roles", "replay.max_lead=200")
CASES = {
    "single process": (),
    "cell, 1 actor, ratio": (*CELL, "hydra.launcher.actors=1", "replay.limiter=ratio"),
    "cell, 2 actors, ratio": (*CELL, "hydra.launcher.actors=2", "replay.limiter=ratio"),
    "cell, 2 actors, bucket": (*CELL, "hydra.launcher.actors=2", "replay.limiter=bucket"),
}
COLUMNS = {  # in the table -> in metrics.csv
    "steps/s": "rate/steps", "updates/s": "rate/updates", "updates a step": "replay/updates_per_step",
    "versions behind": "actors/policy_lag", "actors wait": "actors/waiting",
}  # fmt: skip


def measured(env: str, case: Sequence[str], updates: int) -> dict[str, float]:
    """Runs `run.py` with these words until it has made so many updates after the warm-up, and ends it."""
    words = [
        sys.executable, str(ROOT / "run.py"), *case, f"env={env}", "base.name=b", "seed=1", "base.max_step=-1",
        "eval.per_step=-1", "track.wandb=disabled", "track.tensorboard=false", "sac.updates_per_step=1",
        "sac.save_model_per_step=1000000000", "sac.save_model_per_minute=1000",
        f"sac.write_summary_per_step={SUMMARY_UPDATES}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "screen.txt").open("w") as screen:
        process = subprocess.Popen(words, cwd=folder, stdout=screen, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + MAX_MEASUREMENT_SECONDS
            rows: list[dict[str, str]] = []
            while (
                len(rows) < (WARM_UP_UPDATES + updates) // SUMMARY_UPDATES
                and time.monotonic() < until
                and process.poll() is None
            ):
                time.sleep(1.0)
                rows = summaries(Path(folder))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if len(rows) <= WARM_UP_UPDATES // SUMMARY_UPDATES:
            sys.exit(f"{' '.join(case)}: too few summaries\n{(Path(folder) / 'screen.txt').read_text()}")
    return medians(rows[WARM_UP_UPDATES // SUMMARY_UPDATES :])


def summaries(folder: Path) -> list[dict[str, str]]:
    found = list(folder.glob("models/*/b*/metrics.csv"))
    if not found:
        return []
    with found[0].open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("rate/updates")]


def medians(rows: list[dict[str, str]]) -> dict[str, float]:
    found = {
        name: float(np.median([float(row[column]) for row in rows])) if rows[0].get(column) else float("nan")
        for name, column in COLUMNS.items()
    }
    if rows[0].get("learner/waited"):
        waited = np.diff([float(row["learner/waited"]) for row in rows])
        seconds = [SUMMARY_UPDATES / float(row["rate/updates"]) for row in rows[1:]]
        found["learner waits"] = float(np.median(waited / seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--updates", type=int, default=3000, help="after the warm-up")
    parser.add_argument("--env", default="mujoco/half_cheetah")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    details = [["case", "repeat", "measure", "value", "load"]]
    for repeat in range(options.repeats):
        for case, runs in found.items():
            runs.append(measured(options.env, CASES[case], options.updates))
            details += [[case, repeat, name, value, os.getloadavg()[0]] for name, value in runs[-1].items()]
            print(f"{case} {repeat}: {runs[-1]}", flush=True)
    names = [*COLUMNS, "learner waits"]
    middle = {
        case: {n: float(np.median([run.get(n, np.nan) for run in runs])) for n in names} for case, runs in found.items()
    }
    alone = middle["single process"]["steps/s"]
    table = [["case", *names, "steps/s, times the single process"]]
    table += [[case, *(m[n] for n in names), m["steps/s"] / alone] for case, m in middle.items()]
    show(table)
    write_csv(RESULTS / "roles.csv", details)
    write_markdown(RESULTS / "roles.md", "Roles", [
        f"`env={options.env}`, one environment an actor, batch 256, one update for each step where the learner keeps "
        f"up; medians of {options.repeats} runs. Waits are shares of the time.",
        table, stamp(versions("tensorflow", "pyzmq", "numpy")),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
