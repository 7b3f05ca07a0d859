"""Runs whose reset parameters are drawn or follow lessons, on both kinds of environment."""

from __future__ import annotations

import pytest
from short_runs import PENDULUM, TINY, Runner

from sac.reset_values import Uniform
from tests.envs.unity_runs import act, playing

pytestmark = pytest.mark.slow
NO_UPDATES = "sac.updates_per_step=0"
BALL = ("env=3dball", *TINY, NO_UPDATES, "eval.stop_return=null", "base.n_agents=4")
LESSONS = (
    "reset.gravity={lessons: [{value: 3, until: {measure: progress, threshold: 0.2}}, "
    "{value: 4, until: {threshold: -1e9, min_episodes: 3}}, {value: {uniform: [5, 6]}}]}"
)


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def test_a_scene_draws_a_parameter_at_each_episode():
    with playing("ball3d", n_agents=8, gravity=Uniform(2.0, 40.0)) as env:
        turn = env.reset()
        fallen = {}
        for _ in range(3):
            turn = act(env, turn)
        for row, agent in enumerate(turn.agents):
            fallen[int(agent)] = float(turn.obs["VectorSensor_size8"][row, 6])
    assert len({round(speed, 3) for speed in fallen.values()}) > 4, "the agents fall at speeds of their own"


def test_a_curriculum_is_followed_logged_and_resumed(go):
    go.ok(*BALL, LESSONS, "base.max_step=400")
    run = go.run("3dball/a")
    assert "lesson 2 (lesson 2) begins: 4" in run.log
    state = run.scalars()["curriculum"]
    assert state["gravity"][0] >= 1
    go.ok(*BALL[:3], "base.models=m", "base.name=a", "ckpt=latest", "base.max_step=2000")
    assert "lesson 3 (lesson 3) begins: Uniform(low=5.0, high=6.0)" in run.log
    assert run.log.count("lesson 2 (lesson 2) begins") == 1
    assert run.scalars()["curriculum"]["gravity"][0] == 2
    go.ok("role=play", *BALL[:1], "base.models=m", "base.name=a", "eval.episodes=2", "eval.max_episode_steps=5")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_gymnasium_environments_draw_options_and_follow_lessons(go, vectorization):
    until = "{measure: progress, threshold: 0.5}"
    options = f"reset.x_init={{lessons: [{{value: {{uniform: [0.1, 0.2]}}, until: {until}}}, {{value: 3.0}}]}}"
    go.ok(
        *PENDULUM, NO_UPDATES, "base.n_agents=2", f"base.vectorization={vectorization}", "base.max_step=1200", options,
        "reset.y_init=0.0", "replay.capacity=3000",
    )  # fmt: skip
    run = go.run()
    rows = run.arrays()
    last = rows["replay/last"]
    starts = [i for i in range(len(last)) if rows["replay/prev"][i] == -1]
    angles = {round(float(rows["replay/obs/obs"][i][0]), 2) for i in starts}  # cosine of the first angle
    assert len(starts) == 6 and "lesson 2 (lesson 2) begins: 3.0" in run.log
    assert min(angles) < 0.9 < max(angles), angles


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("reset.gravity=heavy", "reset.gravity=heavy: Unity's environment parameters are numbers: allowed is"),
        ("reset.gravity={uniform: [5]}", "reset.gravity={'uniform': [5]}: allowed is a number"),
        ("reset.gravity=[1, 2]", "Unity's environment parameters are numbers"),
    ],
)
def test_what_is_no_value_is_refused(go, typed, words):
    assert words in go(*BALL, typed).error


def test_lessons_by_progress_need_a_last_step_and_a_single_process(go):
    assert "needs base.max_step, of which it is a share" in go(*BALL, LESSONS, "base.max_step=-1").error
    assert "train without roles, or give a value" in go(*BALL, LESSONS, "role=actor", "base.max_step=400").error
