"""An environment that raises, ends the process, hangs or cannot be closed costs nothing that was learnt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import faulty_envs
import hanging_run
import numpy as np
import pytest
from failing import Failing
from short_runs import PENDULUM, Runner

from sac.collect.rollout import Rollout
from sac.runs import signals

SHORT = ("sac.updates_per_step=0", "base.build_path=failing:Failing-v0", "eval.stop_return=null")
AGAIN = ("env=gym/pendulum", "base.models=m", "base.name=a", "ckpt=latest")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(Failing, "made", 0)
    monkeypatch.setenv("PYTHONPATH", str(faulty_envs.ROOT / "tests" / "envs"))  # for workers
    return Runner(monkeypatch, capfd, tmp_path)


def kwargs(**values) -> str:
    return "base.env_kwargs={" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"


def episodes(run) -> list[int]:
    """Lengths of the memory's episodes; the last may be open (0)."""
    last = np.flatnonzero(run.arrays()["replay/last"])
    return np.diff(np.concatenate([[-1], last])).tolist()


@pytest.mark.parametrize(
    ("where", "how", "words", "rows"),
    [
        ("step", "raise", "RuntimeError: the simulator is gone", [6, 6, 2]),
        ("step", "exit", "SystemExit: 0", [6, 6, 2]),
        ("step", "interrupt", "KeyboardInterrupt", [6, 6, 2]),
        ("reset", "raise", "RuntimeError: the simulator is gone", [6, 6, 5]),
    ],
)
def test_what_was_learnt_is_saved(go, where, how, words, rows):
    told = go(*PENDULUM, *SHORT, kwargs(where=where, how=how, at=12), "base.max_step=30")
    assert told.code == 1
    assert f"environment failed: {words} after" in told.out and "ckpt=latest" in told.out.splitlines()[-1]
    last = told.err.splitlines()[-1]
    assert last == words or last.endswith(f"the environment failed: {words}"), "the traceback comes last"
    run, steps = go.run(), 11 if where == "step" else 14
    assert run.result["reason"] == f"environment failed: {words}" and not run.result["success"]
    assert run.steps == [steps] and run.result["env_steps"] == steps
    assert episodes(run) == rows, "the open episode is closed as a truncation"
    assert (run.arrays()["replay/discount"] == 0).sum() == 2, "of which none is a true end"
    assert "environment failed" not in run.log or "Traceback" in run.log
    told = go.ok(*AGAIN, "base.env_kwargs.where=nowhere", "base.max_step=30")
    assert run.result["reason"] == "max_step" and run.steps == [steps, 30]


def test_ctrl_c_that_ends_the_simulator_too_is_an_orderly_end(go):
    told = go(*PENDULUM, *SHORT, kwargs(where="step", how="ctrl_c", at=12), "base.max_step=30")
    assert told.code == 130 and "Traceback" not in told.err and "ended by SIGINT after 11 steps" in told.out
    run = go.run()
    assert run.result["reason"] == "SIGINT" and run.steps == [11] and episodes(run) == [6, 6, 2]
    told = go("role=play", *AGAIN[:-1], "eval.episodes=9", kwargs(where="step", how="ctrl_c", at=12))
    assert told.code == 130 and "Traceback" not in told.err and "over 2 episodes" in told.out


def test_a_worker_that_fails_is_a_failing_environment(go):
    typed = (*PENDULUM, *SHORT, "base.vectorization=async", "base.n_agents=2", "base.max_step=60")
    for name, how, words in (
        ("raises", "raise", "RuntimeError: the simulator is gone"),
        ("exits", "exit", "died without a word"),
    ):
        told = go(*typed, kwargs(where="step", how=how, at=12), f"base.name={name}")
        assert told.code == 1 and words in told.err.rstrip().splitlines()[-1]
        run = go.run(f"pendulum/{name}")
        assert run.steps == [22] and run.result["reason"].startswith("environment failed: ")


def test_an_environment_that_is_made_anew(go):
    once = kwargs(where="step", at=12, once="once")
    told = go.ok(*PENDULUM, *SHORT, once, "base.max_step=30", "base.env_restarts=1")
    assert told.err.count("the environment failed and is made anew: RuntimeError: the simulator is gone") == 1
    run = go.run()
    assert run.result["reason"] == "max_step" and episodes(run)[:4] == [6, 6, 2, 6] and Failing.made == 2
    told = go(*AGAIN, "base.env_kwargs={where: step, at: 1}", "base.max_step=60")
    assert told.code == 1 and told.err.splitlines()[-1] == "RuntimeError: the simulator is gone"
    assert "failed 2 times in 60 s" in run.result["reason"] + run.log


