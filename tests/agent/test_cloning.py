"""Behavioural cloning: the policy takes on the actions of the loaded windows, and of no others."""

from __future__ import annotations

import numpy as np
import pytest

from sac.ops.discrete_choice import ByCritic
from tests.agent.agent_kit import SPECS, act, make_agent, single, weights, windows

pytestmark = pytest.mark.slow
SHARE, B = 0.25, 8
DEMONSTRATED = 0.6  # of both continuous actions
CHOICE = 2


def batch(spec, *, steps=1, seed=0):
    """Windows whose first SHARE take the demonstrated action, and the others the opposite one."""
    made = single(windows(spec, B, steps=steps, seed=seed))
    made = made._replace(valid=np.ones_like(made.valid))
    loaded = np.arange(B) < SHARE * B
    sign = np.where(loaded, 1, -1)[None, :, None, None]
    raw = np.broadcast_to(np.arctanh(DEMONSTRATED) * sign, made.raw_action.shape).astype(np.float32)
    return made._replace(raw_action=raw, discrete=np.where(sign > 0, CHOICE, 0) + 0 * made.discrete)


def make(kind, **more):
    hyper = {"behavioral_cloning": 100.0, "behavioral_cloning_updates": None, "learning_rate": 0.01, **more}
    return make_agent(SPECS[kind], loaded_share=SHARE, use_auto_alpha=False, **hyper)


@pytest.mark.parametrize("kind", ["continuous", "discrete", "hybrid"])
def test_the_policy_takes_on_the_demonstrated_actions(kind):
    agent = make(kind)
    made = batch(agent.spec)
    losses = [agent.update(made)[0]["policy/cloning"] for _ in range(200)]
    assert losses[-1] < losses[0] - 0.5
    chosen = act(agent, {"v": made.obs["v"][0, :2, 0]}, greedy=True)
    if agent.spec.continuous:
        np.testing.assert_allclose(chosen.action, DEMONSTRATED, atol=0.1)
    if agent.spec.branches:
        assert (chosen.discrete == CHOICE).all()


def test_its_loss_is_the_mean_log_likelihood_of_the_loaded_windows():
    agent = make("continuous", learning_rate=1e-9)
    made = batch(agent.spec)
    pi = agent.nets.policy(made.obs["v"][0, :2, 0])
    expected = -np.mean(np.asarray(pi.continuous_log_prob(made.raw_action[0, :2, 0])))
    assert agent.update(made)[0]["policy/cloning"] == pytest.approx(expected, rel=1e-4)


def test_an_action_at_its_bound_has_a_finite_likelihood():
    agent = make("continuous")
    made = batch(agent.spec)
    made = made._replace(raw_action=np.full_like(made.raw_action, 7.2))
    for _ in range(30):
        metrics, _ = agent.update(made)
    assert np.isfinite(list(metrics.values())).all()
    assert act(agent, {"v": made.obs["v"][0, :2, 0]}, greedy=True).action.max() < 0.999


def test_the_weight_falls_to_nothing():
    cloned, plain = make("continuous", behavioral_cloning_updates=1), make("continuous", behavioral_cloning=0.0)
    made = batch(cloned.spec)
    cloned.update(made), plain.update(made)  # at update 1 of 1 the weight is 0
    ours, theirs = weights(cloned), weights(plain)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_without_a_weight_nothing_is_reported_and_with_critics_that_choose_only_the_continuous_part_counts():
    assert "policy/cloning" not in make("continuous", behavioral_cloning=0.0).metric_names
    agent = make_agent(
        SPECS["discrete"], loaded_share=SHARE, choice=ByCritic, behavioral_cloning=1.0, behavioral_cloning_updates=None
    )
    assert agent.update(batch(agent.spec))[0]["policy/cloning"] == 0


def test_it_goes_with_a_policy_delay():
    agent = make("continuous", policy_delay=2)
    made = batch(agent.spec)
    assert np.isfinite(agent.update(made)[0]["policy/cloning"])
