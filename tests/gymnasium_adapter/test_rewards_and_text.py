"""Rewards of several numbers, and observations with words."""

from __future__ import annotations

import logging

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.observation_space import ObservationSpace
from sac.errors import UserError
from sac.types import Action
from tests.envs.space_toys import Counter, Objectives, Told

for name, toy in [("Objectives", Objectives), ("Told", Told), ("Counter", Counter)]:
    gymnasium.register(f"{name}-v0", entry_point=toy)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def steps(env, turns):
    turn, rewards = env.reset(seed=1), []
    for _ in range(turns):
        turn = env.step(Action(np.zeros((env.n_agents, 0), np.float32), np.zeros((env.n_agents, 1), np.int32)))
        rewards.append(float((turn.ended.reward if len(turn.ended.agents) else turn.reward)[0]))
    env.close()
    return rewards, turn


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("told", [True, False])
def test_the_weighted_sum_of_several_rewards_is_the_reward(vectorization, told):
    env = build_gym_env("Objectives-v0", 2, vectorization, env_kwargs={"told": told}, reward_weights=[10, 0.5])
    assert steps(env, 4)[0] == [10.5, 11, 11.5, 12]


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_several_rewards_without_a_weight_for_each_are_refused(weights, told, vectorization):
    with pytest.raises(
        UserError, match=r"base.reward_weights=\[.*'Objectives-v0' gives rewards of 2 numbers.*\[1.0, 1.0\]"
    ):
        steps(build_gym_env("Objectives-v0", 2, vectorization, env_kwargs={"told": told}, reward_weights=weights), 2)


def test_numbers_that_a_wrapper_has_added_up_need_no_weights():
    class Sum(gymnasium.Wrapper):
        def step(self, action):
            obs, reward, *rest = self.env.step(action)
            return obs, reward.sum(), *rest

    gymnasium.register("Sum-v0", lambda: Sum(Objectives()), max_episode_steps=9)
    try:
        assert steps(build_gym_env("Sum-v0", 2), 4)[0] == [2, 3, 4, 5]
    finally:
        del gymnasium.registry["Sum-v0"]


def test_one_reward_takes_one_weight_and_no_more():
    assert steps(build_gym_env("Counter-v0", 1, reward_weights=[3]), 2)[0] == [3, 3]
    with pytest.raises(UserError, match=r"reward of .* is one number; set base.reward_weights=\[\]"):
        steps(build_gym_env("Counter-v0", 1, reward_weights=[3, 1]), 2)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("words", ["text", "mission"])
@pytest.mark.parametrize("nested", [False, True])
def test_text_is_left_out_with_one_warning_and_the_rest_is_seen(vectorization, words, nested, caplog):
    prefix = "all/" if nested else ""
    with caplog.at_level(logging.WARNING):
        env = build_gym_env("Told-v0", 2, vectorization, env_kwargs={"words": words, "nested": nested})
        assert [s.name for s in env.spec.sensors] == [f"{prefix}direction", f"{prefix}view"]
        rewards, turn = steps(env, 5)
    said = [r.getMessage() for r in caplog.records]
    assert said == [f"Told-v0: observation '{prefix}mission' is text, which networks do not read: it is left out"]
    assert rewards == [1] * 5
    assert (turn.ended.obs[f"{prefix}view"] == 5).all() and (turn.obs[f"{prefix}view"] == 0).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Graph(spaces.Box(-1, 1, (2,)), None),
        spaces.Sequence(spaces.Discrete(3)),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    ],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("inside", [False, True])
def test_spaces_without_a_fixed_size_are_refused_in_words(space, inside):
    class Odd(Counter):
        observation_space = spaces.Dict(odd=space, fine=spaces.Discrete(2)) if inside else space

    with pytest.raises(
        UserError, match=f"'{'odd' if inside else 'obs'}' has the space {type(space).__name__}.*supported"
    ):
        GymEnv(SyncVectorEnv([Odd] * 2, autoreset_mode="SameStep"))


def test_nothing_but_text_is_refused():
    with pytest.raises(UserError, match="nothing is left to observe"):
        ObservationSpace(spaces.Text(5))
