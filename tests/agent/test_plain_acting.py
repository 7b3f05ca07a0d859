"""Acting in NumPy gives what the compiled function gives, and is left where the networks are not plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sac.agent.plain_acting import MAX_AGENTS
from sac.backend import keras
from sac.extras.extra import Extra, Extras
from sac.nets.defaults import ModelPolicy
from sac.ops.discrete_choice import ByCritic
from sac.types import Sensor, Spec
from tests.agent.agent_kit import SPECS, draw, make_agent, module, observations, single, windows

BYTES = Sensor("grid", (4, 2), "uint8")
RANGED = Sensor("ranged", (3,), bounds=((-1.0, 0.0, 2.0), (1.0, 0.5, 2.0)))
MANY_SENSORS = Spec((Sensor("v", (3,)), BYTES, RANGED), 2, (3, 2))
ALL_SPECS = {**SPECS, "many sensors": MANY_SENSORS}
K = 7


def choices(agent, *, epsilon=0.0, extra_std=0.0, greedy=False, seed=0):
    """What both ways choose: in NumPy, and in the compiled function."""
    rng, spec = np.random.default_rng(seed), agent.spec
    noise, obs = draw(agent, K, rng), observations(spec, rng, K)
    mask, start = rng.random((K, spec.choices)) < 0.6, 0
    for size in spec.branches:
        mask[:, start] = True  # at least one choice of each branch is legal
        start += size
    each = np.full(K, epsilon, np.float32), np.where(np.arange(K) % 2, extra_std, 0).astype(np.float32)
    nothing = np.zeros((K, 0), np.float32)
    plain = agent.act(obs, mask, nothing, nothing, noise, (0, 0), *each, greedy=greedy)
    return plain, agent.act.compiled(obs, mask, nothing, nothing, noise, *each, (0, 0), True, greedy)


def assert_alike(plain, compiled):
    np.testing.assert_allclose(plain.action, compiled.action, atol=1e-6)
    np.testing.assert_array_equal(plain.discrete, compiled.discrete)
    np.testing.assert_allclose(plain.raw, compiled.raw, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(plain.log_prob, compiled.log_prob, atol=2e-6, rtol=1e-5)
    for mine, its in zip(plain, compiled):
        assert mine.dtype == its.dtype and mine.shape == its.shape


@pytest.fixture
def no_compiled_call(monkeypatch):
    """Makes the agent's own way fail where it takes the compiled function."""

    def forbid(agent):
        kept = agent.act.compiled
        monkeypatch.setattr(agent.act, "compiled", lambda *_: pytest.fail("took the compiled function"))
        return kept

    return forbid


@pytest.mark.parametrize("kind", ALL_SPECS)
def test_it_equals_the_compiled_function(kind):
    agent = make_agent(ALL_SPECS[kind])
    for seed, (epsilon, extra_std, greedy) in enumerate(
        [(0.0, 0.0, False), (0.3, 0.0, False), (1.0, 0.2, False), (0.0, 0.5, False), (0.4, 0.2, True)]
    ):
        assert_alike(*choices(agent, epsilon=epsilon, extra_std=extra_std, greedy=greedy, seed=seed))


def test_it_uses_running_statistics():
    agent = make_agent(MANY_SENSORS, networks={"normalized": (MANY_SENSORS.sensors[0], BYTES)})
    plain, _ = choices(agent)
    for mean, scale in zip(agent.nets.normalizer.mean, agent.nets.normalizer.scale):
        mean.assign(np.full(mean.shape, 0.3, np.float32))
        scale.assign(np.full(scale.shape, 40.0, np.float32))  # so that values are clipped as well
    changed, compiled = choices(agent)
    assert_alike(changed, compiled)
    assert np.abs(changed.raw - plain.raw).max() > 0.01


@pytest.mark.slow
def test_it_follows_the_weights(no_compiled_call):
    agent = make_agent(SPECS["hybrid"], n_step=1)
    before, _ = choices(agent)
    agent.update(single(windows(agent.spec, 8, steps=1)))
    after, compiled = choices(agent)
    assert_alike(after, compiled)
    assert np.abs(after.raw - before.raw).max() > 0


def acts(agent, k):
    rng, nothing = np.random.default_rng(0), np.zeros((k, 0), np.float32)
    mask = np.ones((k, agent.spec.choices), bool)
    return agent.act(observations(agent.spec, rng, k), mask, nothing, nothing, draw(agent, k, rng))


def test_few_agents_need_no_compiled_function(no_compiled_call):
    agent = make_agent(SPECS["hybrid"])
    no_compiled_call(agent)
    assert acts(agent, MAX_AGENTS).action.shape == (MAX_AGENTS, 2)
    with pytest.raises(pytest.fail.Exception, match="compiled"):
        acts(agent, MAX_AGENTS + 1)


class OwnPolicy(ModelPolicy):
    """Another network than the default one, since a subclass may do what it likes."""

    def call(self, z):
        return super().call(keras.ops.tanh(z))


class Likes(Extra):
    name, candidates = "likes", 3

    def preference(self, z, action):
        return 3.0 * action[..., 0]


PICTURE = replace(SPECS["continuous"], sensors=(Sensor("eye", (12, 10, 2), "uint8"),))
NOT_PLAIN = {
    "own policy": {"spec": SPECS["continuous"], "nn": module(ModelPolicy=OwnPolicy)},
    "picture": {"spec": PICTURE},
    "choice by critics": {"spec": SPECS["discrete"], "choice": ByCritic},
    "candidates": {"spec": SPECS["continuous"], "extras": Extras([Likes()])},
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_other_networks_are_called_as_they_are(kind, no_compiled_call):
    options = dict(NOT_PLAIN[kind])
    agent = make_agent(options.pop("spec"), **options)
    no_compiled_call(agent)
    with pytest.raises(pytest.fail.Exception, match="compiled"):
        acts(agent, 2)
