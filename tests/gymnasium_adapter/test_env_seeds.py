"""Two environments of one seed draw the same, wherever they draw from; those of another seed do not."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env_seeds import seeded_construction
from sac.types import Action
from tests.envs.drawers import DRAWS

CASES = [*(("Drawer-v0", {"draws": draws}) for draws in DRAWS), ("SharedSpace-v0", {}), ("Shell-v0", {})]


def played(env_id: str, kwargs: dict, seed: int, vectorization: str = "sync", n: int = 2, first=None) -> np.ndarray:
    """Observations [turn, agent, 2] of seven steps (an episode has five)."""
    env = build_gym_env(env_id, n, vectorization, env_kwargs=kwargs, seed=seed)
    try:
        turns = [env.reset(first)]
        for _ in range(7):
            turns.append(env.step(Action(np.zeros((n, env.spec.continuous), np.float32), np.zeros((n, 0), np.int32))))
    finally:
        env.close()
    return np.array([next(iter(turn.obs.values())) for turn in turns])


@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=str)
def test_a_seed_decides_all_that_is_drawn(env_id, kwargs):
    env_id = f"tests.envs.drawers:{env_id}"
    once, again, other = (played(env_id, kwargs, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert not (once == other).all(axis=2).any(), "another seed draws other numbers"
    assert (once[:, 0] != once[:, 1]).any(axis=1).all(), "agents draw different numbers"


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["np.random", "random", "constructor: np.random", "observation_space"])
def test_workers_draw_from_the_seed_too(draws):
    one, again, other = (
        played("tests.envs.drawers:Drawer-v0", {"draws": draws}, seed, "async", n)
        for seed, n in ((3, 2), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(one, again)
    assert (one[:, 0] != one[:, 1]).any(axis=1).all() and (one[:, :1] != other).any(axis=2).all()


def test_what_is_drawn_at_the_first_reset_depends_on_its_seed_and_else_on_the_environments():
    env_id, kwargs = "tests.envs.drawers:Drawer-v0", {"draws": "observation_space"}
    np.testing.assert_array_equal(played(env_id, kwargs, 3), played(env_id, kwargs, 3, first=3))
    np.testing.assert_array_equal(played(env_id, kwargs, 3, first=5), played(env_id, kwargs, 4, first=5))


def test_no_two_generators_of_an_environment_draw_the_same():
    env = build_gym_env("tests.envs.drawers:Drawer-v0", 1, env_kwargs={"draws": "observation_space"}, seed=1)
    env.reset()
    inner = env._vector.envs[0].unwrapped
    held = [inner.observation_space, inner.action_space, inner.goals["x"]]
    drawn = [space.np_random.integers(1 << 40) for space in held] + [inner.np_random.integers(1 << 40)]
    env.close()
    assert len(set(drawn)) == 4


def test_an_environment_leaves_the_spaces_of_its_class_alone():
    from tests.envs.drawers import SharedSpace

    SharedSpace.observation_space.seed(1)
    played("tests.envs.drawers:SharedSpace-v0", {}, 3)
    np.testing.assert_array_equal(SharedSpace.observation_space.sample(), spaces.Box(-1, 1, (2,), seed=1).sample())


def test_old_gym_environments_draw_from_the_seed(monkeypatch):
    from tests.envs.old_toys import register

    register()
    once, again, other = (played("gym:OldDrawer-v0", {}, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any(axis=2).all() and (once[:, 0] != once[:, 1]).any(axis=1).all()


def test_without_a_seed_nothing_is_seeded():
    random.seed(1)
    np.random.seed(1)
    expected = random.getstate(), np.random.get_state()[1]
    build_gym_env("tests.envs.drawers:Drawer-v0", 2, env_kwargs={"draws": "random"}).close()
    assert random.getstate() == expected[0] and (np.random.get_state()[1] == expected[1]).all()


def test_a_seed_that_an_environment_gives_itself_is_kept():
    with seeded_construction(3):
        one, other = np.random.default_rng(seed=5), np.random.default_rng(5)
        own = gymnasium.utils.seeding.np_random(seed=5)[0]
    assert one.random() == other.random() == own.random() == np.random.default_rng(5).random()
