"""R2D2 in the update: stored, burned-in and recomputed states agree, on windows of a real replay."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from sac.backend import tf
from sac.collect.exploration import Exploring, WhiteNoise
from sac.collect.rollout import Rollout
from sac.nets.action_distribution import one_hot
from sac.ops.value_scale import Rescaled
from sac.replay import RateLimiter, Replay, Uniform
from sac.timers import Clock
from sac.training.learner import Learner
from sac.types import Action, Ended, Sensor, Spec, Turn
from tests.agent.agent_kit import make_agent, single, weights, windows

SPEC = Spec((Sensor("v", (3,)),), 1, (3,))
B, BURN_IN = 32, 4


class Wandering:
    """Two agents with random observations; episodes last 3 to 12 steps and are terminated or truncated."""

    spec, n_agents = SPEC, 2

    def reset(self, seed=None) -> Turn:
        self.rng, self.left = np.random.default_rng(0), np.array([3, 7])
        return self._turn(np.zeros(2, bool))

    def step(self, action: Action) -> Turn:
        self.left -= 1
        over = self.left == 0
        self.left[over] = self.rng.integers(3, 13, over.sum())
        return self._turn(over)

    def _turn(self, over) -> Turn:
        n, rng = int(over.sum()), self.rng
        mask, reward = np.ones((2, 3), bool), rng.normal(size=2).astype(np.float32)
        final, discount = {"v": rng.normal(size=(n, 3)).astype(np.float32)}, rng.integers(0, 2, n).astype(np.float32)
        ended = Ended(np.flatnonzero(over), final, mask[over], reward[over], discount)
        return Turn(np.arange(2), {"v": rng.normal(size=(2, 3)).astype(np.float32)}, mask, reward, ended)


def recurrent_agent(cell="gru", **options):
    hyper = {"burn_in_step": BURN_IN, "n_step": 3, "sequence_length": 2, **options}
    agent = make_agent(SPEC, networks={"recurrent": True}, **hyper)
    assert agent.state_size == 64
    return agent


def filled(agent, steps=200) -> Replay:
    h = agent.hyper
    replay = Replay(SPEC, agent.state_size, Uniform(1000), steps=h.steps, burn_in=h.burn_in_step)
    rollout = Rollout(Wandering(), Exploring(agent, WhiteNoise(SPEC, 0)))
    for experience in islice(rollout, steps):
        replay.add(experience.step)
    return replay


@pytest.mark.slow
def test_with_unchanged_weights_ratios_are_one_and_states_are_what_was_stored():
    agent = recurrent_agent()
    batches = filled(agent).sample(B, 1)
    # Some burn-ins are padded, and some states are not zero.
    assert (batches.valid[:, :, :BURN_IN] == 0).any() and (batches.stored != 0).any()
    metrics, learnt = agent.update(batches)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(learnt.state, batches.stored, atol=1e-5)


@pytest.mark.slow
def test_delta_q_is_nothing_at_first_and_grows_with_the_weights():
    agent = recurrent_agent(learning_rate=0.03)
    replay = filled(agent)
    batches = replay.sample(B, 1)
    found = [agent.update(batches)[0]["recurrent/delta_q"] for _ in range(10)]
    assert found[0] < 1e-4 and found[-1] > 0.02


@pytest.mark.slow
def test_what_lies_in_padding_changes_nothing():
    agent = recurrent_agent()
    batches = filled(agent).sample(B, 1)
    before = weights(agent)
    agent.update(batches)
    after = weights(agent)
    padding = batches.valid[:, :, :BURN_IN] == 0
    assert padding.any()
    batches.obs["v"][:, :, :BURN_IN][padding] = 1e3
    batches.previous[:, :, :BURN_IN][padding] = -1e3
    agent.restore(before, {})
    agent.update(batches)
    for name, value in weights(agent).items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def moved(burn_in_gradient: bool, burn_in=BURN_IN) -> dict:
    agent = recurrent_agent(burn_in_gradient=burn_in_gradient, burn_in_step=burn_in, sequence_length=1, n_step=1)
    before = weights(agent)
    agent.update(filled(agent).sample(B, 1))
    return {n: x - before[n] for n, x in weights(agent).items() if n.startswith("rep/")}


@pytest.mark.slow
def test_burn_in_gradient_decides_whether_errors_reach_back():
    through, stopped = moved(True), moved(False)
    assert any(np.abs(through[n] - stopped[n]).max() > 1e-5 for n in through)
    for name, value in moved(True, 0).items():
        np.testing.assert_array_equal(value, moved(False, 0)[name])


@pytest.mark.slow
def test_refreshed_states_reach_the_rows_they_belong_to():
    agent = recurrent_agent(learning_rate=0.01)
    replay = filled(agent)
    limiter = RateLimiter(1, 0, 2)
    learner = Learner(agent, replay, limiter, B, Clock(), refresh_state=True)
    before = replay._ring.columns["state"].copy()
    for _ in range(5):
        limiter.add_steps(2, True)
        learner.work()
    changed = np.abs(replay._ring.columns["state"] - before).max(-1) > 1e-4
    # The first row of an episode keeps the zero state, whatever was learned.
    begins = before[: len(replay)].any(-1) == 0
    assert changed.sum() > 20 and not changed[: len(replay)][begins].any()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("jit", [False, True])
def test_fused_updates_equal_single_ones(cell, jit):
    nn = {"networks": {"recurrent": True}, "jit": jit, "burn_in_step": 2, "n_step": 2}
    batches = windows(SPEC, 3, 8, steps=4, state=64)
    fused, singly = make_agent(SPEC, **nn), make_agent(SPEC, **nn)
    _, together = fused.update(batches)
    one_by_one = [singly.update(single(batches, k))[1] for k in range(3)]
    for i in range(2):
        np.testing.assert_allclose(together[i], np.concatenate([x[i] for x in one_by_one]), rtol=2e-4, atol=1e-5)
    assert fused.traces == 1


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["vtrace", "retrace"])
def test_rescaled_targets_are_those_of_critics_in_units_of_reward(trace):
    """The rescaled target is h of the target of critics that return h^-1 of the rescaled critics' values."""
    options = {"trace": trace, "n_step": 3, "sequence_length": 2}
    rescaled, plain = make_agent(SPEC, scale=Rescaled, **options), make_agent(SPEC, **options)
    for agent in (rescaled, plain):
        agent.nets.target_critics[0].body.stack[-1].bias.assign([3.0, -2.0, 5.0])
    critics = list(plain.nets.target_critics)
    plain.nets.target_critics = [lambda z, a, c=c: Rescaled.unsquash(c(z, a)) for c in critics]
    batch = tf.nest.map_structure(tf.constant, windows(SPEC, 8, steps=4)._replace(index=()))
    z, taken, action = batch.obs["v"], one_hot(batch.discrete, SPEC), tf.tanh(batch.raw_action)
    found, expected = (agent.targets(batch, z, z, action, taken)[0] for agent in (rescaled, plain))
    np.testing.assert_allclose(found, Rescaled.squash(expected), rtol=1e-4)
    assert np.abs(found - expected).max() > 1
