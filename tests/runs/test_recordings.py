"""Episodes that role=play records, and runs that learn from them."""

from __future__ import annotations

import numpy as np
import pytest
from short_runs import PENDULUM, TINY, Runner

from envs.unity_adapter.demo_file import read_demonstration

pytestmark = pytest.mark.slow
NO_UPDATES = "sac.updates_per_step=0"
SCENE = ("env=roller", *TINY, "eval.stop_return=null", "base.n_agents=3", "base.max_step=30")
DEMO = "m/roller/a/demonstrations"
KEPT = (f"replay.load=demo:{DEMO}", "replay.keep_loaded=0.25")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def recorded(go):
    go.ok(*SCENE, NO_UPDATES)
    told = go.ok("role=play", *SCENE[:3], "eval.episodes=6", "eval.max_episode_steps=20", "record=demo").out
    assert f"recorded {DEMO}/played-1.demo: 6 episodes" in told
    return go


def returns(told: str) -> list[float]:
    return [float(line.split("return ")[1].split(",")[0]) for line in told.splitlines() if line.startswith("episode ")]


def test_a_recording_holds_what_was_played_and_the_next_one_has_another_name(recorded):
    told = recorded.ok("role=play", *SCENE[:3], "eval.episodes=6", "eval.max_episode_steps=20", "record=demo").out
    assert "played-2.demo" in told
    found = read_demonstration(recorded.folder / DEMO / "played-2.demo")
    totals, total = [], 0.0
    for pair in found.pairs:
        total += pair.agent_info.reward
        if pair.agent_info.done:
            totals, total = [*totals, total], 0.0
    assert sorted(totals) == pytest.approx(sorted(returns(told)), abs=1e-3)
    assert found.brain.brain_name == "RollerBall" and found.meta.number_episodes == 6


def test_loaded_rows_stay_and_are_a_share_of_each_batch(recorded):
    rows = len(read_demonstration(recorded.folder / DEMO / "played-1.demo").pairs)
    small = ("base.name=b", "replay.capacity=200", "sac.behavioral_cloning=0.1")
    recorded.ok(*SCENE, *small, *KEPT)
    run = recorded.run("roller/b")
    assert f"{rows} rows were loaded" in run.log and run.result["updates"] > 0
    before = {name: x for name, x in run.arrays().items() if name.startswith("replay/loaded/")}
    assert len(before["replay/loaded/last"]) == rows
    recorded.ok(*SCENE[:3], "base.name=b", "ckpt=latest", "base.max_step=300")
    after = run.arrays()
    np.testing.assert_array_equal(
        after["replay/loaded/obs/VectorSensor_size8"], before["replay/loaded/obs/VectorSensor_size8"]
    )
    assert "policy/cloning" in run.rows[-1]


def test_a_resumed_run_without_its_memory_loads_again(recorded):
    recorded.ok(*SCENE, "base.name=b", "replay.save=false", *KEPT)
    recorded.ok(*SCENE[:3], "base.name=b", "ckpt=latest", "base.max_step=60")
    assert recorded.run("roller/b").log.count("rows were loaded") == 2


def test_a_minari_dataset_is_read_back_by_minari_and_by_a_run(go):
    minari = pytest.importorskip("minari")
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    told = go.ok("role=play", *PENDULUM[:3], "eval.episodes=2", "record=minari").out
    assert "recorded minari:pendulum/a-v0: 2 episodes, 400 steps" in told
    dataset = minari.load_dataset("pendulum/a-v0")
    assert dataset.total_episodes == 2 and dataset.action_space.high.tolist() == [2.0]
    found = [sum(episode.rewards) for episode in dataset.iterate_episodes()]
    assert sorted(found) == pytest.approx(sorted(returns(told)), rel=1e-3)
    assert all(episode.truncations[-1] and not episode.terminations.any() for episode in dataset.iterate_episodes())
    again = go("role=play", *PENDULUM[:3], "eval.episodes=2", "record=minari").error
    assert "the dataset pendulum/a-v0 exists: minari delete pendulum/a-v0" in again
    go.ok(*PENDULUM, "base.name=b", "base.max_step=20", "replay.load=minari:pendulum/a-v0")
    assert "402 rows were loaded" in go.run("pendulum/b").log


def test_a_unity_scene_becomes_a_minari_dataset(go):
    pytest.importorskip("minari")
    go.ok(*SCENE, NO_UPDATES)
    go.ok("role=play", *SCENE[:3], "eval.episodes=6", "eval.max_episode_steps=20", "record=minari")
    go.ok(*SCENE, "base.name=b", "replay.load=minari:roller/a-v0", "replay.keep_loaded=0.5")
    assert "rows were loaded" in go.run("roller/b").log


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ("replay.keep_loaded=0.25 keeps rows of replay.load, which is not set", ["replay.keep_loaded=0.25"]),
        ("leaves no window of one kind", [KEPT[0], "replay.keep_loaded=0.01"]),
        ("replay.keep_loaded=1.0: allowed is a number 0 (none) or a share below 1", [KEPT[0], "replay.keep_loaded=1"]),
        ("sac.behavioral_cloning=1.0 learns from the loaded rows", [KEPT[0], "sac.behavioral_cloning=1"]),
        ("there is no such file or folder", ["replay.load=demo:nothing.demo"]),
        ("set sac.n_step=1, or sac.use_n_step_is=false", [KEPT[0], "sac.n_step=3"]),
        ("a dataset keeps none of the states", [KEPT[0], "sac.use_rnn=true"]),
        ("record=demo writes what is played: it needs role=play", ["record=demo"]),
        ("json=true (--json) is for role=doctor", ["--json"]),
        ("record=film: allowed is demo | minari or null", ["record=film"]),
    ],
)
def test_what_does_not_fit_is_refused(recorded, words, typed):
    assert words in recorded(*SCENE, "base.name=b", *typed).error


def test_a_gymnasium_environment_has_no_demo_file(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    assert "use record=minari" in go("role=play", *PENDULUM[:3], "record=demo").error
