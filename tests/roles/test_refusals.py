"""What a cell refuses, in words."""

from __future__ import annotations

import pytest

from tests.launchers.multiruns import Multirun
from tests.runs.short_runs import PENDULUM, Runner

LEARNER = ("env=gym/pendulum", "role=learner", "base.models=m", "base.name=a", "ckpt=latest")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("net=static", "hydra.launcher.n_jobs=2"), "fixed ports are for one cell at a time"),
        (("base.env_type=UNITY", "base.timeout=1m"), "allowed is a whole number"),
        (("hydra.launcher.actors=11",), "a learner takes base.max_actors_each_learner=10"),
        (("base.env_type=UNITY", "hydra.launcher.actor_timeout=30"), "an actor may wait twice base.timeout=60 s"),
    ],
)
def test_options_that_contradict_one_another(tmp_path, typed, words):
    run = Multirun(tmp_path, "hydra/launcher=roles", *typed)
    assert run.wait() == 1
    assert (
        words in run.said
        and f"error: {typed[-1]}" in run.said.replace("net=static and ", "")
        and "Traceback" not in run.said
    )


def test_a_run_of_one_process_is_not_resumed_as_a_cell_nor_the_other_way_round(go):
    go.ok(*PENDULUM, "base.max_step=20")
    config = go.run().path / "config.yaml"
    assert "m/pendulum/a is of a single process: resume it by " in go(*LEARNER).error
    config.write_text(config.read_text().replace("role: train", "role: learner"))
    error = go(*PENDULUM, "ckpt=latest").error
    assert "m/pendulum/a is of a cell: resume it by" in error and "hydra/launcher=roles" in error
    assert "m/pendulum/a is of a cell: resume it by" in go(*PENDULUM).error
    go.ok("env=gym/pendulum", "role=play", "base.models=m", "base.name=a", "base.max_iter=1")