def test_an_evaluation_that_needs_another_environment_where_only_one_may_exist(go):
    told = go(*PENDULUM, *SHORT, kwargs(where="another"), "base.max_step=30", "eval.per_step=12")
    assert told.code == 1 and told.err.splitlines()[-1] == "RuntimeError: only one instance may exist"
    assert "train with eval.per_step=-1" in told.err
    assert go.run().steps == [12] and "only one instance" in go.run().result["reason"]


def test_an_evaluation_that_fails(go):
    told = go(*PENDULUM, *SHORT, kwargs(where="step", at=10, once="once"), "base.max_step=30", "eval.per_step=8")
    assert told.code == 1 and go.run().steps == [9], "the training's own step is the tenth"
    typed = (*PENDULUM, *SHORT, kwargs(where="step", at=10, once="twice"), "base.name=b", "eval.episodes=3")
    assert go(*typed, "base.max_step=30", "eval.per_step=8").code == 1
    assert go.run("pendulum/b").steps == [8], "the evaluation's tenth step"


def test_a_bug_of_ours_is_told_too(go, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Rollout, "advance", bug)
    told = go(*PENDULUM, *SHORT, "base.max_step=30")
    assert told.code == 1 and told.err.splitlines()[-1] == "ZeroDivisionError: ours"
    assert go.run().result["reason"] == "ZeroDivisionError: ours" and go.run().steps == []


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_close_that_raises_is_a_warning(go, vectorization):
    typed = (*PENDULUM, *SHORT, kwargs(where="close"), "base.n_agents=2", f"base.vectorization={vectorization}")
    told = go.ok(*typed, "base.max_step=20", "eval.per_step=10")
    assert go.run().result["reason"] == "max_step" and go.run().result["success"]
    assert "close() of the environment raised RuntimeError('the simulator is gone')" in told.err
    assert "Traceback" not in told.err
    if vectorization == "sync":
        assert told.err.count("raised RuntimeError") == 3, "two environments of training, one of evaluation"
        told = go.ok("role=play", *AGAIN[:-1], "eval.episodes=1")
        assert "mean return" in told.out and "close() of the environment raised" in told.err


def test_play_tells_what_was_played_before_the_environment_failed(go):
    go.ok(*PENDULUM, *SHORT, "base.max_step=20")
    for how, words in (("raise", "RuntimeError: the simulator is gone"), ("exit", "SystemExit: 0")):
        told = go("role=play", *AGAIN[:-1], "eval.episodes=9", kwargs(where="step", how=how, at=12))
        assert told.code == 1 and words in told.err.splitlines()[-1]
        assert "over 2 episodes" in told.out


# environments that hang


@pytest.fixture
def hanging(tmp_path):
    """A run whose 12th step never ends, and that waits 1.5 s for it after a signal."""
    command = [sys.executable, hanging_run.__file__, *PENDULUM, *SHORT, kwargs(where="step", how="hang", at=12)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        deadline = time.monotonic() + 200
        while not (tmp_path / "hangs").exists():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.1)
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_an_environment_that_hangs_and_saves(hanging, go, number, code):
    hanging.send_signal(number)
    out, err = hanging.communicate(timeout=60)
    assert hanging.returncode == code
    assert f"{number.name}: saving, then ending" in err and "waiting for the environment's step" in err
    assert f"ended by {number.name} after 11 steps" in out
    run = go.run()
    assert run.steps == [11] and run.result["reason"] == number.name and episodes(run) == [6, 6, 2]
    go.ok(*AGAIN, "base.env_kwargs.where=nowhere", "base.max_step=20")


def test_who_comes_back_in_time_is_not_rescued(monkeypatch):
    monkeypatch.setattr(signals, "RESCUE_AFTER_SECONDS", 0.1)
    stopped = signals.Interruption()
    waits, on_divergence = signals.Waits(stopped, signal.SIGINT), []
    stopped.rescue = lambda: on_divergence.append(1)
    with stopped.outside.waiting("the environment's step"):
        waits.look()
    time.sleep(0.2)
    waits.look()
    with stopped.outside.waiting("the next step"):
        waits.look()
    assert not on_divergence and not stopped.outside.lock.locked()
