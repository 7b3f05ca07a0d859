"""F4: the evolver of a population is killed (the numbers of docs/results/faults.md)."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.cells import RunningCell
from tests.figures import figure

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(400)]

POPULATION = (
    "hydra.launcher.learners=2", "hydra.launcher.actors=1", "eval.per_step=100", "eval.episodes=1",
    "base.evolver_strategy=cem", "base.evolver_cem_length=2", "eval.stop_return=null",
)  # fmt: skip


class RunningPopulation(RunningCell):
    """Two cells and their evolver; the roles are called evolver, 1/learner, 2/actor-1 ..."""

    def __init__(self, folder: Path):
        super().__init__(folder, *POPULATION)

    @property
    def others(self) -> list[str]:
        return [f"{number}/{role}" for number in (1, 2) for role in ("replay", "learner", "actor-1")]

    def generation(self) -> int:
        """As it lies on the disk."""
        try:
            return json.loads((self.run / "evolver" / "state.json").read_text())["generation"]
        except (OSError, ValueError):
            return 0

    def taken(self, number: int) -> list[int]:
        """What the learner became, by its own account."""
        log = self.run.with_name(f"{self.run.name}-{number}") / "roles" / "learner.log"
        return [int(n) for n in re.findall(r"applied change number (\d+)", log.read_text())]


def interrupted(population: RunningPopulation) -> None:
    population.process.send_signal(signal.SIGINT)
    assert population.wait(40) == 130, population.said
    population.all_gone(5)


def test_an_evolver_that_is_killed_goes_on_and_the_learners_never_stop(tmp_path):
    population = RunningPopulation(tmp_path.resolve())
    try:
        population.wait_until(lambda: population.generation() >= 1, 180)
        pids = {role: population.pid(role) for role in population.others}
        for _ in range(3):
            generation, steps = population.generation(), [population.step(f"{n}/learner") for n in (1, 2)]
            killed = population.kill("evolver")
            back = population.seconds_until(lambda killed=killed: population.pid("evolver") not in (0, killed), 60)
            figure("F4", "evolver started again after", back, "s", 8)
            more = population.seconds_until(lambda g=generation: population.generation() > g, 120)
            figure("F4", "next generation after", back + more, "s", 120)
            assert all(population.step(f"{n}/learner") > step for n, step in zip((1, 2), steps)), "they trained on"
        assert {role: population.pid(role) for role in population.others} == pids, "nobody else was started again"
        interrupted(population)
    finally:
        population.end()
    generation = population.generation()
    again = RunningPopulation(population.folder)
    try:
        again.wait_until(lambda: again.generation() > generation, 180)  # the same command goes on
        interrupted(again)
    finally:
        again.end()
    with (population.run / "lineage.csv").open() as file:
        lineage = list(csv.DictReader(file))
    assert [int(line["generation"]) for line in lineage] == sorted(int(line["generation"]) for line in lineage)
    for number in (1, 2):
        drawn = [
            int(line["assigned"])
            for line in lineage
            if line["learner"] == f"learner-{number}" and line["what"] == "drawn"
        ]
        taken = population.taken(number)
        assert taken == sorted(set(taken)), "no learner was changed twice"
        assert drawn == list(range(1, len(drawn) + 1)) and set(taken) <= set(drawn)
        assert len(drawn) - len(taken) <= 2, "but for one that came with each end"
    assert "generations; the best of 2 is learner-" in (again.job("evolver") / "job.log").read_text()
