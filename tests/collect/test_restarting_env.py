"""An environment that fails is made anew: its agents are lost, and no more often than by chance."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from sac.collect import restarting_env
from sac.collect.restarting_env import EnvironmentFailed, RestartingEnv
from sac.errors import ContractBroken
from sac.types import Action, Spec, Turn, no_endings

SPEC = Spec((), continuous=1)
ACT = Action(np.zeros((2, 1), np.float32), np.zeros((2, 0), np.int32))


class Fragile:
    """Two agents; fails at each of its steps numbered in `at`, counted over all environments made."""

    spec, n_agents, steps, made = SPEC, 2, 0, 0

    def __init__(self, at):
        Fragile.made += 1
        self._at = at

    def _turn(self) -> Turn:
        nothing = np.zeros(2, np.float32)
        return Turn(np.array([0, 1]), {}, np.ones((2, 0), bool), nothing, no_endings(SPEC))

    def reset(self, seed=None) -> Turn:
        return self._turn()

    def step(self, action) -> Turn:
        Fragile.steps += 1
        if Fragile.steps in self._at:
            raise OSError("the simulator is gone")
        return self._turn()

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(Fragile, "steps", 0)
    monkeypatch.setattr(Fragile, "made", 0)


def test_agents_of_a_failed_environment_are_lost_and_ask_again():
    env = RestartingEnv(lambda _: Fragile({2}), count())
    env.reset()
    assert not len(env.step(ACT).lost)
    turn = env.step(ACT)
    assert turn.lost.tolist() == [0, 1] and turn.agents.tolist() == [0, 1] and Fragile.made == 2
    assert not len(env.step(ACT).lost)


def test_the_third_failure_within_a_minute_is_no_chance(monkeypatch):
    env = RestartingEnv(lambda _: Fragile({1, 2, 3}), count())
    env.reset()
    env.step(ACT)
    env.step(ACT)
    with pytest.raises(RuntimeError, match="failed 3 times"):
        env.step(ACT)
    monkeypatch.setattr(restarting_env, "RESTART_WINDOW_SECONDS", 0.0)  # long ago counts for nothing
    env = RestartingEnv(lambda _: Fragile({4, 5, 6, 7}), count())
    env.reset()
    for _ in range(4):
        assert env.step(ACT).lost.tolist() == [0, 1]


def test_what_breaks_the_contract_is_not_made_anew():
    class Broken(Fragile):
        def step(self, action):
            raise ContractBroken("reward is None")

    Fragile.made = 0
    env = RestartingEnv(lambda _: Broken(()), count())
    env.reset()
    with pytest.raises(EnvironmentFailed, match="reward is None") as caught:
        env.step(ACT)
    assert isinstance(caught.value.shown, ContractBroken) and Fragile.made == 1
