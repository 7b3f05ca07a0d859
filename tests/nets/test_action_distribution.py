"""Densities of squashed actions, masks, sampling by Gumbel noise."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.errors import UserError
from sac.nets.action_distribution import ActionDistribution, TanhNormal, one_hot
from sac.types import Sensor, Spec

SENSORS = (Sensor("v", (2,)),)
DISCRETE = Spec(SENSORS, 0, (3, 4))
HYBRID = Spec(SENSORS, 2, (3, 4))
MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0, 1], [0, 0, 1, 0, 1, 0, 0]], bool)


def logits(seed=0, rows=3, spread=1.0):
    return (spread * np.random.default_rng(seed).normal(size=(rows, 7))).astype(np.float32)


def test_density_is_that_of_the_squashed_action():
    """Numerically: the density over a in (-1, 1) integrates to one, and equals dP/da by the change of variables."""
    mean, std = 0.4, 0.8
    edges = np.tanh(np.linspace(-12, 12, 400_001))
    middle = np.arctanh((edges[1:] + edges[:-1]) / 2)
    pi = TanhNormal(tf.constant([[mean]]), tf.constant([[std]]))
    density = np.exp(pi.log_probs(middle[:, None].astype(np.float32))[..., 0].numpy().astype(np.float64))
    assert (density * np.diff(edges)).sum() == pytest.approx(1, abs=1e-3)
    u = np.linspace(-4, 4, 81)
    h = 1e-4
    slope = (np.tanh(u + h) - np.tanh(u - h)) / (2 * h)
    expected = -0.5 * ((u - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi)) - np.log(slope)
    np.testing.assert_allclose(pi.log_probs(u[:, None].astype(np.float32))[..., 0], expected, atol=2e-4)


def test_density_and_gradient_stay_finite_at_extreme_raw_values():
    u = tf.Variable([[-20.0], [20.0], [-300.0], [300.0], [0.0]])
    mean = tf.Variable([[0.0]] * 5)
    with tf.GradientTape() as tape:
        log_prob = TanhNormal(mean, tf.ones((5, 1))).log_probs(u)[..., 0]
    expected = -0.5 * u.numpy()[:, 0] ** 2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(2) + 2 * np.abs(u.numpy()[:, 0])
    np.testing.assert_allclose(log_prob[:4], expected[:4], rtol=1e-5)
    for gradient in tape.gradient(log_prob, [u, mean]):
        assert np.isfinite(gradient).all()


def test_widened_density_is_that_of_the_sum_with_gaussian_noise():
    """Numerically: the convolution of both densities."""
    mean, std, noise = 0.4, 0.5, 0.9
    pi = TanhNormal(tf.constant([[mean]]), tf.constant([[std]]))
    u, x = np.linspace(-3, 3, 31)[:, None], np.linspace(-8, 8, 4001)[None]

    def density(x, std):
        return np.exp(-0.5 * (x / std) ** 2) / (std * np.sqrt(2 * np.pi))

    summed = (density(x - mean, std) * density(u - x, noise)).sum(-1) * 16 / 4000
    found = pi.widened(tf.constant([[noise]])).log_probs(u.astype(np.float32))[..., 0]
    np.testing.assert_allclose(found, np.log(summed) - np.log1p(-(np.tanh(u[:, 0]) ** 2)), atol=1e-4)


def test_density_of_several_actions_is_the_product():
    rng = np.random.default_rng(0)
    mean, raw = rng.normal(size=(2, 5, 3)).astype(np.float32)
    std = rng.uniform(0.1, 2, (5, 3)).astype(np.float32)
    alone = [TanhNormal(mean[:, i : i + 1], std[:, i : i + 1]).log_probs(raw[:, i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(TanhNormal(mean, std).log_probs(raw), np.concatenate(alone, axis=-1), rtol=1e-5)


def test_illegal_choices_have_probability_zero_and_legal_ones_share_the_rest():
    pi = ActionDistribution(DISCRETE, logits=logits(spread=30)).masked(MASK)
    probs = pi.probs.numpy()
    assert (probs[~MASK] == 0).all()
    np.testing.assert_allclose(probs[:, :3].sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(probs[:, 3:].sum(-1), 1, rtol=1e-6)
    unmasked = ActionDistribution(DISCRETE, logits=logits(spread=30)).probs.numpy()
    legal = np.where(MASK, unmasked, 0)
    share = legal[:, 3:] / np.maximum(legal[:, 3:].sum(-1, keepdims=True), 1e-30)
    np.testing.assert_allclose(probs[:2, 3:], share[:2], atol=1e-5)


def test_entropy_is_that_of_numpy_and_finite_under_masks():
    pi = ActionDistribution(DISCRETE, logits=logits()).masked(MASK)
    p = pi.probs.numpy()
    expected = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)
    np.testing.assert_allclose(pi.discrete_entropy(tf.zeros((3, 0))), expected, rtol=1e-5)
    assert expected[2] == 0  # one legal choice in each branch


def test_entropy_gradient_is_finite_and_spares_illegal_choices():
    x = tf.Variable(logits(spread=5))
    with tf.GradientTape() as tape:
        entropy = ActionDistribution(DISCRETE, logits=x).masked(MASK).discrete_entropy(tf.zeros((3, 0)))
    gradient = tape.gradient(entropy, x).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[~MASK] == 0).all()
    assert np.abs(gradient[0]).min() > 0


def test_gumbel_noise_samples_the_policy():
    draws = 20_000
    pi = ActionDistribution(DISCRETE, logits=np.repeat(logits(1), draws, 0)).masked(np.repeat(MASK, draws, 0))
    gumbel = np.random.default_rng(0).gumbel(size=(3 * draws, 7)).astype(np.float32)
    discrete = pi.choices(gumbel)
    frequency = one_hot(discrete, DISCRETE).numpy().reshape(3, draws, 7).mean(1)
    p = pi.probs.numpy()[::draws]
    assert (frequency[~MASK] == 0).all()
    assert (np.abs(frequency - p) <= 4 * np.sqrt(p * (1 - p) / draws) + 1e-7).all()


def test_mode_is_the_mean_and_the_most_probable_legal_choice():
    mean = np.array([[0.5, -1.0]] * 3, np.float32)
    normal = TanhNormal(mean, np.ones_like(mean))
    pi = ActionDistribution(HYBRID, normal, logits()).masked(MASK)
    raw, discrete = pi.raw_mode(tf.ones((3, 2))), pi.choices(tf.zeros((3, 7)))
    np.testing.assert_array_equal(raw, mean)
    legal = np.where(MASK, logits(), -np.inf)
    np.testing.assert_array_equal(discrete, np.stack([legal[:, :3].argmax(-1), legal[:, 3:].argmax(-1)], -1))


def test_log_probability_of_choices_is_summed_over_branches():
    pi = ActionDistribution(DISCRETE, logits=logits())
    taken = one_hot(np.array([[0, 3], [2, 0], [1, 1]], np.int32), DISCRETE)
    p = pi.probs.numpy()
    expected = np.log([p[0, 0] * p[0, 6], p[1, 2] * p[1, 3], p[2, 1] * p[2, 4]])
    np.testing.assert_allclose(pi.discrete_log_prob(taken), expected, rtol=1e-5)


def test_parts_that_do_not_exist_are_neutral():
    x = tf.ones((3, 2))
    continuous = ActionDistribution(Spec(SENSORS, 2), TanhNormal(x, x)).masked(np.ones((3, 0), bool))
    np.testing.assert_array_equal(continuous.column_probs(x), np.ones((3, 1)))
    np.testing.assert_array_equal(continuous.discrete_entropy(x), np.zeros(3))
    np.testing.assert_array_equal(continuous.discrete_log_prob(tf.ones((3, 1))), np.zeros(3))
    assert continuous.choices(tf.zeros((3, 0))).shape == (3, 0)
    discrete = ActionDistribution(DISCRETE, logits=logits())
    np.testing.assert_array_equal(discrete.continuous_log_prob(tf.zeros((3, 0))), np.zeros(3))


def test_one_hot_lays_branches_side_by_side():
    expected = [[1, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0, 0]]
    np.testing.assert_array_equal(one_hot(np.array([[0, 3], [2, 0]]), DISCRETE), expected)
    windows = one_hot(np.zeros((5, 4, 2), np.int32), DISCRETE)
    assert windows.shape == (5, 4, 7)
    np.testing.assert_array_equal(one_hot(np.zeros((5, 4, 0), np.int32), Spec(SENSORS, 1)), np.ones((5, 4, 1)))


def test_logits_of_a_wrong_width_are_refused_with_both_shapes():
    with pytest.raises(UserError, match=r"\(\.\.\., 7\).*branches \[3, 4\].*found \(3, 6\)"):
        ActionDistribution(DISCRETE, logits=logits()[:, :6])
