"""Q of steps that were taken, and the share of saturated actions."""

from __future__ import annotations

import numpy as np
import pytest

from sac.nets.normalizer import CLIP_STANDARD_DEVIATIONS, Normalizer
from sac.ops.value_scale import Plain, Rescaled
from sac.types import Sensor, Step
from tests.agent.agent_kit import SPECS, make_agent, observations, set_policy_head, single, windows


def rows(spec, k=5) -> Step:
    rng, f32 = np.random.default_rng(0), np.float32
    discrete = np.stack([rng.integers(0, n, k) for n in spec.branches] or [np.zeros(k)], -1)[:, : len(spec.branches)]
    zeros, empty = np.zeros(k, f32), np.zeros((k, 0), f32)
    raw = rng.normal(size=(k, spec.continuous)).astype(f32)
    mask, obs = np.ones((k, spec.choices), bool), observations(spec, rng, k)
    return Step(
        zeros, obs, mask, raw, discrete.astype(np.int32), np.zeros((k, 2), f32), empty, empty, zeros, zeros, zeros > 1
    )


@pytest.mark.parametrize("kind", SPECS)
def test_it_is_the_mean_of_the_critics_columns_of_what_was_done(kind):
    spec = SPECS[kind]
    agent, step = make_agent(spec), rows(spec)
    by_hand = []
    for critic in agent.nets.critics:
        # The default representation returns vectors unchanged.
        columns = critic(step.obs["v"], np.tanh(step.raw_action)).numpy()
        starts = np.cumsum((0, *spec.branches[:-1]))
        taken = columns[np.arange(5)[:, None], starts + step.discrete] if spec.branches else columns
        by_hand.append(taken.sum(-1))
    np.testing.assert_allclose(agent.estimate_q(step), np.mean(by_hand, 0), rtol=1e-5)


def test_it_speaks_in_units_of_reward():
    spec = SPECS["continuous"]
    plain, rescaled = make_agent(spec, ensemble=1, scale=Plain), make_agent(spec, ensemble=1, scale=Rescaled)
    step = rows(spec)
    np.testing.assert_allclose(rescaled.estimate_q(step), Rescaled.unsquash(plain.estimate_q(step)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "share"), [((0.0, 0.0), 0.0), ((9.0, 0.0), 0.5), ((-9.0, 9.0), 1.0)])
def test_the_share_of_saturated_actions(mean, share):
    agent = make_agent(SPECS["continuous"], learning_rate=0.0)
    set_policy_head(agent, [*mean, -3.0, -3.0])  # means, then log standard deviations
    metrics, _ = agent.update(single(windows(SPECS["continuous"], 8, steps=1)))
    assert metrics["policy/saturated"] == pytest.approx(share)
    assert "policy/saturated" not in make_agent(SPECS["discrete"]).metric_names


def test_the_share_of_clipped_values_is_that_of_the_worst_number():
    layer = Normalizer([Sensor("a", (2,)), Sensor("b", (1,))])
    a = np.zeros((4, 5, 2), np.float32)
    a[0, 0, 0], a[:2, :, 1] = CLIP_STANDARD_DEVIATIONS - 1e-3, -99.0
    obs = layer({"a": a, "b": np.full((4, 5, 1), 9.0, np.float32)})
    assert float(layer.clipped(obs)) == 0.5
    assert Normalizer().clipped(obs) == 0.0


@pytest.mark.slow
def test_an_update_tells_the_share_of_clipped_values():
    agent = make_agent(SPECS["continuous"], networks={"normalized": SPECS["continuous"].sensors})
    batch = windows(SPECS["continuous"], 8, steps=1)
    batch.obs["v"][:] = 0.0
    batch.obs["v"][:2, :, 1] = 1e6
    assert agent.update(single(batch))[0]["normalizer/clipped"] == pytest.approx(0.25)
    assert "normalizer/clipped" not in make_agent(SPECS["continuous"]).metric_names
