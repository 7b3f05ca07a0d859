"""Masks in the observation and masks of a method: they are obeyed, the last observation's too, or refused in words."""

from __future__ import annotations

import logging

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from envs.gymnasium_adapter.action_mask import ActionMask
from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.observation_space import ObservationSpace
from envs.gymnasium_adapter.reading import Reading
from envs.joint_branches import JointBranches
from sac.errors import UserError
from sac.types import Action
from tests.envs.gym_runs import env_in_mode
from tests.envs.space_toys import Legal

gymnasium.register("Legal-v0", entry_point=Legal)
gymnasium.register("LegalAndLimited-v0", entry_point=Legal, max_episode_steps=2)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def legal_by_sight(view: np.ndarray) -> np.ndarray:
    """The mask [k, 4] that the observation tells."""
    return (np.rint(view[:, 1:] * 20).astype(int) >> np.arange(4)) & 1 == 1


def play(env, turns=10):
    """Plays legal choices only; checks all masks, also those of last observations. Returns the number of endings."""
    turn, rng, endings = env.reset(seed=1), np.random.default_rng(0), 0
    for _ in range(turns):
        (name,) = turn.obs
        np.testing.assert_array_equal(turn.mask, legal_by_sight(turn.obs[name]))
        np.testing.assert_array_equal(turn.ended.mask, legal_by_sight(turn.ended.obs[name]))
        assert (turn.reward == 0).all() and (turn.ended.reward == 0).all(), "an illegal choice costs 1"
        endings += len(turn.ended.agents)
        branches, first = env.spec.branches, 0
        choices = []
        for n in branches:
            choices.append([rng.choice(np.flatnonzero(m[first : first + n])) for m in turn.mask])
            first += n
        k = len(turn.agents)
        turn = env.step(Action(np.zeros((k, 0), np.float32), np.array(choices, np.int32).reshape(len(branches), k).T))
    return endings


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("where", "key"), [("obs", "action_mask"), ("method", "action_masks")])
def test_masks_are_obeyed_in_every_vector_and_mode(where, key, vectorization, mode):
    env = env_in_mode("Legal-v0", 2, vectorization, mode, env_kwargs={"where": where}, reading=Reading(mask=key))
    try:
        assert [s.name for s in env.spec.sensors] == ["view" if where == "obs" else "obs"], "no network sees the mask"
        assert play(env) >= 4
    finally:
        env.close()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "float32", "bits"])
def test_masks_of_any_dtype(dtype):
    assert play(build_gym_env("Legal-v0", 3, env_kwargs={"dtype": dtype}, reading=Reading(mask="action_mask"))) == 9


def test_a_method_may_return_one_mask_for_each_branch_and_time_limits_keep_the_last_one():
    reading = Reading(mask="action_masks")
    assert play(build_gym_env("Legal-v0", 2, env_kwargs={"where": "both branches"}, reading=reading)) == 6
    assert play(build_gym_env("LegalAndLimited-v0", 2, env_kwargs={"where": "method"}, reading=reading)) == 8


def test_several_parts_below_one_name_are_one_mask_for_several_branches():
    parts = {"a": spaces.MultiBinary(2), "b": spaces.Box(0, 1, (3,), np.int8)}
    layout = ObservationSpace(
        spaces.Dict(x=spaces.Discrete(2), legal=spaces.Dict(parts)), reading=Reading(mask="legal")
    )
    raw = {"x": np.array([1]), "legal": {"a": np.array([[0, 1]]), "b": np.array([[1, 0, 1]])}}
    assert (layout.mask(raw).tolist(), layout.mask_width) == ([[False, True, True, False, True]], 5)
    assert [s.name for s in layout.sensors] == ["x"]


