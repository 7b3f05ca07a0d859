"""sac.policy_delay: the policy and the temperatures train in every so many updates, the critics in all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.agent.agent_kit import SPECS, make_agent, single, weights, windows


def changed(before, after, prefix):
    return any((before[name] != after[name]).any() for name in before if name.startswith(prefix))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "hybrid"])
def test_policy_and_temperatures_wait(kind):
    agent = make_agent(SPECS[kind], policy_delay=3, n_step=1)
    batches = windows(SPECS[kind], 1, 8, steps=1)
    seen = [weights(agent)]
    for _ in range(6):
        agent.update(batches)
        seen.append(weights(agent))
    trains = [
        [changed(a, b, part) for a, b in itertools.pairwise(seen)] for part in ("policy", "temperatures", "critic_0")
    ]
    assert trains == [[False, False, True] * 2, [False, False, True] * 2, [True] * 6]


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
def test_fused_updates_do_the_same(jit):
    spec = SPECS["continuous"]
    batches = windows(spec, 4, 8, steps=1)
    fused, one_by_one = (make_agent(spec, policy_delay=2, n_step=1, jit=jit) for _ in range(2))
    fused.update(batches)
    for k in range(4):
        one_by_one.update(single(batches, k))
    for name, array in weights(fused).items():
        np.testing.assert_allclose(array, weights(one_by_one)[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_metrics_of_the_policy_are_those_of_its_newest_step():
    spec = SPECS["continuous"]
    agent, every = (make_agent(spec, policy_delay=delay, n_step=1) for delay in (2, 1))
    found = [agent.update(windows(spec, 1, 8, steps=1, seed=i))[0] for i in range(4)]
    assert set(found[0]) == set(every.update(windows(spec, 1, 8, steps=1))[0])
    losses = [metrics["policy/loss"] for metrics in found]
    assert losses[0] == 0 and losses[1] == losses[2] != losses[3]  # none yet, the first step's twice, the second's
    assert len({metrics["critic/loss"] for metrics in found}) == 4


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_reported_once():
    spec = SPECS["continuous"]
    agent = make_agent(spec, policy_delay=2, n_step=1)
    good = windows(spec, 1, 8, steps=1)
    bad = good._replace(obs={name: np.full_like(x, np.nan) for name, x in good.obs.items()})
    agent.update(good)
    assert np.isnan(agent.update(bad)[0]["policy/loss"])
    assert np.isfinite(list(agent.update(good)[0].values())).all()


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_counts_updates(schedule):
    """The policy's learning rate has fallen to its end after so many updates, not after so many of its own steps."""
    spec = SPECS["continuous"]
    agent = make_agent(
        spec, policy_delay=2, n_step=1, learning_rate_schedule=schedule, learning_rate_updates=8, learning_rate_end=1e-9
    )
    for i in range(8):
        agent.update(windows(spec, 1, 8, steps=1, seed=i))
    for part in ("critic", "policy", "temperature"):
        optimizer, _ = agent.trained[part]
        assert float(optimizer.learning_rate) == pytest.approx(1e-9, rel=0.1), part
