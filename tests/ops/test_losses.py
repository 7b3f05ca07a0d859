"""Losses and masked averages against NumPy, and that invalid rows change neither value nor gradient."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.ops import losses

rng = np.random.default_rng(0)
E, B, M = 3, 4, 5


def arrays():
    q, centre = rng.normal(size=(2, E, B, M)).astype(np.float32)
    target = rng.normal(size=(B, M)).astype(np.float32)
    weight = rng.uniform(0.1, 1, B).astype(np.float32)
    valid = (rng.random((B, M)) < 0.7).astype(np.float32)
    valid[:, 0] = 1
    return q, target, centre, weight, valid


def test_masked_mean_ignores_what_is_invalid_whatever_it_holds():
    x = np.array([1.0, np.nan, 3.0, np.inf], np.float32)
    assert float(losses.masked_mean(x, np.array([1, 0, 1, 0], np.float32))) == 2.0
    assert float(losses.masked_mean(x, np.zeros(4, np.float32))) == 0.0


def test_critic_loss_is_summed_over_nets_and_weighted_but_divided_by_valid_steps_alone():
    q, target, centre, weight, valid = arrays()
    expected = (weight[:, None] * valid * (q - target) ** 2).sum() / valid.sum()
    assert float(losses.critic(q, target, centre, weight, valid, -1.0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip", [-1.0, 0.2])
def test_nan_on_invalid_rows_reaches_neither_loss_nor_gradient(clip):
    q, target, centre, weight, valid = arrays()
    clean = losses.critic(q, target, centre, weight, valid, clip)
    target[valid == 0] = np.nan
    variable = tf.Variable(q)
    with tf.GradientTape() as tape:
        loss = losses.critic(variable, target, centre, weight, valid, clip)
    gradient = tape.gradient(loss, variable).numpy()
    assert float(loss) == float(clean)
    assert np.isfinite(gradient).all()
    assert not gradient[:, valid == 0].any()
    assert np.abs(gradient[:, valid == 1]).max() > 0


def test_clipped_critic_loss_is_the_larger_of_both_errors():
    q, target, centre, weight, valid = arrays()
    held = centre + np.clip(q - centre, -0.2, 0.2)
    error = np.maximum((q - target) ** 2, (held - target) ** 2)
    expected = (weight[:, None] * valid * error).sum() / valid.sum()
    assert float(losses.critic(q, target, centre, weight, valid, 0.2)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("q", "moves"), [(0.1, True), (0.5, False), (-0.5, True)])
def test_clip_stops_a_critic_that_is_already_further_towards_its_target_than_allowed(q, moves):
    """Target critic 0, target 2, epsilon 0.2: beyond 0.2 the gradient is 0, below and within it is not."""
    variable, one = tf.Variable([[[q]]]), tf.ones((1, 1))
    with tf.GradientTape() as tape:
        loss = losses.critic(variable, 2.0 * one, tf.zeros((1, 1, 1)), tf.ones(1), one, 0.2)
    assert bool(tape.gradient(loss, variable).numpy().any()) == moves


def test_temperature_rises_while_the_policy_is_less_random_than_wanted():
    log_alpha, valid = tf.Variable(0.3), np.array([1, 1, 0], np.float32)
    for entropy, sign in (([0.1, 0.3, 9.0], -1), ([2.1, 2.3, -9.0], 1)):
        with tf.GradientTape() as tape:
            loss = losses.temperature(log_alpha, tf.constant(entropy), 1.2, valid)
        gradient = float(tape.gradient(loss, log_alpha))
        assert gradient == pytest.approx(np.mean(entropy[:2]) - 1.2, rel=1e-5)  # descent raises log alpha where < 0
        assert np.sign(gradient) == sign


def test_window_error_mixes_largest_and_mean_of_valid_steps():
    error = np.array([[1.0, 3.0, 50.0], [2.0, np.nan, np.nan], [1.0, 2.0, 6.0]], np.float32)
    valid = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], np.float32)
    expected = [0.9 * 3 + 0.1 * 2, 2.0, 0.9 * 6 + 0.1 * 3]
    np.testing.assert_allclose(losses.window_error(error, valid), expected, rtol=1e-6)


def test_entropy_stops_paying_where_a_policy_leaves_its_slow_copy_downwards():
    """0.1 against 0.5: held at 0.8 * 0.5, no gradient; 0.45 and 0.9 count as they are. The slow one is a constant."""
    log_probs = tf.Variable(np.log([[0.1], [0.45], [0.9]]).astype(np.float32))
    slow = tf.Variable(np.log([[0.5]] * 3).astype(np.float32))
    with tf.GradientTape() as tape:
        held = losses.held_log_prob(log_probs, slow, 0.2)
        total = tf.reduce_sum(held)
    np.testing.assert_allclose(np.exp(held), [0.4, 0.45, 0.9], rtol=1e-5)
    of_policy, of_slow = tape.gradient(total, [log_probs, slow])
    np.testing.assert_array_equal(of_policy, [[0], [1], [1]])
    assert of_slow is None
