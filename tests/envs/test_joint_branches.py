"""Joint branches decode to the combination they stand for, and scripted environments save their state."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from envs.joint_branches import JointBranches, join_branches, joint_mask
from sac.types import Action
from tests.envs.scripted import ScriptedEnv

BRANCHES = (3, 2, 4)


class Listening(ScriptedEnv):
    def step(self, action):
        self.heard = action
        return super().step(action)


def test_every_joint_choice_is_its_own_combination():
    inner = Listening(24, 1, BRANCHES)
    env = JointBranches(inner)
    assert env.spec.branches == (24,) and env.spec.continuous == 1 and env.n_agents == 24
    env.reset(0)
    env.step(Action(np.full((24, 1), 0.5, np.float32), np.arange(24, dtype=np.int32)[:, None]))
    assert [tuple(row) for row in inner.heard.discrete] == list(itertools.product(*map(range, BRANCHES)))
    assert inner.heard.discrete.dtype == np.int32
    np.testing.assert_array_equal(inner.heard.continuous, 0.5)


def test_a_combination_is_legal_when_all_its_parts_are():
    mask = np.random.default_rng(0).random((5, sum(BRANCHES))) < 0.6
    parts = np.split(mask, np.cumsum(BRANCHES)[:-1], axis=1)
    for row, joint in enumerate(joint_mask(mask, BRANCHES)):
        legal = [
            all(p[row, c] for p, c in zip(parts, combination))
            for combination in itertools.product(*map(range, BRANCHES))
        ]
        np.testing.assert_array_equal(joint, legal)
    assert joint_mask(mask[:0], BRANCHES).shape == (0, 24)


def test_turns_pass_through_with_joint_masks():
    plain, joint = (
        ScriptedEnv(2, 0, (2, 3), limit=3, masked=True),
        JointBranches(ScriptedEnv(2, 0, (2, 3), limit=3, masked=True)),
    )
    a, b = plain.reset(4), joint.reset(4)
    endings = 0
    for step in range(12):
        np.testing.assert_array_equal(a.obs["cart"], b.obs["cart"])
        np.testing.assert_array_equal(joint_mask(a.mask, (2, 3)), b.mask)
        np.testing.assert_array_equal(joint_mask(a.ended.mask, (2, 3)), b.ended.mask)
        endings += len(b.ended.agents)
        choice = np.full((2, 1), step % 6, np.int32)
        none = np.zeros((2, 0), np.float32)
        a = plain.step(Action(none, np.concatenate(np.unravel_index(choice, (2, 3)), axis=1)))
        b = joint.step(Action(none, choice))
    assert endings > 4
    joint.close()
    assert joint.closed  # other attributes are the inner environment's


def test_branches_are_joined_up_to_a_limit():
    env = ScriptedEnv(1, 0, (2, 3))
    assert join_branches(env, 6).spec.branches == (6,)
    assert join_branches(env, 5) is env
    one = ScriptedEnv(1, 0, (4,))
    assert join_branches(one, 64) is one


@pytest.mark.parametrize(
    "kind", [{}, {"branches": (3, 2), "continuous": 0, "masked": True}, {"branches": (2,), "image": True}]
)
def test_a_scripted_environment_continues_bit_for_bit(kind):
    def play(env, turn, steps):
        out = []
        for step in range(steps):
            k = len(turn.agents)
            discrete = np.full((k, len(env.spec.branches)), step % 2, np.int32)
            turn = env.step(Action(np.full((k, env.spec.continuous), np.sin(step), np.float32), discrete))
            out.append(turn)
        return out

    env = ScriptedEnv(3, **kind)
    before = play(env, env.reset(1), 17)
    state = pickle.dumps(env.state())
    after = play(env, before[-1], 30)
    other = ScriptedEnv(3, **kind)
    resumed = other.restore(pickle.loads(state))
    np.testing.assert_array_equal(resumed.reward, before[-1].reward)
    again = play(other, resumed, 30)
    assert pickle.dumps(after) == pickle.dumps(again)
    kinds = {float(d) for turn in before + after for d in turn.ended.discount}
    assert kinds == {0.0, 1.0}
