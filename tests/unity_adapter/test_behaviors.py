"""Scenes with hybrid actions, with several behaviours and with groups."""

from __future__ import annotations

import numpy as np
import pytest

from envs.unity_adapter.env import UnityEnv
from sac.errors import UserError
from sac.types import Action
from tests.envs.unity_runs import PORT


def opened(player: str, **keywords) -> UnityEnv:
    return UnityEnv(f"player:{player}", port=PORT, n_agents=4, timeout=30.0, **keywords)


def returns(env: UnityEnv, policy, turns: int) -> list[float]:
    """The returns of the episodes of a scripted policy: {sensor: [k, ...]} -> (continuous, discrete)."""
    turn, totals, found = env.reset(), {}, []
    for _ in range(turns):
        (obs,) = turn.obs.values()
        continuous, discrete = policy(obs)
        turn = env.step(Action(np.asarray(continuous, np.float32), np.asarray(discrete, np.int32)))
        for agent, reward in zip(turn.ended.agents.tolist(), turn.ended.reward.tolist()):
            found.append(totals.pop(agent, 0.0) + reward)
        ended = set(turn.ended.agents.tolist())
        for agent, reward in zip(turn.agents.tolist(), turn.reward.tolist()):
            if agent not in ended:
                totals[agent] = totals.get(agent, 0.0) + reward
    return found


def test_hybrid_actions_move_and_close():
    env = opened("gripper")
    try:
        assert (env.spec.continuous, env.spec.branches) == (1, (2,))

        def best(obs):
            away = obs[:, 1] - obs[:, 0]
            return np.clip(away / 0.2, -1, 1)[:, None], (np.abs(away) < 0.2).astype(int)[:, None]

        found = returns(env, best, 60)
        assert len(found) > 20 and np.mean(found) > 0.93
        assert max(returns(env, lambda obs: (np.zeros((len(obs), 1)), np.ones((len(obs), 1))), 60)) < 1
    finally:
        env.close()


def name_the_heaviest(obs):
    return np.zeros((len(obs), 0)), obs.argmax(axis=1)[:, None]


@pytest.mark.parametrize(
    ("wanted", "size"), [(None, (2,)), ("Gripper", (2,)), ("Sorter", (3,)), ("Sorter?team=0", (3,))]
)
def test_the_wanted_behaviour_is_trained_and_the_others_act_with_zeros(wanted, size, caplog):
    env = opened("workshop", behavior=wanted)
    try:
        assert env.spec.sensors[0].shape == size and env.n_agents == 4
        env.step(Action(np.zeros((4, env.spec.continuous), np.float32), np.zeros((4, 1), np.int32)))
        trained, other = ("Sorter", "Gripper") if size == (3,) else ("Gripper", "Sorter")
        assert f"only the behaviour {trained} is trained; {other} act with zeros" in caplog.text
        if size == (3,):
            assert np.mean(returns(env, name_the_heaviest, 20)) == pytest.approx(1.0)
    finally:
        env.close()


def test_a_behaviour_that_is_not_there_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.setattr("envs.unity_adapter.env.MAX_SILENT_EXCHANGES", 20)
    with pytest.raises(UserError, match=r"base\.behavior=Painter: the scene has the behaviours Gripper, Sorter"):
        opened("workshop", behavior="Painter")


def test_groups_are_refused_in_words():
    with pytest.raises(UserError, match=r"MA-POCA. is not built here: base\.group_rewards=add"):
        opened("lifters", adds_group_rewards=False)


def test_a_groups_reward_is_added_to_that_of_each_agent():
    env = opened("lifters")
    try:
        lift = returns(env, lambda obs: (np.zeros((len(obs), 0)), obs > 0), 20)
        assert len(lift) == 16 and np.mean(lift) == pytest.approx(1.0)
        idle = returns(env, lambda obs: (np.zeros((len(obs), 0)), np.zeros_like(obs)), 20)
        assert 0.2 < np.mean(idle) < 0.8 and len({round(value, 3) for value in idle}) > 2
    finally:
        env.close()