def test_joined_branches_get_the_joint_mask():
    env = JointBranches(
        build_gym_env("Legal-v0", 1, env_kwargs={"where": "both branches"}, reading=Reading(mask="action_masks"))
    )
    turn = env.reset(seed=1)
    two = legal_by_sight(turn.obs["obs"])
    np.testing.assert_array_equal(turn.mask, [np.outer(two[0, :2], two[0, 2:]).ravel()])


@pytest.mark.parametrize(
    ("mask", "kwargs", "words"),
    [
        ("maks", {}, r"base.action_mask=maks: 'Legal-v0' has no such part .*there are .*view.* no such method"),
        ("view", {}, r"has 2 entries; the action space Discrete\(4\) needs 4"),
        ("obs", {"where": "method"}, "nothing is left to observe"),
        ("metadata", {}, "no such method"),
        ("step", {}, "no such method without arguments"),
    ],
)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_what_is_no_mask_is_refused_in_words(mask, kwargs, words, vectorization):
    with pytest.raises(UserError, match=words):
        build_gym_env("Legal-v0", 2, vectorization, env_kwargs=kwargs, reading=Reading(mask=mask))


def test_a_mask_of_other_values_or_for_no_choices_is_refused():
    space = spaces.Dict(x=spaces.Discrete(2), m=spaces.Box(-np.inf, 0, (2,)))
    layout = ObservationSpace(space, reading=Reading(mask="m"))
    with pytest.raises(UserError, match=r"base.action_mask=m: a mask holds 1 \(allowed\) and 0 \(not\), found -inf"):
        layout.mask({"x": np.array([0]), "m": np.array([[0, -np.inf]])})
    with pytest.raises(UserError, match="not Discrete"):
        ObservationSpace(space, reading=Reading(mask="x"))


@pytest.mark.parametrize("mask", [None, "all", [0.0, -np.inf, 0, 0], np.array([1, 2, 0, 0])])
def test_a_method_that_returns_no_mask_is_refused_in_words(mask):
    class Odd(Legal):
        def _masks(self):
            return mask

    gymnasium.register("Odd-v0", Odd, kwargs={"where": "method"})
    try:
        env = build_gym_env("Odd-v0", 1, reading=Reading(mask="action_masks"))
        with pytest.raises(
            UserError, match=r"base.action_mask=action_masks: (this method returned no mask|a mask holds 1)"
        ):
            env.reset()
    finally:
        del gymnasium.registry["Odd-v0"]


@pytest.mark.parametrize("mask", [[0, -np.inf, 0, 0], np.array([0, -1e9, 0, 0]), np.array([2, 1, 1, 1])])
def test_what_is_added_to_logits_is_no_mask_in_info_either(mask):
    layout = ActionMask(spaces.Discrete(4), (4,), 1)
    for info in ({"action_mask": np.array([mask])}, [{"action_mask": mask}]):
        with pytest.raises(UserError, match=r"info\['action_mask'\]: a mask holds 1 \(allowed\) and 0"):
            layout.rows(info)


@pytest.mark.parametrize("name", ["legal_moves", "Mask", "valid_actions", "available_actions"])
def test_masks_have_many_names(name):
    space = spaces.Dict({name: spaces.Box(0, 1, (4,), np.int8), "goal": spaces.Box(0, 1, (4,), np.int8)})
    assert ObservationSpace(space).likely_mask(4) == name


@pytest.mark.slow
@pytest.mark.parametrize(("where", "key"), [("obs", "action_mask"), ("method", "action_masks")])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_what_looks_like_a_mask_is_hinted_at(where, key, vectorization, caplog):
    with caplog.at_level(logging.WARNING):
        build_gym_env("Legal-v0", 2, vectorization, env_kwargs={"where": where}).close()
    (said,) = [r.getMessage() for r in caplog.records if "mask" in r.getMessage()]
    assert f"base.action_mask={key}" in said and "4 choices" in said
    caplog.clear()
    build_gym_env("Legal-v0", 2, vectorization, env_kwargs={"where": where}, reading=Reading(mask=key)).close()
    assert not caplog.records
