"""Losses of critics, policy and temperatures, and their masked averages."""

from __future__ import annotations

from sac.backend import Tensor, tf
from sac.ops.shapes import assert_equal_shape, assert_rank


def masked_mean(x: Tensor, valid: Tensor) -> Tensor:
    """Mean of x over the entries where `valid` is 1; 0 if there are none. x, valid [...] -> []."""
    assert_equal_shape(x=x, valid=valid)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.math.multiply_no_nan(x, valid)), tf.reduce_sum(valid))


def critic(
    q: Tensor, target: Tensor, clip_centre: Tensor, weight: Tensor, valid: Tensor, clip_epsilon: float
) -> Tensor:
    """Weighted squared TD error of all critics over windows and trained states. q [E, B, m], target [B, m] -> [].

    weight [B], valid [B, m]. With `clip_epsilon` > 0 the loss is the larger one of this error and of the error of Q
    clipped to within `clip_epsilon` of `clip_centre` [E, B, m], the target critics' value.
    """
    assert_rank(1, weight=weight)
    q, target = tf.ensure_shape(q, (None, *valid.shape)), tf.ensure_shape(target, valid.shape)
    target = tf.where(valid > 0, target, q)  # no error where no action was taken: a NaN there would reach the gradient
    error = tf.square(q - target)
    if clip_epsilon > 0:
        held = clip_centre + tf.clip_by_value(q - clip_centre, -clip_epsilon, clip_epsilon)
        error = tf.maximum(tf.square(held - target), error)
    summed = tf.reduce_sum(error, axis=0) * valid * weight[:, None]
    return tf.math.divide_no_nan(tf.reduce_sum(summed), tf.reduce_sum(valid))


def held_log_prob(log_probs: Tensor, slow: Tensor, epsilon: float) -> Tensor:
    """log pi(a|s) summed over A actions, or that of pi held within [1 - eps, 1 + eps] times the slow policy's.

    log_probs, slow [..., A] -> [...]: the larger of both, which makes the larger loss. Where pi falls below that
    interval, more entropy earns nothing any more.
    """
    assert_equal_shape(log_probs=log_probs, slow=slow)
    slow = tf.stop_gradient(slow)  # it depends on the trained policy through the actions
    low, high = tf.math.log(1 - epsilon), tf.math.log(1 + epsilon)
    held = slow + tf.clip_by_value(log_probs - slow, low, high)
    return tf.maximum(tf.reduce_sum(log_probs, axis=-1), tf.reduce_sum(held, axis=-1))


def temperature(log_alpha: Tensor, entropy: Tensor, target_entropy: Tensor | float, valid: Tensor) -> Tensor:
    """log alpha * (H - H_target), averaged: alpha falls while the entropy is above its target.

    arXiv:1812.05905, equation (18), taken on log alpha instead of alpha, as is common practice.
    entropy, valid [...], target_entropy [...] or a number -> [].
    """
    return log_alpha * masked_mean(tf.stop_gradient(entropy - target_entropy), valid)


def td_error(q: Tensor, target: Tensor) -> Tensor:
    """|Q - target|, the mean over all critics. q [E, B, m], target [B, m] -> [B, m]."""
    assert_rank(3, q=q)
    return tf.reduce_mean(tf.abs(q - target), axis=0)


def window_error(td_error: Tensor, valid: Tensor, eta: float = 0.9) -> Tensor:
    """The error from which a window's priority is made: eta max + (1 - eta) mean over its valid steps.

    td_error, valid [B, m] -> [B]. R2D2 (Kapturowski et al., ICLR 2019), section 2.3; with one trained state it is that
    state's error.
    """
    assert_rank(2, td_error=td_error)
    assert_equal_shape(td_error=td_error, valid=valid)
    error = tf.math.multiply_no_nan(td_error, valid)
    mean = tf.math.divide_no_nan(tf.reduce_sum(error, axis=1), tf.reduce_sum(valid, axis=1))
    return eta * tf.reduce_max(error, axis=1) + (1 - eta) * mean
