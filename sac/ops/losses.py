"""Losses of critics, policy and temperatures, and their masked averages."""

from __future__ import annotations

from sac.backend import tf


def masked_mean(x, valid):
    """Mean of x over the entries where `valid` is 1 (zero when there are none). x, valid [...] -> []."""
    return tf.math.divide_no_nan(tf.reduce_sum(tf.math.multiply_no_nan(x, valid)), tf.reduce_sum(valid))


def critic(q, target, clip_centre, weight, valid, clip_epsilon: float):
    """Weighted squared TD error of all nets over windows and trained states. q [E, B, m], target [B, m] -> [].

    weight [B], valid [B, m]. With `clip_epsilon` > 0 the larger of the plain error and that of Q held within
    `clip_epsilon` of `clip_centre` [E, B, m] (the target critic's value) counts.
    """
    q, target = tf.ensure_shape(q, (None, *valid.shape)), tf.ensure_shape(target, valid.shape)
    target = tf.where(valid > 0, target, q)  # no error where nothing was done: a NaN there would reach the gradient
    error = tf.square(q - target)
    if clip_epsilon > 0:
        held = clip_centre + tf.clip_by_value(q - clip_centre, -clip_epsilon, clip_epsilon)
        error = tf.maximum(tf.square(held - target), error)
    summed = tf.reduce_sum(error, axis=0) * valid * weight[:, None]
    return tf.math.divide_no_nan(tf.reduce_sum(summed), tf.reduce_sum(valid))


def held_log_prob(log_probs, slow, epsilon: float):
    """log pi(a|s) [..., A] -> [...], at least what it is when held within [1 - eps, 1 + eps] times the slow policy's.

    The larger of both makes the larger loss: where pi leaves that interval downwards, entropy pays no longer.
    """
    slow = tf.stop_gradient(slow)  # it sees actions that the trained policy made
    low, high = tf.math.log(1 - epsilon), tf.math.log(1 + epsilon)
    held = slow + tf.clip_by_value(log_probs - slow, low, high)
    return tf.maximum(tf.reduce_sum(log_probs, axis=-1), tf.reduce_sum(held, axis=-1))


def temperature(log_alpha, entropy, target_entropy, valid):
    """log alpha * (H - H_target), averaged: alpha falls while the policy is more random than wanted.

    arXiv:1812.05905, equation (18), taken on log alpha instead of alpha, as is common practice.
    entropy, target_entropy, valid [...] -> [].
    """
    return log_alpha * masked_mean(tf.stop_gradient(entropy - target_entropy), valid)


def td_error(q, target):
    """|delta| as the mean over all nets. q [E, B, m], target [B, m] -> [B, m]."""
    return tf.reduce_mean(tf.abs(q - target), axis=0)


def window_error(td_error, valid, eta: float = 0.9):
    """What a window's priority is made of: eta max + (1 - eta) mean of |delta| over its valid steps [B, m] -> [B].

    R2D2 (Kapturowski et al., ICLR 2019), section 2.3; with one trained state it is that state's error.
    """
    error = tf.math.multiply_no_nan(td_error, valid)
    mean = tf.math.divide_no_nan(tf.reduce_sum(error, axis=1), tf.reduce_sum(valid, axis=1))
    return eta * tf.reduce_max(error, axis=1) + (1 - eta) * mean
