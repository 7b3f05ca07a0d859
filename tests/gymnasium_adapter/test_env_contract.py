"""Environments that break Gymnasium's contract are refused in one line, in this process and in workers."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest

from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env import GymEnv
from sac.errors import ContractBroken
from sac.types import Action, Turn
from tests.envs.breakers import REFUSED, REFUSED_AT_RESET, TAKEN, Plain
from tests.envs.gym_runs import env_in_mode

IN_WORKERS = ["four values", "floats in pixels", "obs as a column"]  # Gymnasium's workers took the last two as they are


def opened(env_id: str, vectorization="sync", n=2, **kwargs) -> GymEnv:
    return build_gym_env(f"tests.envs.breakers:{env_id}", n, vectorization, env_kwargs=kwargs)


def steps(env: GymEnv, number: int) -> list[Turn]:
    """The turns of a reset and so many steps, all with the action 0; then the environment is closed."""
    try:
        turns = [env.reset(seed=1)]
        for _ in range(number):
            k = len(turns[-1].agents)
            turns.append(env.step(Action(np.zeros((k, 0), np.float32), np.zeros((k, 1), np.int32))))
    finally:
        env.close()
    return turns


def refusal(env: GymEnv, number: int) -> str:
    with pytest.raises(ContractBroken) as caught:
        steps(env, number)
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_step_may_not_return_is_refused_in_one_line(name):
    text = refusal(opened("Says-v0", name=name), 2)
    assert "\n" not in text and text.startswith(
        ("environment 'tests.envs.breakers:Says-v0': step()", "base.reward_weights")
    )
    assert re.search(REFUSED[name][2], text), text


@pytest.mark.parametrize("name", REFUSED_AT_RESET)
def test_what_reset_may_not_return_is_refused_in_one_line(name):
    text = refusal(opened("Begins-v0", name=name), 0)
    assert "\n" not in text and text.startswith("environment 'tests.envs.breakers:Begins-v0': reset()")
    assert re.search(REFUSED_AT_RESET[name][2], text), text


@pytest.mark.parametrize("name", IN_WORKERS)
def test_workers_say_the_same_and_print_nothing(name, capfd):
    text = refusal(opened("Says-v0", "async", name=name), 2)
    assert re.search(REFUSED[name][2], text), text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", TAKEN)
def test_what_loses_nothing_is_taken(name):
    turns = steps(opened("Says-v0", name=name), 4)
    assert [turn.reward.tolist() for turn in turns[2:]] == [[1.0, 1.0]] * 3
    assert all(x.dtype == turns[0].obs[sensor].dtype for t in turns for sensor, x in t.obs.items())
    ended = steps(opened("Says-v0", name="reward in an array"), 5)[-1].ended
    assert ended.reward.tolist() == [1.0, 1.0] and ended.discount.tolist() == [0.0, 0.0]


def test_the_check_lies_below_the_wrappers_of_gymnasium():
    text = refusal(opened("Limited-v0", name="four values"), 2)  # a time limit unpacks five values
    assert re.search(REFUSED["four values"][2], text), text


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_info_may_hold_anything_beside_the_mask(mode):
    turns = steps(env_in_mode("tests.envs.breakers:Chatty-v0", 4, "sync", mode), 40)
    masks = np.concatenate([turn.mask for turn in turns])
    assert {tuple(m) for m in masks.tolist()} == {(True, False), (True, True)}
    assert sum(len(turn.ended.agents) for turn in turns) > 12


def test_info_may_hold_anything_in_workers_too():
    turns = steps(opened("Chatty-v0", "async", n=3), 12)
    assert {tuple(m) for turn in turns for m in turn.mask.tolist()} == {(True, False), (True, True)}


@pytest.mark.parametrize(("sendable", "kind", "words"), [(False, "Unsendable: ", "7: motor"), (True, "", "motor 7")])
def test_what_a_worker_raises_arrives_with_its_traceback_and_is_not_printed(sendable, kind, words, capfd):
    with pytest.raises(RuntimeError, match=f"^{kind}{words}\n") as caught:
        steps(opened("Raising-v0", "async", sendable=sendable), 3)
    (note,) = caught.value.__notes__
    assert "In the worker process" in note and "breakers.py" in note
    assert "Traceback" not in capfd.readouterr().err


def test_a_reset_without_options_is_taken_and_one_without_a_seed_refused():
    class Short(Plain):
        def reset(self, seed=None):
            return super().reset(seed=seed)

    class Old(Plain):
        def reset(self):
            return super().reset()

    gymnasium.register("Short-v0", Short)
    gymnasium.register("Old-v0", Old)
    try:
        assert len(steps(build_gym_env("Short-v0", 2), 6)) == 7
        assert "'Old-v0': reset() takes no seed; allowed is reset(self, *, seed" in refusal(
            build_gym_env("Old-v0", 2), 0
        )
    finally:
        del gymnasium.registry["Short-v0"], gymnasium.registry["Old-v0"]
