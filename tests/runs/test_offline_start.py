"""A run that begins with the memory of another, or with demonstrations."""

from __future__ import annotations

import shutil

import gymnasium
import numpy as np
import pytest
import yaml
from short_runs import PENDULUM, Runner

from tests.envs.recorded import play, write

NO_UPDATES = "sac.updates_per_step=0"
SECOND = (*PENDULUM, "base.name=b", "seed=2")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return Runner(monkeypatch, capfd, tmp_path)


def pendulum_dataset(episodes=4):
    pytest.importorskip("minari")
    env = gymnasium.make("Pendulum-v1", max_episode_steps=10)
    played = play(env, episodes)
    write("pendulum/random-v0", env, played)
    return played


@pytest.mark.slow
def test_the_memory_of_a_run_begins_another(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=40")
    told = go.ok(*SECOND, "base.max_step=20", "replay.load=m/pendulum/a", "replay.learning_starts=0")
    assert told.err == ""
    first, second, run = go.run().arrays(), go.run("pendulum/b").arrays(), go.run("pendulum/b")
    assert "replay.load=m/pendulum/a: taken from step_000000000040" in run.log and "40 rows were loaded" in run.log
    assert run.result["env_steps"] == 20 and run.steps == [20], "what was loaded are no environment steps"
    assert run.result["updates"] == 20, "learning starts with the first step"
    assert len(second["replay/reward"]) == 40 + 20
    np.testing.assert_array_equal(second["replay/obs/obs"][:40], first["replay/obs/obs"])
    np.testing.assert_array_equal(second["replay/reward"][:39], first["replay/reward"][:39])
    assert second["replay/last"][39] and second["replay/last"].sum() == 1, "the open episode was closed"
    assert (second["replay/next"][39], second["replay/prev"][40]) == (39, -1), "and nothing is linked to it"
    assert run.scalars()["limiter"]["steps"] == 20


@pytest.mark.slow
def test_learning_starts_counts_steps_of_the_environment(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=40")
    go.ok(*SECOND, "base.max_step=20", "replay.load=m/pendulum/a")
    assert go.run("pendulum/b").result["updates"] == 20 - 8, "null = batch_size"


@pytest.mark.slow
def test_a_smaller_memory_takes_the_newest_rows(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=40")
    told = go.ok(*SECOND, NO_UPDATES, "base.max_step=5", "replay.capacity=30", "replay.load=m/pendulum/a")
    assert "of 40 rows the newest 30 fit replay.capacity" in told.err
    first, second = go.run().arrays(), go.run("pendulum/b").arrays()
    rewards = np.roll(second["replay/reward"], -5)  # five new ones have replaced the oldest
    np.testing.assert_array_equal(rewards[:24], first["replay/reward"][15:39])


@pytest.mark.slow
def test_a_resumed_run_keeps_its_own_memory(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=20")
    go.ok(*SECOND, NO_UPDATES, "base.max_step=10", "replay.load=m/pendulum/a")
    shutil.rmtree(go.run().path)
    go.ok("env=gym/pendulum", "base.models=m", "base.name=b", "ckpt=latest", "base.max_step=15")
    run = go.run("pendulum/b")
    assert run.result["env_steps"] == 15 and len(run.arrays()["replay/reward"]) == 20 + 15 + 1
    assert yaml.safe_load((run.path / "config.yaml").read_text())["replay"]["load"] == "m/pendulum/a"


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=20")
    (older,) = go.run().checkpoints
    kept = go.folder / "kept"
    shutil.copytree(older, kept)  # with its memory, which the next checkpoint takes away
    go.ok("env=gym/pendulum", "base.models=m", "base.name=a", "ckpt=latest", "base.max_step=30")
    shutil.rmtree(older)
    shutil.copytree(kept, older)
    file = go.run().checkpoints[-1] / "replay.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    told = go.ok(*SECOND, NO_UPDATES, "base.max_step=5", "replay.load=m/pendulum/a")
    assert "step_000000000030 is damaged (replay.npz does not match its sha256); trying the one before" in told.err
    assert "taken from step_000000000020" in go.run("pendulum/b").log
    assert len(go.run("pendulum/b").arrays()["replay/reward"]) == 20 + 5
    (older / "replay.npz").write_bytes(b"")
    error = go(*SECOND, "base.name=c", "replay.load=m/pendulum/a").error
    assert "m/pendulum/a/checkpoints holds no undamaged checkpoint with a replay" in error


@pytest.mark.slow
def test_what_does_not_fit_is_refused_and_the_name_is_free_again(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=20")
    car = ("env=gym/mountain_car", *SECOND[1:])
    error = go(*car, "replay.load=m/pendulum/a").error
    assert error.startswith("replay.load=m/pendulum/a: sensor 'obs': expected shape (2,) float32, found shape (3,)")
    assert error.count("\n") == 1 and not (go.run("mountain_car/b").path / "config.yaml").exists()
    error = go(*SECOND, "replay.load=m/pendulum").error
    assert "no checkpoints are there; give the folder of a run" in error and "for example m/pendulum/a" in error
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=9", "base.name=c", "replay.save=false")
    assert "checkpoint with a replay" in go(*SECOND, "replay.load=m/pendulum/c").error
    assert (
        "replay.load=: allowed is a run folder, minari:<dataset-id> or demo:<path>"
        in go(*SECOND, "replay.load=''").error
    )


@pytest.mark.slow
def test_demonstrations_begin_a_run(go):
    played = pendulum_dataset()
    go.ok(*SECOND, "base.max_step=20", "replay.load=minari:pendulum/random-v0")
    run = go.run("pendulum/b")
    assert "replay.load=minari:pendulum/random-v0: 44 rows were loaded" in run.log
    assert run.result["env_steps"] == 20 and run.result["updates"] == 20 - 8
    arrays = run.arrays()
    assert arrays["replay/last"][:44].sum() == 4 and len(arrays["replay/last"]) == 44 + 20
    recorded = np.concatenate([e.observations for e in played])
    np.testing.assert_array_equal(arrays["replay/obs/obs"][:44], recorded.astype(np.float32))
    assert (run.scalars()["replay"]["silent"], arrays["replay/prev"][44]) == (44, -1)


def test_what_was_loaded_counts_for_the_normalisation(go):
    played = pendulum_dataset()
    typed = ("replay.load=minari:pendulum/random-v0", "sac.use_normalization=true", NO_UPDATES)
    go.ok(*SECOND, *typed, "base.max_step=1")
    arrays, scalars = go.run("pendulum/b").arrays(), go.run("pendulum/b").scalars()
    assert scalars["moments"]["count"] == 40 + 1, "every state of an episode but the last"
    seen = np.concatenate([e.observations[:-1] for e in played] + [arrays["replay/obs/obs"][44:45]])
    np.testing.assert_allclose(arrays["moments/mean/obs"], seen.mean(0), rtol=1e-5)


@pytest.mark.slow
def test_demonstrations_do_not_say_how_probable_they_were(go):
    pendulum_dataset()
    words = "set sac.n_step=1, or sac.use_n_step_is=false"
    load = "replay.load=minari:pendulum/random-v0"
    assert words in go(*SECOND, load, "sac.n_step=3").error
    go.ok(*SECOND, load, "sac.n_step=3", "sac.use_n_step_is=false", "base.max_step=20")
    onwards = ("base.name=c", "replay.load=m/pendulum/b", "base.max_step=9")
    assert words in go(*SECOND, *onwards, "sac.n_step=3").error, "also out of another run's memory"
    again = ("env=gym/pendulum", "base.models=m", "base.name=b", "ckpt=latest", "replay.load=null")
    assert words in go(*again, "sac.use_n_step_is=true", "base.max_step=30").error
    go.ok(*SECOND, *onwards)


@pytest.mark.slow
def test_recurrent_networks_take_the_memory_of_recurrent_networks_only(go):
    pendulum_dataset()
    error = go(*SECOND, "sac.use_rnn=true", "replay.load=minari:pendulum/random-v0").error
    assert "these networks have a recurrent state, and a dataset keeps none" in error
    go.ok(*PENDULUM, NO_UPDATES, "sac.use_rnn=true", "base.max_step=20")
    error = go(*SECOND, "replay.load=m/pendulum/a").error
    assert "the recurrent state: expected shape (0,) float32, found shape (64,) float32; use the networks" in error
    go.ok(*SECOND, NO_UPDATES, "sac.use_rnn=true", "replay.load=m/pendulum/a", "base.max_step=5")
    first, second = go.run().arrays(), go.run("pendulum/b").arrays()
    for name in ("state", "previous"):
        np.testing.assert_array_equal(second[f"replay/{name}"][:20], first[f"replay/{name}"])
