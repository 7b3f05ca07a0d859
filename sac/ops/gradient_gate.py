"""Whether an auxiliary loss may shape what the critics learn from."""

from __future__ import annotations

from sac.backend import tf


def gradients(tape, loss, weights: list) -> list:
    """The gradient of `loss` for each Keras weight; zeros where it does not depend on it.

    A gradient with a number that is not finite is all zeros: one poisoned batch must not spoil the weights.
    """
    found = tape.gradient(loss, [w.value for w in weights], unconnected_gradients="zero")
    usable = tf.math.is_finite(tf.linalg.global_norm(found)) if found else True
    return [tf.where(usable, x, tf.zeros_like(x)) for x in found]


def cosine(a: list, b: list):
    """Cosine between two gradients, lists of tensors of equal shapes -> []; 0 where one of them is 0."""
    dot = sum((tf.reduce_sum(x * y) for x, y in zip(a, b)), tf.constant(0.0))
    return tf.math.divide_no_nan(dot, tf.linalg.global_norm(a) * tf.linalg.global_norm(b)) if a else dot


def aligned(gradient: list, guide: list) -> list:
    """`gradient` where it points into the half-space of `guide`, else zeros (arXiv:1812.02224, section 3)."""
    passes = cosine(gradient, guide) > 0
    return [tf.where(passes, x, 0.0) for x in gradient]  # a product would let NaN through
