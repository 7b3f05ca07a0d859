"""Extra noise, which differs between actors: its effect, and that the stored log mu accounts for it."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.collect.exploration import Epsilon, Exploring, WhiteNoise
from sac.errors import UserError
from sac.extras.extra import Extras
from sac.nets.action_distribution import ActionDistribution, TanhNormal, one_hot
from sac.nets.defaults import ModelPolicy
from sac.ops.discrete_choice import ByCritic
from tests.agent.agent_kit import SPECS, act, draw, make_agent, module, set_policy_head
from tests.agent.test_action_selection import LikesLarge, frequencies, obs, policy

K = 4096
MASK = {"discrete": [0, 1, 1, 1], "hybrid": [1, 0, 1], "branches": [1, 1, 0, 1, 1]}


def masks(kind, k=K):
    return np.tile(np.array(MASK.get(kind, []), bool), (k, 1))


def explored(kind, extra_noise, k=K, mask=None, epsilon=None, **options):
    """One step of k agents in the same state."""
    agent = make_agent(SPECS[kind], **options)
    exploring = Exploring(
        agent, WhiteNoise(agent.spec, 3, agent.candidates), 0, epsilon or Epsilon(), extra_noise=extra_noise
    )
    empty = np.zeros((k, 0), np.float32)
    return agent, exploring.choose(np.arange(k), obs(k), masks(kind, k) if mask is None else mask, empty, empty)


def squashed_density(raw, mean, variance):
    """log of the density of tanh(u), u normal, in float64 [k, A] -> [k]."""
    raw = raw.astype(np.float64)
    normal = -0.5 * (raw - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    return (normal - np.log1p(-(np.tanh(raw) ** 2))).sum(-1)


@pytest.mark.parametrize("kind", ["continuous", "hybrid"])
@pytest.mark.parametrize("choice", ["policy", "critic"])
def test_raw_actions_are_spread_by_both_and_log_mu_is_their_density(kind, choice):
    options = {"choice": ByCritic} if choice == "critic" and SPECS[kind].branches else {}
    agent, done = explored(kind, 0.8, **options)
    pi = policy(agent).continuous
    mean, variance = pi.mode().numpy(), pi.normal.scale.numpy().astype(np.float64) ** 2 + 0.8**2
    assert np.abs(done.raw.mean(0) - mean).max() < 4 * np.sqrt(variance.max() / K)
    np.testing.assert_allclose(done.raw.var(0) / variance[0], 1, atol=4 * np.sqrt(2 / K))
    near = np.abs(done.raw).max(-1) < 4  # for larger values 1 - tanh^2 is 0 in float64, too
    assert near.mean() > 0.9
    np.testing.assert_allclose(done.log_prob[near, 0], squashed_density(done.raw, mean, variance)[near], atol=1e-3)
    np.testing.assert_allclose(done.action, np.tanh(done.raw), atol=1e-6)


@pytest.mark.parametrize("kind", list(MASK))
@pytest.mark.parametrize("choice", ["policy", "critic"])
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_it_is_the_least_chance_of_a_random_choice(kind, choice, epsilon):
    options = {"choice": ByCritic} if choice == "critic" else {}
    agent, done = explored(kind, 0.3, epsilon=Epsilon(epsilon, epsilon), **options)
    spec, e = agent.spec, max(epsilon, 0.3)
    mask, taken = masks(kind), one_hot(done.discrete, agent.spec).numpy()
    assert (taken <= mask).all()
    pi = policy(agent).masked(mask[:1])
    if choice == "critic":  # in a hybrid the discrete choice depends on the continuous action
        z = tf.repeat(agent.nets.rep(obs(1), tf.zeros((1, 0)), tf.zeros((1, 0)))[0], K, axis=0)
        q = np.mean([critic(z, tf.constant(done.action)) for critic in agent.nets.critics], axis=0)
        pi = ActionDistribution(spec, logits=tf.zeros((K, spec.choices)), mask=tf.constant(mask)).greedy(q)
    legal = np.prod([part.sum(-1) for part in np.split(mask, np.cumsum(spec.branches)[:-1], axis=-1)], axis=0)
    mixed = (1 - e) * np.exp(pi.discrete_log_prob(tf.constant(taken)).numpy()) + e / legal
    np.testing.assert_allclose(np.exp(done.log_prob[:, 1]), mixed, rtol=1e-4)
    if kind == "discrete":
        shares = (1 - e) * pi.probs.numpy().mean(0) + e * mask[0] / legal[0]
        assert np.abs(frequencies(done.discrete, 4) - shares).max() < 4 * np.sqrt(0.25 / K)


@pytest.mark.slow
def test_a_chance_above_one_is_one_and_without_choices_there_is_none():
    _, done = explored("discrete", 2.5)
    np.testing.assert_allclose(done.log_prob[:, 1], -np.log(3), rtol=1e-5)
    _, done = explored("continuous", 0.12)  # with this epsilon (1 - e) + e is rounded
    np.testing.assert_array_equal(done.log_prob[:, 1], np.zeros(K))


@pytest.mark.parametrize("kind", ["continuous", "hybrid", "branches"])
@pytest.mark.parametrize("extras", [None, Extras([LikesLarge()])])
def test_ratios_of_policy_and_behaviour_are_right(kind, extras):
    """The mean of pi / mu is 1 and that of f pi / mu is E_pi f; with log pi in place of log mu they would differ."""
    agent = make_agent(SPECS[kind], extras=extras)
    set_policy_head(agent, [*[0.2, -0.3][: agent.spec.continuous], *[0.0] * agent.spec.continuous,
                            *np.linspace(0, 1, agent.spec.choices)])  # fmt: skip
    k, spec = 4 * K, agent.spec
    noise, empty = draw(agent, k, np.random.default_rng(2)), np.zeros((k, 0), np.float32)
    mask = np.ones((k, spec.choices), bool)
    done = agent.act(obs(k), mask, empty, empty, noise, epsilon=0.4, extra_std=0.6)
    pi = policy(agent)
    log_pi = pi.continuous_log_prob(tf.constant(done.raw)) + pi.discrete_log_prob(one_hot(done.discrete, spec))
    ratio = np.exp(log_pi - done.log_prob.sum(-1))
    assert ratio.std() > 0.1
    assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / np.sqrt(k))
    weighed = ratio * done.raw[:, 0] ** 2
    assert weighed.mean() == pytest.approx(1 + 0.2**2, abs=4 * weighed.std() / np.sqrt(k))
    assert (done.raw[:, 0] ** 2).mean() > 1.25


def rows(choice, part):
    return type(choice)(*(x[part] for x in choice))


@pytest.mark.parametrize("kind", ["hybrid", "branches"])
@pytest.mark.parametrize("k, compilations", [(5, 0), (20, 1)])  # in NumPy, and in the compiled function
def test_each_row_may_have_its_own_and_nothing_is_compiled_anew(kind, k, compilations):
    agent = make_agent(SPECS[kind])
    noise, empty = draw(agent, k, np.random.default_rng(0)), np.zeros((k, 0), np.float32)
    inputs = obs(k), masks(kind, k), empty, empty, noise
    one, other = (agent.act(*inputs, epsilon=e, extra_std=s) for e, s in ((0, 0), (0.9, 0.7)))
    assert (one.raw != other.raw).all() and (one.log_prob != other.log_prob).all()
    odd = np.arange(k) % 2
    mixed = agent.act(*inputs, epsilon=0.9 * odd, extra_std=(0.7 * odd).astype("f4"))
    for part, expected in ((np.s_[::2], one), (np.s_[1::2], other)):
        for a, b in zip(rows(mixed, part), rows(expected, part)):
            np.testing.assert_array_equal(a, b)
    plain = agent.act(*inputs)
    for a, b in zip(plain, one):
        np.testing.assert_array_equal(a, b)
    assert agent.act._compiled.compilations == compilations


def test_the_mode_ignores_noise():
    agent, k = make_agent(SPECS["hybrid"]), 4
    noise, empty = draw(agent, k, np.random.default_rng(0)), np.zeros((k, 0), np.float32)
    found = [agent.act(obs(k), masks("hybrid", k), empty, empty, noise, extra_std=s, greedy=True) for s in (0.0, 0.7)]
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


# --- distributions defined by a user


class Laplace(TanhNormal):
    """Has another density than TanhNormal and does not define `widened`."""

    def log_probs(self, raw):
        scale = self.normal.scale
        return -tf.abs(raw - self.mode()) / scale - tf.math.log(2 * scale) - tf.math.log(1 - tf.tanh(raw) ** 2)

    def from_noise(self, noise):
        uniform = tf.clip_by_value(0.5 * tf.math.erf(noise / np.sqrt(2)), -0.49999, 0.49999)
        return self.mode() - self.normal.scale * tf.sign(uniform) * tf.math.log(1 - 2 * tf.abs(uniform))


class Uniform:
    """Inherits nothing and defines `widened`, approximately."""

    def __init__(self, mean):
        self.mean = mean

    def mode(self):
        return self.mean

    def from_noise(self, noise):
        return self.mean + tf.math.erf(noise / np.sqrt(2))

    def log_probs(self, raw):
        return -np.log(2) - tf.math.log(1 - tf.tanh(raw) ** 2)


class Widening(Uniform):
    def widened(self, std):
        return TanhNormal(self.mean, tf.sqrt(1 / 3 + std**2) + tf.zeros_like(self.mean))


class Narrow(Uniform):
    def widened(self, std):
        return TanhNormal(self.mean[..., :1], std)


def with_policy(make, spec=SPECS["continuous"]):
    class Mine(ModelPolicy):
        def call(self, z):
            pi = super().call(z)
            return ActionDistribution(self.spec, make(pi.continuous), pi.logits)

    return make_agent(spec, nn=module(ModelPolicy=Mine))


def laplace(normal):
    return Laplace(normal.normal.loc, normal.normal.scale)


@pytest.mark.parametrize("make", [laplace, lambda normal: Uniform(normal.mode())])
def test_a_distribution_that_does_not_know_noise_is_refused_with_it_and_stays_itself_without(make):
    agent = with_policy(make)
    noise = WhiteNoise(agent.spec, 0)
    with pytest.raises(UserError, match=r"ModelPolicy.*widened\(std\).*noise_increasing_rate"):
        Exploring(agent, noise, extra_noise=0.1)
    Exploring(agent, noise)
    done, pi = act(agent, obs(64)), policy(agent)
    np.testing.assert_allclose(done.log_prob[:, 0], pi.continuous_log_prob(tf.constant(done.raw)), atol=1e-4)


def test_one_that_does_is_asked():
    agent = with_policy(lambda normal: Widening(normal.mode()))
    Exploring(agent, WhiteNoise(agent.spec, 0), extra_noise=0.1)
    k, empty = K, np.zeros((K, 0), np.float32)
    noise = draw(agent, k, np.random.default_rng(0))
    done = agent.act(obs(), np.ones((k, 0), bool), empty, empty, noise, extra_std=0.8)
    np.testing.assert_allclose(done.raw.var(0), 1 / 3 + 0.8**2, rtol=0.1)
    plain = agent.act(obs(), np.ones((k, 0), bool), empty, empty, noise)  # without noise its own density is used
    np.testing.assert_allclose(plain.log_prob[:, 0], Uniform.log_probs(None, plain.raw).numpy().sum(-1), atol=1e-3)
    assert np.ptp(plain.raw, axis=0).max() <= 2


def test_one_that_says_something_impossible_is_named():
    with pytest.raises(UserError, match=r"ModelPolicy in nn.py must return continuous actions of shape \(3, 2\)"):
        with_policy(lambda normal: Narrow(normal.mode()))
    assert with_policy(lambda normal: None, SPECS["discrete"]).nets.widens
