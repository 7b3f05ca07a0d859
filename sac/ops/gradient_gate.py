"""Whether an auxiliary loss may shape what the critics learn from."""

from __future__ import annotations

from sac.backend import tf


def gradients(tape, loss, weights: list) -> list:
    """The gradient of `loss` for each Keras weight; zeros where it does not depend on it."""
    return tape.gradient(loss, [w.value for w in weights], unconnected_gradients="zero")


def cosine(a: list, b: list):
    """Cosine between two gradients, lists of tensors of equal shapes -> []; 0 where one of them is 0."""
    dot = sum((tf.reduce_sum(x * y) for x, y in zip(a, b)), tf.constant(0.0))
    return tf.math.divide_no_nan(dot, tf.linalg.global_norm(a) * tf.linalg.global_norm(b)) if a else dot


def aligned(gradient: list, guide: list) -> list:
    """`gradient` where it points into the half-space of `guide`, else zeros (arXiv:1812.02224, section 3)."""
    passes = tf.cast(cosine(gradient, guide) > 0, tf.float32)
    return [passes * x for x in gradient]
