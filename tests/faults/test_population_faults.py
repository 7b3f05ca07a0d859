"""A population of single processes whose evolver, learners and launcher are killed: nobody is replaced twice."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sac.report.lineage import Line
from tests.faults.cells import RunningCell
from tests.launchers.multiruns import Multirun

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(400), pytest.mark.cells,
]  # fmt: skip
POPULATION = (
    "hydra/launcher=population", "hydra.launcher.learners=3", "base.name=pop", "seed=1", "base.max_step=-1",
    "eval.per_step=-1", "sac.updates_per_step=0.05", "sac.save_model_per_step=20", "base.evolver_strategy=pbt",
    "base.evolver_fitness=training", "base.evolver_cem_length=2", "base.evolver_share_replay=0.5",
    "sac.write_summary_per_step=10",
    "+random_params={sac.learning_rate: {truncated: [1e-5, 1e-1], log: true}, sac.n_step: {in: [1, 2, 3]}}",
)  # fmt: skip


CELLS = (
    *(word for word in POPULATION if "share_replay" not in word), "hydra/launcher=roles", "hydra.launcher.actors=1",
    "base.update_sac_bak_per_step=20",
)  # fmt: skip


class RunningPopulation(RunningCell):
    """Three learners and their evolver; the processes are called evolver, 1/train, 2/train, 3/train."""

    log_of_learner = "log.log"

    def __init__(self, folder: Path, *arguments: str):
        Multirun.__init__(self, folder, *(arguments or POPULATION))
        self.run, self.scene = folder / "m" / "pendulum" / "pop-0", "pendulum"

    def lineage(self) -> list[dict]:
        """As it lies on the disk."""
        path = self.run / "lineage.csv"
        return list(csv.DictReader(path.open())) if path.exists() else []

    def copies(self) -> list[dict]:
        return [line for line in self.lineage() if line["what"] == "copied"]

    def log(self, number: int) -> str:
        path = self.run.with_name(f"pop-0-{number}") / self.log_of_learner
        return path.read_text() if path.exists() else ""

    def applied(self, number: int) -> list[int]:
        return [int(n) for n in re.findall(r"applied change number (\d+)", self.log(number))]

    def next_copy(self, seconds: float = 150) -> dict:
        """Waits for one more copy, and until its learner has become it."""
        before = len(self.copies())
        self.wait_until(lambda: len(self.copies()) > before, seconds)
        copy = self.copies()[-1]
        number = int(copy["learner"].removeprefix("learner-"))
        self.wait_until(lambda: int(copy["assigned"]) in self.applied(number), 60)
        return copy

    def one_tree(self) -> None:
        """Each learner is changed once for each number, once in a generation, and by one that stayed as it was."""
        lineage = self.lineage()
        once = Counter((line["generation"], line["learner"]) for line in lineage)
        assert set(once.values()) == {1}, once
        kept = {(line["generation"], line["learner"]) for line in lineage if line["what"] == "kept"}
        for number in (1, 2, 3):
            changes = [int(x["assigned"]) for x in self.copies() if x["learner"] == f"learner-{number}"]
            assert changes == list(range(1, len(changes) + 1))
        assert all((copy["generation"], copy["parents"]) in kept for copy in self.copies())


@pytest.fixture
def population(tmp_path):
    made = RunningPopulation(tmp_path.resolve())
    yield made
    made.end()
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def interrupted(population: RunningPopulation) -> None:
    """Ends it by SIGINT, after which every learner has saved where it was."""
    population.process.send_signal(signal.SIGINT)
    assert population.wait(60) == 130, population.said
    population.all_gone(5)
    for number in (1, 2, 3):
        run = population.run.with_name(f"pop-0-{number}")
        result = json.loads((run / "result.json").read_text())
        saved = max(int(path.name[5:17]) for path in (run / "checkpoints").glob("step_*"))
        assert result["reason"] == "SIGINT" and result["env_steps"] == saved, (result, saved)


def test_whoever_is_killed_nobody_is_replaced_twice_and_the_same_command_goes_on(population):
    population.next_copy()
    killed = population.kill("evolver")
    population.wait_until(lambda: population.pid("evolver") not in (0, killed), 60)
    copy = population.next_copy()
    number = int(copy["learner"].removeprefix("learner-"))
    killed = population.kill(f"{number}/train")  # it has been a copy for a moment, and has perhaps not saved it
    population.wait_until(lambda: population.pid(f"{number}/train") not in (0, killed), 60)
    population.next_copy()
    population.one_tree()

    others = [n for n in (1, 2, 3) if n != number]
    assert all(len(set(population.applied(n))) == len(population.applied(n)) for n in others), "never killed"
    os.kill(population.process.pid, signal.SIGKILL)
    population.all_gone(30)
    generation = int(population.lineage()[-1]["generation"])
    state = json.loads((population.run / "evolver" / "state.json").read_text())
    assert state["generation"] == generation

    again = RunningPopulation(population.folder)
    try:
        again.wait_until(lambda: int(again.lineage()[-1]["generation"]) > generation, 150)
        again.one_tree()
        evolver_log = (again.run / "roles" / "evolver.log").read_text()
        assert f"goes on with generation {generation}" in evolver_log
        assert all("resumed at step" in again.log(n) for n in (1, 2, 3))
        interrupted(again)
    finally:
        again.end()
    lineage = again.lineage()
    assert (again.run / "lineage.png").read_bytes().startswith(b"\x89PNG")
    numbers = [Line.of(line).numbers for line in lineage]
    rates, steps = ({one[name] for one in numbers} for name in ("sac.learning_rate", "sac.n_step"))
    assert len(rates) > 3 and min(rates) >= 1e-5 and max(rates) <= 1e-1 and steps <= {1, 2, 3}, "they have moved"


def test_learners_learn_from_each_others_rows(population):
    population.wait_until(lambda: all(population.step(f"{n}/train") > 600 for n in (1, 2, 3)), 150)
    interrupted(population)
    for number in (1, 2, 3):
        run = population.run.with_name(f"pop-0-{number}")
        with (run / "metrics.csv").open() as file:
            shared = [float(row["replay/others_rows"] or 0) for row in csv.DictReader(file)]
        assert max(shared) > 600, "of two others"
        newest = max((run / "checkpoints").glob("step_*"))
        with np.load(newest / "replay.npz") as saved:
            assert any(name.startswith("others/") for name in saved.files)


class PopulationOfCells(RunningPopulation):
    """Three cells and their evolver; the processes are called evolver, 1/replay, 1/learner, 1/actor-1 ..."""

    log_of_learner = "roles/learner.log"


def test_a_replay_that_is_killed_changes_nothing_of_the_lineage(tmp_path):
    population = PopulationOfCells(tmp_path.resolve(), *CELLS)
    try:
        copy = population.next_copy(240)
        number = copy["learner"].removeprefix("learner-")
        killed = population.kill(f"{number}/replay")
        population.wait_until(lambda: population.pid(f"{number}/replay") not in (0, killed), 60)
        population.next_copy()
        population.one_tree()
        assert all(len(set(population.applied(n))) == len(population.applied(n)) for n in (1, 2, 3))
        interrupted(population)
    finally:
        population.end()
