"""The gate passes gradients that point in the critics' direction and blocks all others."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import keras, tf
from sac.ops.gradient_gate import aligned, cosine
from sac.ops.gradient_gate import gradients as of_weights


def gradients(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


def flat(tensors):
    return np.concatenate([np.ravel(x) for x in tensors])


def test_cosine_is_that_of_all_tensors_as_one_vector():
    a, b = gradients(0, (3, 2), (4,)), gradients(1, (3, 2), (4,))
    x, y = flat(a), flat(b)
    expected = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert float(cosine(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(cosine(a, a)) == pytest.approx(1, rel=1e-5)
    assert float(cosine(a, [-3 * x for x in a])) == pytest.approx(-1, rel=1e-5)


def test_cosine_with_nothing_is_zero():
    a = gradients(0, (3, 2))
    assert float(cosine(a, [tf.zeros((3, 2))])) == float(cosine([tf.zeros((3, 2))], a)) == float(cosine([], [])) == 0


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("guide", "passes"),
    [
        ([[1.0, 0.0], [0.0]], True),
        ([[-1.0, 0.0], [0.0]], False),
        ([[0.0, 1.0], [0.0]], False),  # a right angle does not pass
        ([[0.0, 0.0], [0.0]], False),
        ([[1.0, 0.0], [-0.4]], True),  # one tensor may point the other way if all together do not
        ([[1.0, 0.0], [-0.6]], False),
    ],
)
def test_gate_passes_the_half_space_of_the_guide(guide, passes, jit):
    gradient, guide = [tf.constant([1.0, 0.0]), tf.constant([2.0])], [tf.constant(x) for x in guide]
    found = tf.function(aligned, jit_compile=jit, autograph=False)(gradient, guide)
    for a, b in zip(found, gradient, strict=True):
        np.testing.assert_array_equal(a, b * passes)


def test_gate_of_no_weights_is_open_to_nothing():
    assert aligned([], []) == []


def test_a_weight_that_a_loss_does_not_depend_on_has_a_gradient_of_zeros():
    used, unused = (keras.Variable(np.full(2, x, np.float32)) for x in (3.0, 5.0))

    @tf.function(autograph=False)
    def found():
        return of_weights(tf.reduce_sum(tf.square(used.value)), [used, unused])

    first, second = found()
    np.testing.assert_array_equal(first, [6.0, 6.0])
    np.testing.assert_array_equal(second, [0.0, 0.0])
