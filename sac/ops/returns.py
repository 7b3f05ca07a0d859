"""Multi-step targets in delta form. Shapes: B windows, m trained states, T = m + n - 1 steps.

`value` is V(s_1) ... V(s_T); `soft_reward`, `log_ratio` and `stored_q` belong to the steps 1 ... T - 1 that follow a
first action. A step with `valid` 0 adds nothing and ends the trace, so the value of a final observation bootstraps and
nothing after it counts; a true end cuts the trace through `discount` 0.
"""

from __future__ import annotations

from sac.backend import Tensor, tf
from sac.ops.shapes import assert_equal_shape, assert_rank


def clipped_ratio(log_ratio: Tensor, cap: float) -> Tensor:
    """min(cap, pi / mu) from log pi - log mu, for an exponent of any size. [...] -> [...]."""
    return tf.exp(tf.minimum(log_ratio, tf.math.log(tf.constant(cap, log_ratio.dtype))))


def _summed_along_trace(delta: Tensor, trace: Tensor, n: int, m: int, present_n: Tensor | None) -> Tensor:
    """sum_k (prod_{j<k} trace_j) delta_k over n - 1 steps (at present: present_n - 1) from each of m states.

    delta, trace [B, m + n - 2] -> [B, m]. A factor of 0 ends the sum, even where infinite ratios follow.
    """
    total = tf.zeros((delta.shape[0], m))
    product = tf.ones_like(total)
    for k in range(n - 1):
        if present_n is not None:
            product = tf.where(k + 1 < present_n, product, 0.0)
        total += tf.math.multiply_no_nan(delta[:, k : k + m], product)
        product = tf.math.multiply_no_nan(product, trace[:, k : k + m])
    return total


def vtrace(
    *, reward: Tensor, discount: Tensor, valid: Tensor, value: Tensor, soft_reward: Tensor, log_ratio: Tensor,
    n: int, gamma: float, lam: float, rho_cap: float, c_cap: float, present_n: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Targets of Q(s_t, a_t) by V-trace [B, m]: r_t + gamma d_t [(1 - lam) V(s_t+1) + lam v_t+1].

    reward, discount, valid, value [B, T]; soft_reward, log_ratio [B, T - 1], where soft_reward_i is what the entropy
    of step i adds to its reward. n-step returns are the same with log_ratio 0. V-trace is equation (1) of IMPALA,
    arXiv:1802.01561; the mixture is that of its section 4.1 as a target for Q. With `present_n` [] <= n the returns
    have so many steps.
    """
    _check(reward, discount, valid, value)
    m = reward.shape[1] - n + 1
    rho, c = clipped_ratio(log_ratio, rho_cap), clipped_ratio(log_ratio, c_cap)
    r, d, ok = reward[:, 1:], gamma * discount[:, 1:], valid[:, 1:]
    assert_equal_shape(later_reward=r, soft_reward=soft_reward, log_ratio=log_ratio)
    delta = tf.math.multiply_no_nan(rho * (r + soft_reward + d * value[:, 1:] - value[:, :-1]), ok)
    correction = _summed_along_trace(delta, tf.math.multiply_no_nan(c, ok * d * lam), n, m, present_n)
    target = reward[:, :m] + gamma * discount[:, :m] * (value[:, :m] + lam * correction)
    return tf.ensure_shape(target, (reward.shape[0], m))


def retrace(
    *, reward: Tensor, discount: Tensor, valid: Tensor, value: Tensor, stored_q: Tensor, log_ratio: Tensor,
    n: int, gamma: float, lam: float, c_cap: float, present_n: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Targets of Q(s_t, a_t) by Retrace [B, m], unbiased for Q^pi under any behaviour policy (arXiv:1606.02647, eq. 4).

    stored_q [B, T - 1] is Q'(s_i, a_i) of the stored actions; the other arguments are those of `vtrace`.
    """
    _check(reward, discount, valid, value)
    m = reward.shape[1] - n + 1
    c = lam * clipped_ratio(log_ratio, c_cap)
    r, d, ok = reward[:, 1:], gamma * discount[:, 1:], valid[:, 1:]
    assert_equal_shape(later_reward=r, stored_q=stored_q, log_ratio=log_ratio)
    delta = tf.math.multiply_no_nan(c * (r + d * value[:, 1:] - stored_q), ok)
    correction = _summed_along_trace(delta, tf.math.multiply_no_nan(c, ok * d), n, m, present_n)
    target = reward[:, :m] + gamma * discount[:, :m] * (value[:, :m] + correction)
    return tf.ensure_shape(target, (reward.shape[0], m))


def _check(reward: Tensor, discount: Tensor, valid: Tensor, value: Tensor) -> None:
    assert_rank(2, reward=reward)
    assert_equal_shape(reward=reward, discount=discount, valid=valid, value=value)
