"""F15: actors join and leave a running cell; the learner keeps to its number of places."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.cells import TOY, RunningCell
from tests.figures import figure
from tests.launchers.multiruns import ENV, PENDULUM, ROOT

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(300)]
PLACES = 6


class Actor:
    """A role in the foreground, as somebody would start it in another terminal."""

    def __init__(self, folder, number: int):
        typed = [word for word in (*PENDULUM, *TOY) if not word.startswith(("hydra", "base.name", "base.max_step"))]
        words = ["role=actor", f"net.number={number}", "base.name=cell-0", "base.max_step=-1"]
        self.log = folder / f"actor-{number}.txt"
        with self.log.open("w") as screen:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run.py"), *typed, *words, f"base.max_actors_each_learner={PLACES}"],
                cwd=folder, env=os.environ | ENV, stdout=screen, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def leaves(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 75, self.log.read_text()


def present(cell: RunningCell) -> int:
    """Actors at the learner, as its newest summary says."""
    path = cell.run / "metrics.csv"
    if not path.exists():
        return 0
    with path.open(newline="") as file:
        found = [row["actors/present"] for row in csv.DictReader(file) if row.get("actors/present")]
    return int(float(found[-1])) if found else 0


def test_actors_come_and_go(tmp_path):
    cell = RunningCell(
        tmp_path.resolve(), "hydra.launcher.actors=1", f"base.max_actors_each_learner={PLACES}",
        "sac.write_summary_per_step=2",
    )  # fmt: skip
    actors: list[Actor] = []
    try:
        cell.wait_until(lambda: cell.updates() > 2)
        pids = [cell.pid(role) for role in ("replay", "learner", "actor-1")]
        began = time.monotonic()
        actors = [Actor(tmp_path, number) for number in range(2, 9)]
        cell.wait_until(lambda: present(cell) == PLACES)
        figure("F15", f"{PLACES} of 8 actors act after", time.monotonic() - began, "s", 90)
        time.sleep(3)
        assert present(cell) == PLACES, "two wait for a place"
        waiting = [a for a in actors if "waits for the learner" in a.log.read_text()]
        for actor in [a for a in actors if a not in waiting][:2]:
            actor.leaves()
            actors.remove(actor)
        cell.wait_until(lambda: present(cell) == PLACES, 30)
        for actor in actors[:4]:
            actor.leaves()
        cell.wait_until(lambda: present(cell) == 2, 30)
        cell.moves()
        assert pids == [cell.pid(role) for role in ("replay", "learner", "actor-1")], "nobody else started again"
    finally:
        for actor in actors:
            actor.process.kill()
            actor.process.wait()
        cell.process.send_signal(signal.SIGTERM)
        cell.wait(30)
