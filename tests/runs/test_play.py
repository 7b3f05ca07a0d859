"""role=play: which checkpoint, what is shown, what is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from short_runs import PENDULUM, Runner

sys.path.append(str(Path(__file__).parents[1] / "envs"))  # failing

NO_UPDATES = "sac.updates_per_step=0"
PLAY = ("role=play", "env=gym/pendulum", "base.models=m", "base.name=a", "eval.episodes=2", "eval.n_agents=2")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def trained(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    return go


def played(text):
    """(step, [returns], mean)."""
    step = int(re.search(r"checkpoint of step ([\d,]+)", text)[1].replace(",", ""))
    returns = [float(x) for x in re.findall(r"^episode \d+: return (\S+), 200 steps$", text, re.M)]
    return step, returns, float(re.search(r"^mean return (\S+) ±", text, re.M)[1])


@pytest.mark.slow
def test_play_is_deterministic_and_leaves_the_run_as_it_is(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.run().path.rglob("*")}
    first, second = trained.ok(*PLAY).out, trained.ok(*PLAY).out
    step, returns, mean = played(first)
    assert step == 5 and len(returns) == 2 and mean == pytest.approx(sum(returns) / 2, rel=1e-3)
    assert first == second
    assert {path: path.stat().st_mtime_ns for path in trained.run().path.rglob("*")} == before
    assert played(trained.ok(*PLAY, "seed=9").out)[1] != returns, "another seed plays other episodes"
    assert played(trained.ok(*PLAY, "sac.sample_in_play=true").out)[1] != returns


@pytest.mark.slow
def test_play_needs_no_env_when_the_scene_is_named(trained):
    assert played(trained.ok("role=play", "base.scene=pendulum", "base.models=m", "base.name=a").out)[0] == 5


@pytest.mark.slow
def test_play_takes_the_best_else_the_latest_or_what_is_asked(go):
    often = ("sac.save_model_per_minute=1e-9", "replay.save=false", "eval.per_step=2", "base.max_step_each_iter=2")
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=6", *often)
    from sac.runs.checkpoint import Checkpoints

    best = Checkpoints(go.run().path / "checkpoints").best()
    assert best.step < 6 or best.evaluation is not None
    assert played(go.ok(*PLAY).out)[0] == best.step
    assert played(go.ok(*PLAY, "ckpt=latest").out)[0] == 6
    assert played(go.ok(*PLAY, "ckpt=4").out)[0] == 4


@pytest.mark.slow
def test_a_video(trained):
    import imageio.v2 as imageio

    told = trained.ok(*PLAY, "render=video", "eval.episodes=1").out
    path = trained.run().path / "video.mp4"
    assert told.splitlines()[-1] == "video: m/pendulum/a/video.mp4"
    with imageio.get_reader(path) as reader:
        frames = [frame for frame in reader]  # noqa: C416 - list() asks for the length, which is infinite
    assert len(frames) == pytest.approx(200, abs=3) and frames[0].shape == (500, 500, 3)
    assert frames[50].std() > 1, "not a black picture"


@pytest.mark.slow
def test_a_film_is_as_fast_as_its_environment_says(go):
    import imageio.v2 as imageio

    failing = [word for word in PENDULUM if "build_path" not in word] + ["base.build_path=failing:Failing-v0"]
    go.ok(*failing, NO_UPDATES, "base.max_step=5", "eval.stop_return=null", "base.max_iter=1")
    told = go.ok(*PLAY, "render=video", "eval.episodes=9", "base.max_iter=4").out
    assert told.count("return") == 4 + 1 and "over 4 episodes" in told
    with imageio.get_reader(go.run().path / "video.mp4") as reader:
        assert reader.get_meta_data()["fps"] == 7


@pytest.mark.slow
def test_max_iter_bounds_the_episodes_of_every_agent(trained):
    played_with = {}
    for typed in (("base.max_iter=1",), ("base.max_iter=7",), ("base.max_iter=1", "eval.n_agents=1")):
        played_with[typed] = len(played(trained.ok(*PLAY, "eval.episodes=4", *typed).out)[1])
    assert list(played_with.values()) == [2, 4, 1], "an iteration is an episode of each agent"


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["imageio.v2", "imageio_ffmpeg"])
def test_a_missing_extra_is_named(trained, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    error = trained(*PLAY, "render=video").error
    assert 'pip install -e ".[video]"' in error and missing.partition(".")[0] in error


@pytest.mark.slow
def test_pygame_is_named_too(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert 'pip install -e ".[video]"' in trained(*PLAY, "render=video").error


@pytest.mark.slow
def test_no_window_without_a_screen(trained, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "render=window: there is no screen here" in trained(*PLAY, "render=window").error


@pytest.mark.slow
def test_a_scene_without_pictures(go):
    roller = [word.replace("gym/pendulum", "roller") for word in PENDULUM]
    go.ok(*roller, NO_UPDATES, "base.max_step=100", "base.n_agents=2", "base.port=21555", "eval.stop_return=null")
    typed = ["role=play", "env=roller", "base.models=m", "base.name=a", "eval.episodes=2"]
    assert "this environment gives no pictures" in go(*typed, "render=video").error
    told = go.ok(*typed).out
    assert len(re.findall(r"^episode \d+: return [01],", told, re.M)) == 2 and "mean return" in told
