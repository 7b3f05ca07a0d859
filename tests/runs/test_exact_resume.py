"""N steps, saved, restored, N steps = 2 N steps, in every bit of networks, optimizers, memory and random numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scripted_runs
from short_runs import PENDULUM, RunFiles, Runner

SCRIPTED = [word for word in PENDULUM if not word.startswith("base.name")] + [
    "base.n_agents=3", "base.env_kwargs={continuous: 2, branches: [3, 2], masked: true}", "replay.batch_size=16",
    "replay.random_steps=20",
]  # fmt: skip


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr("sac.roles.run", scripted_runs.role)
    return Runner(monkeypatch, capfd, tmp_path)


def assert_same(one: RunFiles, other: RunFiles) -> None:
    """The newest checkpoints, but for the clock and the moment of the last report."""
    first, second = one.arrays(), other.arrays()
    assert set(first) == set(second) and one.steps[-1] == other.steps[-1]
    for name, array in first.items():
        assert array.dtype == second[name].dtype and array.tobytes() == second[name].tobytes(), name
    first, second = one.scalars(), other.scalars()
    for scalars in (first, second):
        assert scalars["progress"].pop("seconds") > 0 and scalars["progress"].pop("summarised") > 0
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("sac.use_priority=false", "replay.capacity=40"),  # the memory is full long before the end
        ("sac.sequence_length=2", "sac.n_step=2", "sac.trace=retrace", "base.max_step_each_iter=7",
         "sac.updates_per_step=0.5", "sac.ensemble_q_num=3", "sac.ensemble_q_sample=2"),
    ],
)  # fmt: skip
def test_halves_make_a_whole(go, options):
    typed = (*SCRIPTED, *options)
    go.ok(*typed, "base.name=whole", "base.max_step=160")
    go.ok(*typed, "base.name=halves", "base.max_step=80")
    told = go.ok("env=gym/pendulum", "base.models=m", "base.name=halves", "ckpt=latest", "base.max_step=160")
    whole, halves = go.run("pendulum/whole"), go.run("pendulum/halves")
    assert len(halves.steps) == 2 and whole.result["updates"] > 30
    assert "closed as truncations" not in told.err, "this environment goes on in mid-episode"
    assert_same(whole, halves)


@pytest.mark.slow
def test_saving_and_evaluating_change_nothing(go):
    go.ok(*SCRIPTED, "base.name=quiet", "base.max_step=100")
    go.ok(
        *SCRIPTED,
        "base.name=busy",
        "base.max_step=100",
        "eval.per_step=30",
        "eval.episodes=3",
        "sac.save_model_per_step=3",
    )
    quiet, busy = go.run("pendulum/quiet"), go.run("pendulum/busy")
    assert len(busy.steps) > 5 and busy.result["eval_episodes"] == 12
    first, second = quiet.arrays(), busy.arrays()
    for name in first.keys() - {"evaluation/returns"}:
        assert first[name].tobytes() == second[name].tobytes(), name


@pytest.mark.slow
def test_evaluation_depends_on_the_step_alone(go):
    typed = (*SCRIPTED, "sac.updates_per_step=0", "eval.episodes=3", "eval.window=3")
    go.ok(*typed, "base.name=one", "eval.per_step=30", "base.max_step=90")
    go.ok(*typed, "base.name=two", "eval.per_step=90", "base.max_step=90")
    assert go.run("pendulum/one").result["eval_return_mean"] == go.run("pendulum/two").result["eval_return_mean"]
    envs = scripted_runs.MADE[-2:]
    assert envs[0].n_agents == envs[1].n_agents == 3 and all(env.closed for env in scripted_runs.MADE)


@pytest.mark.slow
def test_in_another_process_compiled_with_one_thread(tmp_path):
    """One process runs the whole and the first half, another the second half."""
    typed = [*SCRIPTED, "sac.jit=true", "base.threads=1", "sac.n_step=3", "sac.updates_per_call=4", "sac.noise_color=1"]

    def process(*arguments: str) -> None:
        command = [sys.executable, scripted_runs.__file__, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr

    halves = [*typed, "base.name=halves"]
    process(*typed, "base.name=whole", "base.max_step=160", "THEN", *halves, "base.max_step=80")
    process(*halves, "base.max_step=160", "ckpt=latest")
    assert_same(*(RunFiles(tmp_path / "m" / "pendulum" / name) for name in ("whole", "halves")))


@pytest.mark.slow
def test_the_editors_scene_is_evaluated_between_iterations_in_itself(go):
    before = len(scripted_runs.MADE)
    typed = (*SCRIPTED, "base.name=editor", "base.editor=true", "base.max_step=180", "eval.episodes=3")
    go.ok(*typed, "eval.per_step=25", "sac.updates_per_step=0.3")
    assert len(scripted_runs.MADE) == before + 1, "the scene exists once"
    run = go.run("pendulum/editor")
    assert run.result["eval_episodes"] >= 10 and run.result["env_steps"] >= 120
    arrays = run.arrays()
    last = arrays["replay/last"]
    assert last.sum() >= 3 * 4, "every evaluation began with all training episodes closed"
    np.testing.assert_array_equal(arrays["replay/discount"][last], 1)
