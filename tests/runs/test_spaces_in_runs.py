"""Runs of environments with spaces of all kinds, through the config; runs of older versions keep what they did."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import yaml
from short_runs import TINY, Runner

from sac.runs.resume import VALUES_OF_OLDER_RUNS
from tests.envs.space_toys import Board, Legal, Objectives, Told

for name, toy in [("RunBoard", Board), ("RunLegal", Legal), ("RunObjectives", Objectives), ("RunTold", Told)]:
    gymnasium.register(f"{name}-v0", entry_point=toy)
START = ("env=gym/pendulum", *TINY, "base.scene=s", "sac.updates_per_step=0")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def test_masks_of_the_observation_are_obeyed_in_training_and_evaluation(go):
    typed = ("base.build_path=RunLegal-v0", "base.action_mask=action_mask", "base.max_step=30", "eval.per_step=15")
    told = go.ok(*START, *typed, "base.n_agents=2")
    arrays = go.run("s/a").arrays()
    assert not any(name.startswith("replay/obs/action_mask") for name in arrays)
    acts = ~arrays["replay/last"]
    assert (arrays["replay/reward"][acts] == 0).all() and not arrays["replay/mask"].all()
    assert arrays["replay/mask"][~acts].any(axis=1).all() and not arrays["replay/mask"][~acts].all()
    assert go.run("s/a").result["eval_return_mean"] == 0 and told.err == ""


def test_a_wrong_name_of_the_mask_ends_in_one_message(go):
    words = go(*START, "base.build_path=RunLegal-v0", "base.action_mask=mask", "base.max_step=30").error
    assert "base.action_mask=mask" in words and "view, action_mask" in words


@pytest.mark.slow
def test_what_an_environment_is_taken_for_is_said_once_in_a_run(go):
    told = go.ok(*START, "base.build_path=RunTold-v0", "base.max_step=20", "eval.per_step=10")
    assert told.err.count("'mission' is text") == 1
    assert go.run("s/a").log.count("'mission' is text") == 1


@pytest.mark.slow
def test_several_rewards_are_weighed_by_a_key(go):
    assert "base.reward_weights=[]" in go(*START, "base.build_path=RunObjectives-v0", "base.max_step=8").error
    go.ok(*START, "base.build_path=RunObjectives-v0", "base.max_step=8", "base.reward_weights=[1, 10]")
    arrays = go.run("s/a").arrays()
    assert arrays["replay/reward"][:4].tolist() == [11, 21, 31, 41]
    words = go(*START, "base.vectorization=own", "base.reward_weights=[1]").error
    assert "base.vectorization=sync or async" in words
    assert "is for base.env_type=GYM" in go("env=roller", *TINY, "eval.stop_return=null", "base.action_mask=mask").error


def test_a_vector_of_a_function_trains(go):
    typed = ("base.vectorization=own", "base.build_path=tests.envs.space_toys:vector_of_counts", "base.n_agents=3")
    go.ok(*START, *typed, "base.max_step=30", "eval.per_step=15")
    assert go.run("s/a").result["eval_return_mean"] == 3
    assert "no vector environment" in go(*START, *typed, "base.name=b", "base.env_kwargs={speed: 1}").error


def older(path, *keys):
    """Turns a run's config into that of a version that did not know these keys."""
    config = yaml.safe_load(path.read_text())
    for key in keys:
        section, name = key.split(".")
        del config[section][name]
    path.write_text(yaml.safe_dump(config))


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True], ids=["pictures", "vectors"])
def test_runs_of_older_versions_go_on_with_their_scale_and_statistics(go, flat):
    typed = ("base.build_path=RunBoard-v0", f"base.env_kwargs={{flat: {flat}}}", "sac.use_normalization=true")
    as_before = [
        f"{key}={value}" for key, value in VALUES_OF_OLDER_RUNS.items() if key in ("base.scale_by", "base.channels")
    ]
    assert len(as_before) == 2
    go.ok(*START, *typed, *as_before, "base.max_step=20")
    before = go.run("s/a").arrays()
    assert not any("moments/mean" in name for name in before), "bytes had none"
    older(
        go.run("s/a").path / "config.yaml", "base.scale_by", "base.channels", "base.action_mask", "base.reward_weights"
    )
    go.ok("env=gym/pendulum", "base.models=m", "base.name=a", "base.scene=s", "ckpt=latest", "base.max_step=40")
    again = go.run("s/a").arrays()
    kept = [name for name in before if name.startswith("agent/")]
    assert kept and all(np.array_equal(before[name], again[name]) for name in kept)
    config = yaml.safe_load((go.run("s/a").path / "config.yaml").read_text())
    assert (config["base"]["scale_by"], config["base"]["channels"]) == ("255", "before")
    go.ok("env=gym/pendulum", "base.models=m", "base.name=a", "base.scene=s", "role=play", "base.max_iter=1")


def test_new_runs_may_have_statistics_of_bytes(go):
    typed = ("base.build_path=RunBoard-v0", "base.env_kwargs={flat: true}", "sac.use_normalization=true")
    go.ok(*START, *typed, "base.max_step=20")
    arrays = go.run("s/a").arrays()
    assert arrays["moments/mean/obs"].shape == (64,) and arrays["moments/mean/obs"].sum() == pytest.approx(1)
