"""ActionSelector: the stored log mu is the probability that the action really had."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import keras, tf
from sac.extras.extra import Extra, Extras
from sac.nets.action_distribution import one_hot
from sac.nets.noisy import NoisyDense
from sac.ops.discrete_choice import ByCritic
from tests.agent.agent_kit import SPECS, act, make_agent, module

K = 4096


def obs(k=K):
    return {"v": np.tile(np.random.default_rng(0).normal(size=(1, 3)), (k, 1)).astype(np.float32)}


def policy(agent):
    return agent.nets.policy(agent.nets.rep(agent.nets.observe(obs(1)), tf.zeros((1, 0)), tf.zeros((1, 0)))[0])


def frequencies(discrete, size):
    return np.bincount(discrete[:, 0], minlength=size) / len(discrete)


@pytest.mark.parametrize("choice", ["policy", "critic"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_mixes_in_uniform_choices_and_log_mu_says_so(epsilon, choice):
    agent = make_agent(SPECS["discrete"], **({"choice": ByCritic} if choice == "critic" else {}))
    size = agent.spec.branches[0]
    done = act(agent, obs(), epsilon=epsilon)
    pi = policy(agent)
    if choice == "critic":
        q = np.mean([c(agent.nets.rep(obs(1), tf.zeros((1, 0)), tf.zeros((1, 0)))[0], tf.zeros((1, 0)))
                     for c in agent.nets.critics], axis=0)  # fmt: skip
        pi = pi.greedy(tf.constant(q))
    mixed = (1 - epsilon) * np.array(pi.probs)[0, :size] + epsilon / size
    assert np.abs(frequencies(done.discrete, size) - mixed).max() < 4 * np.sqrt(0.25 / K)
    if len(agent.spec.branches) == 1:
        np.testing.assert_allclose(np.exp(done.log_prob[:, 1]), mixed[done.discrete[:, 0]], rtol=1e-4)


def test_a_greedy_agent_never_explores():
    agent = make_agent(SPECS["discrete"], choice=ByCritic)
    assert len(np.unique(act(agent, obs(), epsilon=1.0, greedy=True).discrete, axis=0)) == 1


class LikesLarge(Extra):
    """Prefers candidates with a large first component, in proportion to its exponential."""

    name, candidates = "likes", 5

    def preference(self, z, action):
        return 3.0 * action[..., 0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_candidates_are_weighed_and_log_mu_corrects_for_it(kind):
    """E[pi / mu] over what was chosen is 1 for the exact mu."""
    agent = make_agent(SPECS[kind], extras=Extras([LikesLarge()]))
    done, plain = act(agent, obs()), act(make_agent(SPECS[kind]), obs())
    pi = policy(agent)
    taken = one_hot(done.discrete, agent.spec)
    log_pi = pi.continuous_log_prob(tf.constant(done.raw)) + pi.discrete_log_prob(taken)
    ratio = np.exp(log_pi - done.log_prob.sum(-1))
    assert ratio.std() > 0.1  # log pi in its place would give 1 everywhere
    assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / np.sqrt(K))
    if kind == "continuous":
        assert done.action[:, 0].mean() > plain.action[:, 0].mean() + 0.2
    else:
        assert (done.discrete[:, 0] == 0).mean() > (plain.discrete[:, 0] == 0).mean() + 0.2
        assert np.abs(np.exp(log_pi).mean() - np.exp(done.log_prob.sum(-1)).mean()) > 0.02


class NoisyRep(keras.layers.Layer):
    state_size = 0

    def __init__(self, spec):
        super().__init__()
        self.dense = NoisyDense(6, sigma=1.0)

    def call(self, obs, previous_action, state):
        return self.dense(obs["v"]), state


def test_noisy_layers_draw_anew_at_each_step_and_are_silent_when_greedy():
    agent = make_agent(SPECS["continuous"], nn=module(ModelRep=NoisyRep))
    one, same, other = (act(agent, obs(4), layer_seed=s).raw for s in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).min() > 1e-5
    greedy = [act(agent, obs(4), layer_seed=(1, i), greedy=True).raw for i in range(2)]
    np.testing.assert_array_equal(*greedy)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_sampling_in_play_is_the_policy_and_nothing_else(kind):
    liking = make_agent(SPECS[kind], extras=Extras([LikesLarge()]))
    done = act(liking, obs(), explores=False)
    pi = policy(liking)
    taken = one_hot(done.discrete, liking.spec)
    log_pi = pi.continuous_log_prob(tf.constant(done.raw)) + pi.discrete_log_prob(taken)
    np.testing.assert_allclose(done.log_prob.sum(-1), log_pi, atol=1e-4)
    noisy = make_agent(SPECS["continuous"], nn=module(ModelRep=NoisyRep))
    rng = [act(noisy, obs(4), layer_seed=(1, i), explores=False).raw for i in range(2)]
    np.testing.assert_array_equal(*rng)
