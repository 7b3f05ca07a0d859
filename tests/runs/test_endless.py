"""Evaluation and play of tasks that never end by themselves, and training in them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from short_runs import PENDULUM, Runner

from envs.gymnasium_adapter.build import build_gym_env

ROOT = Path(__file__).parent.parent.parent
ENDLESS = (*PENDULUM, "base.build_path=tests.envs.breakers:Endless-v0", "sac.updates_per_step=0", "base.max_step=40")
EVALUATED = ("eval.per_step=20", "eval.episodes=3")
PLAY = ("role=play", "env=gym/pendulum", "base.models=m", "base.name=a", "eval.episodes=3")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def evaluations(go) -> list[tuple[float, float]]:
    """(return, length) of each evaluation."""
    rows = [row for row in go.run().rows if row.get("eval/return")]
    return [(float(row["eval/return"]), float(row["eval/length"])) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "steps", "why"),
    [
        (("eval.max_episode_steps=7", "base.n_agents=2"), 7, "eval.max_episode_steps"),
        (("base.max_step_each_iter=10",), 10, "base.max_step_each_iter=10"),
        ((), 30, "neither the environment nor a key"),
    ],
)
def test_evaluation_and_play_end_and_say_once_where(go, monkeypatch, more, steps, why):
    monkeypatch.setattr("sac.assemble.loop.MAX_EPISODE_STEPS", 30)
    trained = go.ok(*ENDLESS, *EVALUATED, *more)
    assert evaluations(go) == [(steps, steps)] * 2
    said = f"an episode of evaluation or play ended after {steps} steps"
    assert trained.err.count(said) == go.run().log.count(said) == 1
    assert f"{said} ({why}" in trained.err and "set eval.max_episode_steps" in trained.err
    played = go.ok(*PLAY)
    assert re.findall(r"^episode \d: return (\d+), (\d+) steps$", played.out, re.M) == [(f"{steps}", f"{steps}")] * 3
    assert played.err.count(said) == 1


def test_a_run_without_episodes_says_where_it_is(go):
    out = go.ok(*ENDLESS).out
    assert re.search(r"^step 40/40  [\d,]+ steps/s  0 updates/s", out, re.M), out
    assert go.run().result["episodes"] == 0


def test_what_the_longest_iteration_cuts_is_told_as_an_episode(go):
    out = go.ok(*ENDLESS, "base.max_step_each_iter=10", "base.n_agents=2").out
    assert go.run().result["episodes"] == 4 and go.run().result["iterations"] == 2
    (row, *_) = [row for row in go.run().rows if row.get("episode/return")]
    assert (float(row["episode/return"]), float(row["episode/length"])) == (10, 10) and "return 10" in out


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_environments_own_limit_is_known(vectorization):
    for kwargs, limit in (({}, 500), ({"max_episode_steps": 7}, 7), ({"max_episode_steps": -1}, None)):
        env = build_gym_env("CartPole-v1", 1, vectorization if limit == 7 else "sync", env_kwargs=kwargs)
        assert env.max_episode_steps == limit
        env.close()


@pytest.mark.slow
def test_agents_of_a_scene_are_bounded_too(go):
    """Nobody can reset one of them alone."""
    roller = [word.replace("gym/pendulum", "roller") for word in PENDULUM]
    endless = ("reset={max_step: 1000000000}", "base.n_agents=3", "base.port=21755", "eval.stop_return=null")
    go.ok(*roller, *endless, "sac.updates_per_step=0", "base.max_step=30", "eval.per_step=15", "eval.episodes=7",
          "eval.max_episode_steps=3")  # fmt: skip
    rows = [row for row in go.run("roller/a").rows if row.get("eval/length")]
    assert len(rows) == 2 and all(0 < float(row["eval/length"]) <= 3 for row in rows)
    assert "after 3 steps (eval.max_episode_steps)" in go.run("roller/a").log


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX knows them")
def test_a_signal_ends_an_evaluation_that_would_not_end(tmp_path):
    evaluates = tmp_path / "evaluates"
    more = ("eval.max_episode_steps=-1", f"base.env_kwargs={{mark: {evaluates}}}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "run.py"), *ENDLESS, *EVALUATED, *more]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as run:
        try:
            deadline = time.monotonic() + 100
            while not evaluates.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            run.send_signal(signal.SIGINT)
            out, _ = run.communicate(timeout=30)
        finally:
            run.kill()
    assert run.returncode == 130 and "ended by SIGINT after 20 steps" in out, out
