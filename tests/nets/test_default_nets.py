"""The default networks: leading axes, scaling, and that every weight gets a gradient."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.nets import defaults
from sac.nets.contract import Builder, build_networks, scaled
from sac.nets.conv import ConvStack, stack_for
from sac.nets.mlp import MLP
from sac.types import Sensor, Spec

SPEC = Spec((Sensor("v", (3,)), Sensor("eye", (12, 10, 2), "uint8"), Sensor("grid", (4, 2))), 2, (3, 2))
SMALL = {"ModelPolicy": {"hidden": [16, 16]}, "ModelQ": {"hidden": [16, 16]}, "ModelRep": {"conv_units": 8}}
B, T = 4, 3


@pytest.fixture(scope="module")
def nets():
    return build_networks(SPEC, Builder(None, SMALL), 2)


def observations(*lead):
    rng = np.random.default_rng(0)
    obs = {s.name: rng.normal(size=(*lead, *s.shape)).astype(np.float32) for s in SPEC.sensors}
    obs["eye"] = rng.integers(0, 256, (*lead, 12, 10, 2)).astype(np.uint8)
    return scaled(obs, SPEC)


@pytest.mark.parametrize("size", [(4, 4), (1, 9), (20, 33), (40, 32), (84, 84), (64, 128)])
def test_conv_stack_takes_any_leading_axes(size):
    images = np.random.default_rng(0).random((2, 3, *size, 2)).astype(np.float32)
    stack = ConvStack(units=32)  # so many that some of them are above zero, whatever the weights are
    together = stack(images)
    assert together.shape == (2, 3, 32)
    singly = [[stack(image[None])[0] for image in row] for row in images]
    np.testing.assert_allclose(together, singly, atol=1e-5)
    assert np.ptp(together) > 0


def test_conv_stack_is_chosen_by_the_smaller_side():
    assert stack_for(84, 200) == stack_for(64, 64) != stack_for(63, 200) == stack_for(32, 32) != stack_for(31, 84)


def test_mlp_takes_any_leading_axes():
    net, x = MLP([7, 6], 5), np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(net(x), [net(row) for row in x], atol=1e-6)
    assert MLP([7])(x).shape == (2, 3, 7)


def test_steps_at_once_equal_single_steps(nets):
    obs, action = observations(B, T), tf.random.stateless_uniform((B, T, 2), [0, 0])
    empty = tf.zeros((B, T, 0))
    z, _ = nets.rep(obs, empty, empty)
    pi, q = nets.policy(z), nets.critics[0](z, action)
    for t in range(T):
        z_t, state = nets.rep({name: x[:, t] for name, x in obs.items()}, empty[:, t], empty[:, t])
        pi_t = nets.policy(z_t)
        np.testing.assert_allclose(z_t, z[:, t], atol=1e-5)
        np.testing.assert_allclose(nets.critics[0](z_t, action[:, t]), q[:, t], atol=1e-5)
        np.testing.assert_allclose(pi_t.logits, pi.logits[:, t], atol=1e-5)
        np.testing.assert_allclose(pi_t.continuous.mode(), pi.continuous.mode()[:, t], atol=1e-5)
        assert state.shape == (B, 0)


def test_features_are_vectors_grids_and_convolutions_side_by_side(nets):
    obs, empty = observations(B), tf.zeros((B, 0))
    z, _ = nets.rep(obs, empty, empty)
    assert nets.spec.feature == z.shape[-1] == 3 + 8 + 4 * 2
    np.testing.assert_allclose(z[:, :3], obs["v"])
    np.testing.assert_allclose(z[:, 11:], obs["grid"].numpy().reshape(B, 8))


def test_gradient_reaches_every_weight(nets):
    obs, empty = observations(64), tf.zeros((64, 0))
    with tf.GradientTape(persistent=True) as tape:
        z, _ = nets.rep(obs, empty, empty)
        pi = nets.policy(z)
        raw = pi.continuous.from_noise(tf.random.stateless_normal((64, 2), [0, 1]))
        q = sum(tf.reduce_sum(critic(z, tf.tanh(raw)) * pi.probs) for critic in nets.critics)
        loss = q + tf.reduce_sum(pi.continuous.log_probs(raw))
    weights = [w for layer in (nets.rep, nets.policy, *nets.critics) for w in layer.trainable_weights]
    assert len(weights) == 2 * (3 + 3 + 3 + 3)  # conv stack, policy and two critics: three layers each
    for w in weights:
        gradient = tape.gradient(loss, w.value)
        assert gradient is not None and np.abs(gradient).max() > 0, w.path


def test_targets_start_as_copies_and_the_ensemble_does_not(nets):
    for online, target in nets.target_pairs():
        np.testing.assert_array_equal(online, target)
    first, second = (critic.trainable_weights[0].numpy() for critic in nets.critics)
    assert np.abs(first - second).max() > 0.01
    assert len(nets.target_pairs()) == sum(len(layer.weights) for layer in (nets.rep, *nets.critics))


def test_uint8_is_scaled_to_one_and_floats_are_left_alone():
    obs = {"eye": np.array([[[[0, 255]]]], np.uint8), "v": np.array([[300.0, -1, 0]])}
    spec = Spec((Sensor("eye", (1, 1, 2), "uint8"), Sensor("v", (3,), "float64")))
    out = scaled(obs, spec)
    np.testing.assert_allclose(out["eye"].numpy().ravel(), [0, 1])
    np.testing.assert_allclose(out["v"], [[300, -1, 0]])
    assert out["eye"].dtype == out["v"].dtype == tf.float32


def test_policy_can_reach_the_bounds_and_keeps_its_spread_in_range():
    policy = defaults.ModelPolicy(Spec((), 1), hidden=[4])
    policy(tf.ones((1, 2)))
    policy.body.stack[-1].bias.assign([50.0, 100.0])
    pi = policy(tf.ones((1, 2)))
    assert float(tf.tanh(pi.continuous.mode())[0, 0]) == 1.0
    assert float(pi.continuous.normal.scale[0, 0]) == pytest.approx(np.exp(2), rel=1e-5)
    policy.body.stack[-1].bias.assign([0.0, -100.0])
    assert float(policy(tf.ones((1, 2))).continuous.normal.scale[0, 0]) == pytest.approx(np.exp(-5), rel=1e-5)
