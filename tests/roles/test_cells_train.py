"""Whole cells, each kind of agent through the wire to the end of its run."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

from tests.launchers.multiruns import Multirun
from tests.runs.short_runs import RunFiles

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(300),
]
CELL = (
    "hydra/launcher=roles", "base.name=cell", "seed=1", "base.max_step=400", "eval.per_step=200",
    "replay.limiter=ratio", "replay.max_lead=100", "sac.updates_per_step=0.25", "base.update_sac_bak_per_step=10",
    "sac.write_summary_per_step=20", "replay.learning_starts=50",
)  # fmt: skip
KINDS = {
    "discrete, n-step, normalised, errors of new rows": (
        "cart_pole", "env=gym/cart_pole", "sac.n_step=3", "sac.use_normalization=true",
        "replay.initial_priority=td_error", "base.update_policy_variables_per_step=20",
        "base.noise_increasing_rate=0.1",
    ),
    "recurrent, of a Unity scene, acting at the learner": (
        "hallway", "env=hallway", "base.update_policy_mode=false", "base.n_agents=2", "sac.burn_in_step=4",
        "base.nn_kwargs={ModelPolicy: {hidden: [8]}, ModelQ: {hidden: [8]}}",
    ),
    "pictures, masks": ("grid_world", "env=grid_world", "base.n_agents=2", "hydra.launcher.actors=1"),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def done(request, tmp_path_factory):
    scene, *arguments = KINDS[request.param]
    folder = tmp_path_factory.mktemp("cell").resolve()
    run = Multirun(folder, *arguments, *CELL)
    code = run.wait(240)
    assert code == 0, run.said
    assert run.children() == [], "no process is left"
    return run, RunFiles(folder / "m" / scene / "cell-0")


def test_a_cell_learns_from_all_that_its_actors_did(done):
    _, files = done
    result = files.result
    assert result["reason"] == "max_step" and result["env_steps"] >= 400 and result["eval_episodes"] >= 1
    assert result["updates"] == pytest.approx(0.25 * 350, abs=8), "every step that may earn was learnt from"
    steps = json.loads((files.path / "replay" / "limiter.json").read_text())
    assert steps["updates"] == pytest.approx(result["updates"], abs=4)
    for name, array in files.arrays().items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name


def test_metrics_of_all_roles_are_in_one_place(done):
    _, files = done
    with (files.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    last = {name: value for row in rows for name, value in row.items() if value}
    assert {"actors/present", "actors/steps_per_second", "actors/policy_lag", "actors/waiting"} <= last.keys()
    assert {"replay/transitions", "replay/updates_per_step", "learner/version", "critic/loss"} <= last.keys()
    assert float(last["learner/version"]) > 1
    logs = {path.name for path in (files.path / "roles").glob("*.log")}
    assert {"replay.log", "learner.log", "actor-1.log"} <= logs
    assert not any("ERROR" in (files.path / "roles" / name).read_text() for name in logs)
