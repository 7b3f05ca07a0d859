"""Gradients, and the rule by which an auxiliary loss may change what the critics learn from."""

from __future__ import annotations

from collections.abc import Sequence

from sac.backend import Tensor, keras, tf


def gradients(loss: Tensor, weights: Sequence[keras.Variable]) -> list[Tensor]:
    """The gradient of `loss` [] for each weight; zeros where the loss does not depend on it.

    All gradients are zeros if one number is not finite: one broken batch must not spoil the weights. Raises
    RuntimeError outside of a tf.function. A persistent tape would do the same and build each loop's gradient thrice.
    """
    found = tf.gradients(loss, [w.value for w in weights], unconnected_gradients="zero") if weights else []
    usable = tf.math.is_finite(tf.linalg.global_norm(found)) if found else True
    return [tf.where(usable, x, tf.zeros_like(x)) for x in found]


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Cosine [] of the angle between two gradients, lists of tensors of equal shapes; 0 if one of them is 0."""
    dot = sum((tf.reduce_sum(x * y) for x, y in zip(a, b)), tf.constant(0.0))
    return tf.math.divide_no_nan(dot, tf.linalg.global_norm(a) * tf.linalg.global_norm(b)) if a else dot


def aligned(gradient: Sequence[Tensor], guide: Sequence[Tensor]) -> list[Tensor]:
    """`gradient` if its cosine with `guide` is positive, else zeros (arXiv:1812.02224, section 3)."""
    passes = cosine(gradient, guide) > 0
    return [tf.where(passes, x, 0.0) for x in gradient]  # a product would let NaN through
