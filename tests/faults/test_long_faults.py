"""F17: a long time of random kills. SAC_F17_MINUTES=60 python -m pytest -m nightly tests/faults/test_long_faults.py"""

from __future__ import annotations

import csv
import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from launchers.cells.restarts import HEALTHY_AFTER_SECONDS
from tests.faults.cells import RunningCell
from tests.figures import figure

SHARED = Path("/dev/shm")
MINUTES = float(os.environ.get("SAC_F17_MINUTES", "60"))
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(MINUTES * 60 + 600),
]

AS_IN_PENDULUM = (  # what the toy's settings leave too weak to learn
    "replay.batch_size=256", "replay.random_steps=256", "sac.jit=true",
    "sac.ensemble_q_num=2", "sac.ensemble_q_sample=2",
    "base.nn_kwargs={ModelPolicy: {hidden: [64, 64]}, ModelQ: {hidden: [64, 64]}}",
)  # fmt: skip


def held(pid: int) -> tuple[float, int, int]:
    """MiB in memory that no file stands behind, descriptors and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(status["RssAnon"].split()[0]) / 1024, descriptors, int(status["Threads"])


def evaluations(run: Path) -> list[float]:
    """Mean returns of the deterministic evaluations so far, oldest first."""
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["eval/return"]) for row in csv.DictReader(file) if row.get("eval/return")]


def test_random_kills_for_a_long_time(tmp_path):
    """Every 20 to 40 s one of the roles is killed; the replay and the parent are watched, which live longest.

    Four quick deaths and then one each time it has lived long enough to be counted healthy: more of the learner would
    rightly end the cell. Pendulum must be solved all the same.
    """
    dice, shared = random.Random(17), set(SHARED.iterdir())
    cell = RunningCell(
        tmp_path.resolve(), "sac.updates_per_step=1", "replay.limiter=ratio", "replay.max_lead=500",
        "sac.save_model_per_step=1000", "eval.per_step=10000", "eval.episodes=10", *AS_IN_PENDULUM,
    )  # fmt: skip
    samples: dict[str, list[tuple[float, float, int, int]]] = {"replay": [], "parent": []}
    kills = {"learner": 0, "actor-1": 0, "actor-2": 0}
    spared = 0.0  # minutes until which the learner is left alone
    try:
        cell.works()
        began = time.monotonic()
        while (minutes := (time.monotonic() - began) / 60) < MINUTES:
            role = dice.choice([role for role in kills if role != "learner" or minutes > spared])
            with suppress(ProcessLookupError):  # it waits for its restart
                cell.kill(role)
                kills[role] += 1
            if role == "learner" and kills["learner"] >= 4:
                spared = minutes + 1.1 * HEALTHY_AFTER_SECONDS / 60
            time.sleep(dice.uniform(20, 40))
            if minutes > 1:
                samples["replay"].append((minutes, *held(cell.pid("replay"))))
                samples["parent"].append((minutes, *held(cell.process.pid)))
        cell.moves(120)
        for who, taken in samples.items():
            now = np.array(taken)
            slope = np.polyfit(now[:, 0], now[:, 1], 1)[0]
            figure("F17", f"memory of the {who} over {MINUTES:g} minutes grows by", float(slope), "MiB/min", 1.0)
            figure("F17", f"descriptors of the {who}, most minus fewest", float(np.ptp(now[:, 2])), "", 8)
            figure("F17", f"threads of the {who}, most minus fewest", float(np.ptp(now[:, 3])), "", 2)
        figure("F17", "files left in /dev/shm", len(set(SHARED.iterdir()) - shared), "", 0)
        print(f"killed: {kills}")
        if MINUTES >= 20:
            cost = -float(np.mean(evaluations(cell.run)[-3:]))
            figure("F17", "cost (minus the return) of Pendulum in the last three evaluations", cost, "", 200)
    finally:
        cell.process.terminate()
        cell.wait(60)
    assert cell.processes() == []
