"""A whole population through the wire to the end of its runs, as a user starts it."""

from __future__ import annotations

import csv
import json
import re
import sys

import pytest
from omegaconf import OmegaConf

from tests.launchers.multiruns import Multirun
from tests.runs.short_runs import RunFiles

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(300),
]
POPULATION = (
    "hydra/launcher=roles", "hydra.launcher.learners=3", "hydra.launcher.actors=1", "base.name=pop", "seed=1",
    "base.max_step=3000", "eval.per_step=100", "replay.limiter=ratio", "replay.max_lead=50",
    "sac.updates_per_step=0.25", "replay.learning_starts=50", "base.evolver_strategy=cem", "base.evolver_cem_length=1",
    "base.evolver_cem_best=0.5",
    "+random_params={sac.learning_rate: {truncated: [1e-4, 1e-2], log: true}}",
)  # fmt: skip


@pytest.mark.slow
def test_a_population_evolves_and_ends(tmp_path):
    folder = tmp_path.resolve()
    run = Multirun(folder, *POPULATION)
    assert run.wait(240) == 0, run.said
    assert run.children() == [], "no process is left"
    scene = folder / "m" / "pendulum"
    members = [RunFiles(scene / f"pop-0-{number}") for number in (1, 2, 3)]
    for member in members:
        assert member.result["reason"] == "max_step" and member.result["env_steps"] >= 3000
    configs = [OmegaConf.load(member.path / "config.yaml") for member in members]
    rates = [float(config.sac.learning_rate) for config in configs]
    assert len(set(rates)) == 3 and all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len({config.sac.seed for config in configs}) == 3

    with (scene / "pop-0" / "lineage.csv").open() as file:
        lineage = list(csv.DictReader(file))
    generations = {int(line["generation"]) for line in lineage}
    assert len(generations) >= 2 and all(
        [line["what"] for line in lineage if int(line["generation"]) == g].count("kept") == 1 for g in generations
    ), "one elite of three"
    state = json.loads((scene / "pop-0" / "evolver" / "state.json").read_text())
    assert all(member["ended"] for member in state["members"].values())
    assert (scene / "pop-0" / "lineage.png").read_bytes().startswith(b"\x89PNG")

    screen = (run.results / "jobs" / "0" / "evolver" / "job.log").read_text()
    best = int(re.search(r"the best of 3 is learner-(\d)", screen)[1])
    assert "by chance alone" in screen
    objective = members[best - 1].result["objective"]
    assert f"objective {objective:.4g}" in run.said
    assert f"the best of 3 learners is learner {best}, whose newest evaluations have a mean return of " in run.said
    assert f"base.name=pop-0-{best}" in run.said.splitlines()[-2] and run.said.splitlines()[-1].endswith("lineage.png")


ALONE = (
    "hydra/launcher=population", "hydra.launcher.learners=3", "base.name=pop", "seed=1", "base.max_step=2400",
    "eval.per_step=1200", "sac.updates_per_step=0.25", "replay.learning_starts=50", "base.evolver_strategy=pbt",
    "base.evolver_fitness=training", "base.evolver_cem_length=2", "base.evolver_share_replay=0.5",
    "base.evolver_pbt_start=0.25",
    "+random_params={sac.learning_rate: {truncated: [1e-4, 1e-2], log: true}, sac.gamma: {in: [0.9, 0.95, 0.99]}}",
)  # fmt: skip


@pytest.mark.slow
def test_a_population_of_single_processes_evolves_and_ends(tmp_path):
    folder = tmp_path.resolve()
    run = Multirun(folder, *ALONE)
    assert run.wait(240) == 0, run.said
    assert run.children() == [] and "Warning" not in run.said, run.said
    scene = folder / "m" / "pendulum"
    members = [RunFiles(scene / f"pop-0-{number}") for number in (1, 2, 3)]
    assert all(member.result["env_steps"] == 2400 and member.result["objective"] is not None for member in members)
    with (scene / "pop-0" / "lineage.csv").open() as file:
        lineage = list(csv.DictReader(file))
    assert {line["what"] for line in lineage} <= {"kept", "copied"} and len(lineage) >= 3
    assert all(int(line["step"]) >= 600 for line in lineage), "none in the first quarter of the run"
    assert {word.partition("=")[0] for word in lineage[0]["numbers"].split()} == {"sac.learning_rate", "sac.gamma"}
    copies = [line for line in lineage if line["what"] == "copied"]
    for member, number in zip(members, (1, 2, 3)):
        applied = (member.path / "log.log").read_text().count("applied change number")
        mine = [line["generation"] for line in copies if line["learner"] == f"learner-{number}"]
        unheard = mine[-1:] == [lineage[-1]["generation"]]  # by a learner that has ended before the last generation
        assert applied == len(mine) or (unheard and applied == len(mine) - 1)
    assert "play it with: " in run.said
