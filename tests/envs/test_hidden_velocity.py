"""Environments whose velocities are hidden: what is left out, and that nothing else changes."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import spaces

from envs.gymnasium_adapter.build import build_gym_env
from envs.hidden_velocity import HiddenVelocity
from sac.errors import UserError
from sac.types import Action
from tests.envs.gym_runs import act
from tests.envs.toys import Echo

ID = "envs.hidden_velocity:HiddenVelocity-v0"


def conf(name):
    return yaml.safe_load((Path(__file__).parents[2] / "conf" / "env" / f"{name}.yaml").read_text())["base"]


@pytest.mark.parametrize(
    ("name", "hidden", "left"), [("gym/pendulum", [2], 2), ("gym/cart_pole", [1, 3], 2), ("bullet/walker", None, 13)]
)
def test_the_shipped_variants_hide_the_velocities_and_nothing_else(name, hidden, left):
    base, whole = conf(f"{name}/hidden_velocity"), conf(name)
    assert base["build_path"] == ID and base["env_kwargs"]["env_id"] == whole["build_path"]
    assert hidden is None or base["env_kwargs"]["hidden"] == hidden
    if name.startswith("bullet"):
        pytest.importorskip("pybullet_envs_gymnasium")
    part, full = build_gym_env(ID, 2, env_kwargs=base["env_kwargs"]), build_gym_env(whole["build_path"], 2)
    try:
        (sensor,) = part.spec.sensors
        assert (sensor.name, sensor.shape) == ("obs", (left,))
        assert (part.spec.continuous, part.spec.branches) == (full.spec.continuous, full.spec.branches)
        seen = np.delete(np.arange(full.spec.sensors[0].shape[0]), base["env_kwargs"]["hidden"])
        one, other, rng, ends = part.reset(seed=3), full.reset(seed=3), np.random.default_rng(0), []
        for _ in range(260):
            np.testing.assert_array_equal(one.obs["obs"], other.obs["obs"][:, seen])
            np.testing.assert_array_equal(one.ended.obs["obs"], other.ended.obs["obs"][:, seen])
            np.testing.assert_array_equal(one.reward, other.reward)
            np.testing.assert_array_equal(one.ended.discount, other.ended.discount)
            ends += one.ended.discount.tolist()
            action = act(full, other, rng)
            one, other = part.step(Action(*map(np.copy, action))), full.step(action)
        assert set(ends) == {{"gym/pendulum": 1.0}.get(name, 0.0)}, "a time limit stays one, a fall stays one"
    finally:
        part.close()
        full.close()


def test_cart_pole_still_has_its_time_limit():
    env = gymnasium.make(ID, env_id="CartPole-v1", hidden=[1, 3], max_episode_steps=None)
    limits = []
    inner = env
    while inner is not env.unwrapped:
        limits += [inner._max_episode_steps] if isinstance(inner, gymnasium.wrappers.TimeLimit) else []
        inner = inner.env
    assert limits == [500]
    assert isinstance(env.observation_space, spaces.Box) and env.observation_space.shape == (2,)
    np.testing.assert_array_equal(env.observation_space.high, env.unwrapped.observation_space.high[[0, 2]])
    env.close()


def test_other_keyword_arguments_and_pictures_reach_the_environment():
    kwargs = {"env_id": "Pendulum-v1", "hidden": [2], "g": 3.0}
    env = build_gym_env(ID, 1, env_kwargs=kwargs, render_mode="rgb_array")
    assert env._vector.envs[0].unwrapped.g == 3.0
    env.reset(seed=0)
    assert env.render().ndim == 3
    env.close()


def test_in_processes_of_their_own():
    kwargs = {"env_id": "Pendulum-v1", "hidden": [2]}
    one, other = (build_gym_env(ID, 2, how, env_kwargs=kwargs) for how in ("sync", "async"))
    np.testing.assert_array_equal(one.reset(seed=1).obs["obs"], other.reset(seed=1).obs["obs"])
    one.close()
    other.close()


@pytest.mark.parametrize("hidden", [[3], [-1], [0, 1, 2], [0.5], ["a"], [True]])
def test_entries_that_are_not_there_are_refused(hidden):
    with pytest.raises(UserError, match=r"base.env_kwargs.hidden=.*entries 0 to 2"):
        build_gym_env(ID, 1, env_kwargs={"env_id": "Pendulum-v1", "hidden": hidden})


def test_only_vectors_have_entries():
    picture = Echo(spaces.Discrete(2), spaces.Box(0, 255, (8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="entries of a vector can be hidden"):
        HiddenVelocity(picture, [0])


def test_a_missing_package_of_the_environment_behind_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet_envs_gymnasium", None)  # as if it were not installed
    with pytest.raises(UserError, match=r'Walker2DBulletEnv-v0.*pip install -e "\.\[bullet\]"'):
        build_gym_env(ID, 1, env_kwargs=conf("bullet/walker/hidden_velocity")["env_kwargs"])


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"hidden": [2]}, "cannot be made.*'env_id'"), ({"env_id": "Pendulum-v1"}, "cannot be made.*'hidden'"),
     ({"env_id": "Pendulmu-v1", "hidden": [2]}, "Nearest ids: Pendulum-v1")],
)  # fmt: skip
def test_incomplete_keywords_are_named(kwargs, words):
    with pytest.raises(UserError, match=words):
        build_gym_env(ID, 1, env_kwargs=kwargs)
