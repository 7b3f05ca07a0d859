"""Noisy layers: no noise outside `drawn`, the right spread inside, other noise for each seed and layer."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import keras, tf
from sac.nets.noisy import NoisyDense, drawn, number_streams


def dense(factorised=True, stream=0, sigma=0.5, n=4, units=3):
    layer = NoisyDense(units, factorised=factorised, sigma=sigma)
    layer.build((None, n))
    layer.stream = stream
    return layer


def silent(layer, x):
    return x @ np.array(layer.kernel) + np.array(layer.bias)


@pytest.mark.parametrize("factorised", [True, False])
def test_outside_a_draw_it_is_a_dense_layer(factorised):
    layer, x = dense(factorised), np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(layer(x), silent(layer, x), atol=1e-5)
    with drawn([3, 7], 0.0):  # as in play
        np.testing.assert_allclose(layer(x), silent(layer, x), atol=1e-5)
    with drawn([3, 7]):
        assert np.abs(layer(x) - silent(layer, x)).min() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("factorised", [True, False])
def test_noise_has_mean_zero_and_the_spread_that_sigma_says(factorised):
    """That of sum_i x_i e_ij + e_j with x = 1; factorised, e_ij = f_i f_j with Var f = E|normal| = sqrt(2 / pi)."""
    layer, x = dense(factorised), np.ones((1, 4), np.float32)
    draw = tf.function(lambda i: _one(layer, x, i))
    noise = np.array([draw(tf.constant(i))[0] for i in range(3000)]) - silent(layer, x)
    f = np.sqrt(2 / np.pi)
    variance = 0.25 * (4 * f * f + f if factorised else 4 + 1)
    assert np.abs(noise.mean(0)).max() < 5 * np.sqrt(variance / 3000)
    assert np.abs(noise.var(0) / variance - 1).max() < 0.15


def _one(layer, x, i):
    with drawn(tf.stack([5, i])):
        return layer(x)


def test_one_seed_is_one_draw_and_another_seed_or_layer_another():
    x = np.ones((2, 4), np.float32)
    one, two = dense(stream=0), dense(stream=1)
    two.set_weights(one.get_weights())
    with drawn([1, 2]):
        first, again, other_layer = one(x), one(x), two(x)
    with drawn([1, 3]):
        other_seed = one(x)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other_layer).min() > 1e-4 and np.abs(first - other_seed).min() > 1e-4


def test_the_spread_is_learnt():
    layer, x = dense(), np.ones((2, 4), np.float32)
    with tf.GradientTape() as tape, drawn([1, 2]):
        loss = tf.reduce_sum(layer(x) ** 2)
    assert len(layer.trainable_weights) == 4
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, layer.trainable_weights))


@pytest.mark.parametrize(
    ("factorised", "bound", "sigma"), [(True, 1 / np.sqrt(16), 0.5 / np.sqrt(16)), (False, np.sqrt(3 / 16), 0.017)]
)
def test_it_begins_as_the_paper_says(factorised, bound, sigma):
    layer = NoisyDense(64, factorised=factorised)
    layer.build((None, 16))
    kernel = np.abs(layer.kernel)
    assert 0.95 * bound < kernel.max() <= bound
    np.testing.assert_allclose(layer.kernel_sigma, sigma, rtol=1e-5)
    np.testing.assert_allclose(layer.bias_sigma, sigma, rtol=1e-5)


def test_streams_are_numbered_in_order_through_nested_layers():
    class Nested(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.inner, self.b = NoisyDense(2), keras.Sequential([NoisyDense(2), NoisyDense(2)]), NoisyDense(2)

    one, two = Nested(), NoisyDense(2)
    number_streams([one, two])
    streams = [one.a.stream, *(x.stream for x in one.inner.layers), one.b.stream, two.stream]
    assert sorted(streams) == [0, 1, 2, 3, 4] and two.stream == 4
