"""Populations of the launcher `ray_roles`, on several Ray nodes of this one machine: whatever is lost, they go on."""

from __future__ import annotations

import importlib.util
import os
import re
import signal

import pytest

pytestmark = [
    pytest.mark.timeout(400), pytest.mark.cells,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'"),
]  # fmt: skip
OWN_RAY = "hydra.launcher.address=null"


@pytest.fixture(scope="module")
def nodes():
    """A head, two nodes that each have room for one cell, and one for the evolver."""
    from tests.launchers.ray_clusters import FOR_CELL, FOR_EVOLVER, Nodes

    nodes = Nodes(0, [FOR_CELL, FOR_CELL, FOR_EVOLVER])
    yield nodes
    nodes.end()


@pytest.fixture
def start(nodes, tmp_path):
    """`start("base.max_step=100", ...)`, which leaves no command behind when a test fails."""
    from tests.launchers.ray_clusters import RayPopulation

    started = []

    def start(*arguments):
        started.append(RayPopulation(tmp_path.resolve(), nodes, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.end()


def interrupted(population) -> None:
    population.process.send_signal(signal.SIGINT)
    assert population.wait(60) == 130, population.said
    population.all_gone(10)
    population.one_tree()


def next_generation(population, seconds: float = 150) -> None:
    """Waits until the evolver has compared all learners once more."""
    newest = lambda: int((population.lineage() or [{"generation": 0}])[-1]["generation"])  # noqa: E731
    before = newest()
    population.wait_until(lambda: newest() > before, seconds)


def restarted(population, role: str, lose) -> None:
    """Calls `lose` with the Ray actor of a process, and waits until the process has been started again."""
    lost = population.pid(role)
    lose(population.ray_actor(role))
    population.wait_until(lambda: population.pid(role) not in (0, lost))


def test_on_a_ray_of_its_own_a_population_runs_to_its_end_and_its_best_is_named(start):
    population = start(OWN_RAY, "base.max_step=1000", "hydra.launcher.resources.evolver.custom=null")
    assert population.wait() == 0, population.said
    assert [run.path.name for run in population.runs] == ["pop-0-1", "pop-0-2"]
    best = r"the best of 2 learners is learner [12], .*; play it with: .* base.name=pop-0-[12]"
    assert re.search(best, population.said)
    population.all_gone(10)


def test_a_member_that_is_lost_with_its_node_comes_back_and_an_evolver_that_is_killed_is_found_again(start, nodes):
    from tests.launchers.ray_clusters import FOR_CELL

    population = start()
    number = int(population.next_copy()["learner"].removeprefix("learner-"))
    nodes.add_node(**FOR_CELL)
    restarted(population, f"{number}/learner", nodes.remove_node_of)  # soon after it has become a copy
    population.wait_until(lambda: "resumed at step" in population.log(number))
    population.next_copy()
    restarted(population, "evolver", lambda ray_actor: os.kill(ray_actor, signal.SIGKILL))
    next_generation(population)
    assert "goes on with generation" in (population.run / "roles" / "evolver.log").read_text()
    interrupted(population)
    once = population.applied(3 - number)  # by the learner that was never lost
    assert len(set(once)) == len(once)


def test_the_same_command_goes_on_after_kill_and_the_evolver_moves_when_its_node_is_lost(start, nodes):
    from tests.launchers.ray_clusters import FOR_EVOLVER

    first = start()
    first.next_copy()
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    first.all_gone(30)
    generation = int(first.lineage()[-1]["generation"])

    again = start()
    again.wait_until(lambda: int(again.lineage()[-1]["generation"]) > generation, 150)
    assert all("resumed at step" in again.log(number) for number in (1, 2))
    nodes.add_node(**FOR_EVOLVER)
    restarted(again, "evolver", nodes.remove_node_of)
    next_generation(again)
    interrupted(again)
