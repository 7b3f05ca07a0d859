"""Vector environments that others have made: of Gymnasium's vector_entry_point, or of a function as envpool's."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.reading import Reading
from sac.errors import ContractBroken, UserError
from sac.types import Action

TOYS = "tests.envs.space_toys"


def episodes(env, turns):
    """Observations of the first agent, episode by episode, with the last ones."""
    turn, found = env.reset(seed=1), [[]]
    for _ in range(turns):
        if 0 in turn.ended.agents:
            found[-1].append(float(turn.ended.obs["obs"][0, 0]))
            found.append([])
        if 0 in turn.agents:
            found[-1].append(float(turn.obs["obs"][list(turn.agents).index(0), 0]))
        k = len(turn.agents)
        turn = env.step(Action(np.zeros((k, env.spec.continuous), np.float32), np.zeros((k, 1), np.int32)))
    env.close()
    return found


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_function_makes_the_vector_and_its_metadata_say_how_it_resets(mode):
    env = build_gym_env(f"{TOYS}:vector_of_counts", 3, "own", env_kwargs={"mode": mode})
    assert env.n_agents == 3
    assert episodes(env, 12)[:2] == [[0, 1, 2, 3]] * 2


def test_gymnasiums_own_vector_form_by_its_id():
    env = build_gym_env("CartPole-v1", 4, "own")
    assert not isinstance(env._vector.unwrapped, gymnasium.vector.SyncVectorEnv) and env.n_agents == 4
    first = [build_gym_env("CartPole-v1", 4, "own").reset(seed=5).obs["obs"] for _ in range(2)]
    np.testing.assert_array_equal(*first)
    assert len(episodes(env, 60)) > 2


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("Pendulum-v1", {}, "doesn't have a vector entry point.*base.vectorization=sync or async"),
        ("Nope-v1", {}, "Nope"),
        (f"{TOYS}:vector_of_counts", {"speed": 3}, "unexpected keyword argument 'speed'"),
        (f"{TOYS}:nothing", {}, "nothing"),
        ("no_such_package:make", {}, "No module named 'no_such_package'"),
        (f"{TOYS}:no_vector", {}, "made a Counter, not a gymnasium.vector.VectorEnv"),
        (f"{TOYS}:vector_without_a_mode", {}, r"metadata\['autoreset_mode'\] is None.*NEXT_STEP, SAME_STEP"),
    ],
)
def test_what_is_no_vector_is_refused_in_words(name, kwargs, words):
    with pytest.raises(UserError, match=words):
        build_gym_env(name, 2, "own", env_kwargs=kwargs)


def test_a_mask_that_a_ready_made_vector_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"base.action_mask=legal.*no such part"):
        build_gym_env("CartPole-v1", 2, "own", reading=Reading(mask="legal"))


class Answers(VectorEnv):
    """Two environments; its `step` returns what is given."""

    num_envs, metadata = 2, {"autoreset_mode": "NextStep"}
    single_observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    single_action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, *result):
        self.result = result

    def reset(self, *, seed=None, options=None):
        return np.zeros((2, 3), np.float32), {}

    def step(self, actions):
        return self.result


OBS, REWARD, NO = np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool)


def stepped(*result):
    env = GymEnv(Answers(*result))
    env.reset()
    return env.step(Action(np.zeros((2, 0), np.float32), np.zeros((2, 1), np.int32)))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ((OBS, np.zeros((2, 3)), NO, NO, {}), r"reward is an array \[2, 3\].*one number for each of 2.*VectorReward"),
        ((OBS, None, NO, NO, {}), "reward is None"),
        ((OBS, REWARD, NO[:1], NO, {}), "terminated is .*one number for each of 2"),
        ((OBS[:1], REWARD, NO, NO, {}), r"observation is an array \[1, 3\].*allowed is an array \[2, 3\]"),
        ((OBS, REWARD, NO, {}), "a tuple of 4.*allowed is a tuple of five"),
        ((OBS, REWARD, NO, NO, "well"), "a tuple of 5.*allowed is a tuple of five"),
    ],
)
def test_what_no_vector_may_return_is_refused_in_one_line(result, words):
    with pytest.raises(ContractBroken, match=words) as caught:
        stepped(*result)
    assert "\n" not in str(caught.value) and "Answers" in str(caught.value)


@pytest.mark.parametrize(
    "result",
    [
        (OBS.tolist(), [1, 1], [0, 0], [False, False], None),
        (OBS.astype(np.float64), REWARD[:, None], NO[:, None], NO.astype(int), [{}, {}]),
    ],
)
def test_what_loses_nothing_is_taken(result):
    turn = stepped(*result)
    np.testing.assert_array_equal(turn.obs["obs"], OBS)
    assert turn.obs["obs"].dtype == np.float32 and turn.reward.tolist() == [1, 1] and not len(turn.ended.agents)


def test_a_generator_that_a_vector_makes_at_its_reset_is_seeded():
    class Late(Answers):
        def reset(self, *, seed=None, options=None):
            return np.random.default_rng().uniform(-1, 1, (2, 3)).astype(np.float32), {}

    one, again, other = (GymEnv(Late()).reset(seed).obs["obs"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
