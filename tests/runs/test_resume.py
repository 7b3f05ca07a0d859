"""Going on: from which checkpoint, with which config, in which memory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from short_runs import PENDULUM, Runner

from sac.runs.checkpoint import ASIDE

sys.path.append(str(Path(__file__).parents[1] / "envs"))  # failing, scripted

NO_UPDATES = "sac.updates_per_step=0"
AGAIN = ("env=gym/pendulum", "base.models=m", "base.name=a")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.mark.slow
def test_the_runs_own_config_is_used_whatever_conf_says_today(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5", "sac.gamma=0.5", "reset={wind: 1}")
    stored = go.run().path / "config.yaml"
    config = yaml.safe_load(stored.read_text())
    del config["sac"]["noise_color"]  # as if a later version had brought this key
    stored.write_text(yaml.safe_dump(config))
    today = ("sac.tau=0.1", "reset.rain=2", "seed=9", "sac.seed=9", "repeat=4")  # the last three belong to the run
    told = go.ok(*AGAIN, *today, "base.max_step=9", "ckpt=latest")
    assert "resumed at step 5: open episodes were closed as truncations" in told.err
    config = yaml.safe_load(stored.read_text())
    assert (config["sac"]["gamma"], config["sac"]["tau"], config["sac"]["noise_color"]) == (0.5, 0.1, 0.0)
    assert config["replay"]["batch_size"] == 8 and config["base"]["max_step"] == 9
    assert config["reset"] == {"wind": 1, "rain": 2}
    assert config["seed"] == config["sac"]["seed"] == 1 and config["repeat"] == 0
    assert go.run().result["env_steps"] == 9


@pytest.mark.slow
def test_going_on_adds_to_everything(go):
    go.ok(*PENDULUM, "base.max_step=30")
    first, agent = go.run().arrays(), go.run().scalars()
    told = go.ok(*AGAIN, "base.max_step=50", "ckpt=latest")
    run = go.run()
    assert run.steps == [30, 50] and "open episodes were closed as truncations" in told.err + run.log
    assert run.result["updates"] == 50 - 8 and run.result["seconds"] > 0
    second = run.arrays()
    assert "replay/reward" not in run.arrays(0), "the older checkpoint keeps no memory"
    rows = len(first["replay/reward"])
    np.testing.assert_array_equal(second["replay/reward"][:rows], first["replay/reward"])
    assert second["replay/last"][rows] and not second["replay/last"][:rows].any(), "the open episode was closed"
    assert len(second["replay/reward"]) == 50 + 1
    assert run.scalars()["limiter"]["updates"] > agent["limiter"]["updates"]
    steps = [int(row["env_step"]) for row in run.rows]
    assert steps == sorted(steps) and steps[-1] == 50


@pytest.mark.slow
def test_no_part_of_a_run_plays_what_another_has_played(go):
    """First observations, and what the environment drew of Python's and NumPy's own generators."""
    log = go.folder / "starts"
    failing = ("base.build_path=failing:Failing-v0", f"base.env_kwargs={{log: {log}}}", "eval.stop_return=null")

    def played() -> list[list[str]]:
        """Columns of what has been logged since."""
        rows = [line.split() for line in log.read_text().splitlines()]
        log.unlink()
        return [list(column) for column in zip(*rows)]

    go.ok(*PENDULUM, *failing, NO_UPDATES, "base.max_step=20")
    parts = [played()]
    for until in (40, 60):
        shutil.copytree(go.run().path, go.run("pendulum/copy").path, dirs_exist_ok=True)
        go.ok(*AGAIN, "ckpt=latest", f"base.max_step={until}")
        parts.append(played())
    for column in zip(*parts):
        drawn = [value for part in column for value in part]
        assert len(drawn) >= 13 and len(set(drawn)) == len(drawn)
    go.ok(*AGAIN[:-1], "base.name=copy", "ckpt=auto", "base.max_step=60")
    assert played() == parts[2], "the same checkpoint goes on in the same way"
    go.ok(*PENDULUM, *failing, NO_UPDATES, "base.name=again", "base.max_step=20")
    assert played() == parts[0]


@pytest.mark.slow
def test_each_part_of_a_run_has_an_environment_of_another_seed(go, monkeypatch):
    """A Unity scene takes its seed when it starts; that of evaluation stays, as evaluations have their own."""
    from scripted import ScriptedEnv

    from sac.roles.train import train

    def make_env(config, *, seed, n_agents=None, **_):
        seeds.append(seed)
        return ScriptedEnv(n_agents or 1)

    seeds: list[int] = []
    for name in ("state", "restore"):  # as if it could not be saved
        monkeypatch.delattr(ScriptedEnv, name)
    monkeypatch.setattr("sac.roles.run", lambda config: train(config, make_env))
    for until in (20, 40):
        go.ok(*PENDULUM, NO_UPDATES, f"base.max_step={until}", "eval.per_step=20", "ckpt=auto")
    training, evaluation, again, evaluation_again = seeds
    assert training == 1 and evaluation == evaluation_again and len({training, evaluation, again}) == 3


@pytest.mark.slow
def test_a_finished_run_needs_nothing(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    before = go.run().checkpoints[0].stat().st_mtime_ns
    assert "reached base.max_step after 5 steps" in go.ok(*AGAIN, "ckpt=latest").out
    assert go.run().steps == [5] and go.run().checkpoints[0].stat().st_mtime_ns == before


@pytest.mark.slow
def test_auto_starts_and_then_goes_on(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5", "ckpt=auto")
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=9", "ckpt=auto", "sac.gamma=0.7")
    assert go.run().steps == [5, 9]
    shutil.rmtree(go.run().path / "checkpoints")  # as if it had been killed before the first
    assert "ckpt=auto begins it again" in go(*AGAIN, "ckpt=latest").error
    go.ok(*AGAIN, "ckpt=auto")
    assert go.run().steps == [9] and yaml.safe_load((go.run().path / "config.yaml").read_text())["sac"]["gamma"] == 0.7


@pytest.mark.slow
def test_a_chosen_step_and_the_best(go):
    often = ("sac.save_model_per_minute=1e-9", "replay.save=false", "eval.per_step=2")
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=6", *often, "base.max_step_each_iter=2")
    assert go.run().steps == [1, 2, 3, 4, 5, 6]
    assert (
        f"ckpt=77: no such step in m/pendulum/a/checkpoints; there are {[*range(1, 7)]}" in go(*AGAIN, "ckpt=77").error
    )
    told = go.ok(*AGAIN, "ckpt=3", "base.max_step=4").err
    assert "going on from step_000000000003" in told and go.run().steps == [1, 2, 3, 4]
    assert {p.name[-1] for p in (go.run().path / "checkpoints" / ASIDE).iterdir()} == {"4", "5", "6"}
    assert go.ok(*AGAIN, "ckpt=best", "base.max_step=5").code == 0


@pytest.mark.slow
def test_a_memory_that_was_not_saved_fills_before_it_is_learnt_from(go):
    go.ok(*PENDULUM, "base.max_step=12", "replay.save=false")
    assert "replay.npz" not in {p.name for p in go.run().checkpoints[0].iterdir()}
    assert go.run().result["updates"] == 4
    go.ok(*AGAIN, "ckpt=latest", "base.max_step=30")
    assert go.run().result["updates"] == 4 + 30 - 12 - 8, "8 = learning_starts = batch_size"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("base.nn_kwargs.ModelQ.hidden=[9]", "the checkpoint does not fit these networks"),
        ("sac.ensemble_q_num=2", "the checkpoint does not fit these networks"),
        ("base.build_path=MountainCarContinuous-v0", "the checkpoint does not fit these networks"),
    ],
)
def test_another_shape_is_refused_in_words(go, typed, words):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    error = go(*AGAIN, "ckpt=latest", "base.max_step=9", typed).error
    assert words in error and error.count("\n") == 1 and "saved" in error
    assert yaml.safe_load((go.run().path / "config.yaml").read_text())["base"]["max_step"] == 5, "refused: unchanged"


@pytest.mark.slow
def test_other_numbers_of_agents_and_rows_are_fine(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=30")
    go.ok(
        *AGAIN,
        "ckpt=latest",
        "base.max_step=60",
        "sac.updates_per_step=0.5",
        "base.n_agents=3",
        "replay.capacity=20",
        "sac.n_step=2",
    )
    assert go.run().result["env_steps"] == 60 and len(go.run().arrays()["replay/reward"]) == 20


def test_runs_that_are_not_there(go):
    assert (
        "no run was named; m/pendulum holds no runs yet: train one first"
        in go("env=gym/pendulum", "base.models=m", "ckpt=latest").error
    )
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    error = go("env=gym/pendulum", "base.models=m", "base.name=b", "role=play").error
    assert error == "there is no run m/pendulum/b; give one by base.name=..., newest first: a\n"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", "sac: {gama: 1}", "colour: red"])
def test_a_config_file_that_was_spoilt(go, text):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    path = go.run().path / "config.yaml"
    path.write_text(text if text == "{" else path.read_text() + text + "\n" if "colour" in text else text)
    assert "m/pendulum/a/config.yaml" in go(*AGAIN, "ckpt=latest").error


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_a_flipped_byte_in_the_networks_does_not_cost_the_memory(go):
    """Networks of step 20 beside memory and counters of step 30; episodes that were open begin anew."""
    go.ok(*PENDULUM, "base.max_step=20")
    go.ok(*AGAIN, "ckpt=latest", "base.max_step=30")
    before, saved = go.run().arrays(), go.run().checkpoints
    rows = before["replay/reward"]
    for name in ("agent", "rollout"):
        flip(saved[1] / f"{name}.npz")
    told = go.ok(*AGAIN, "ckpt=latest", "base.max_step=40")
    assert "the agent of step 20 takes its place, the rollout begins anew; all else is as it was at step 30" in told.err
    after = go.run().arrays()
    assert go.run().result["updates"] == 40 - 8 and go.run().steps == [20, 30, 40]
    np.testing.assert_array_equal(after["replay/reward"][: len(rows) - 1], rows[:-1])
    assert after["replay/last"][len(rows) - 1], "what was open is closed"
    assert (saved[1].parent / ASIDE / saved[1].name / "rollout.npz").exists()


@pytest.mark.slow
def test_a_checkpoint_of_a_newer_version_is_refused_everywhere_and_stays(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=20")
    path = go.run().checkpoints[0] / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    before = {
        file: file.read_bytes() for file in go.run().path.rglob("*.*") if file.is_file() and "log" not in str(file)
    }
    for typed in (
        (*AGAIN, "ckpt=latest", "base.max_step=40"),
        (*AGAIN, "ckpt=auto", "base.max_step=40"),
        (*AGAIN, "role=play"),
        (*PENDULUM, NO_UPDATES, "base.name=b", "replay.load=m/pendulum/a"),
    ):
        error = go(*typed).error
        assert "step_000000000020 was made by a newer version of this program (its format is 2" in error
    after = {file: file.read_bytes() for file in before}
    assert after == before and not (go.run().path / "checkpoints" / ASIDE).exists()
