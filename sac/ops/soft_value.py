"""One soft value for continuous, discrete and hybrid actions.

Critics give one column per discrete choice, Q(s, a_c)[a_d]; without discrete actions there is one column whose
probability is 1, so every formula below holds for every action kind. Shapes: M critics, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from sac.backend import Tensor, tf
from sac.ops.shapes import assert_equal_shape


def expected_q(q: Tensor, probs: Tensor, branches: int) -> Tensor:
    """min over critics of the expected Q under the discrete policy. q [M, ..., C], probs [..., C] -> [...].

    One branch: elementwise minimum, then the expectation (arXiv:1910.07207). Several branches: a critic's value is the
    sum of its branches' expectations, and only these sums are compared, since critics divide the value among the
    branches in different ways.
    """
    assert_equal_shape(columns=q.shape[1:], probs=probs)
    if branches > 1:
        return tf.reduce_min(tf.reduce_sum(q * probs, axis=-1), axis=0)
    return tf.reduce_sum(tf.reduce_min(q, axis=0) * probs, axis=-1)


def chosen_q(q: Tensor, one_hot: Tensor) -> Tensor:
    """Each critic's Q of the taken action, summed over branches. q [M, ..., C], one_hot [..., C] -> [M, ...]."""
    assert_equal_shape(columns=q.shape[1:], one_hot=one_hot)
    return tf.reduce_sum(q * one_hot, axis=-1)


def entropy_bonus(continuous_log_prob: Tensor, discrete_entropy: Tensor, alpha_c: Tensor, alpha_d: Tensor) -> Tensor:
    """-alpha_c log pi(a_c|s) + alpha_d H(pi_d(.|s)), all [...]: what the soft value adds to the expected Q."""
    assert_equal_shape(continuous_log_prob=continuous_log_prob, discrete_entropy=discrete_entropy)
    return alpha_d * discrete_entropy - alpha_c * continuous_log_prob


def random_subset(total: int, size: int, seed: Tensor) -> Tensor:
    """Indices [size] of a fresh random subset of the critics (REDQ, arXiv:2101.05982, algorithm 1 line 7).

    seed [2] int32.
    """
    if size == total:
        return tf.range(total)
    return tf.argsort(tf.random.stateless_uniform([total], seed))[:size]


def largest_entropy(mask: Tensor, branches: Sequence[int]) -> Tensor:
    """Entropy of the uniform choice: sum over branches of log(number of legal choices). mask [..., C] -> [...]."""
    legal = tf.split(tf.cast(mask, tf.float32), list(branches), axis=-1) if branches else []
    zero = tf.zeros(tf.shape(mask)[:-1])
    return sum((tf.math.log(tf.maximum(tf.reduce_sum(x, axis=-1), 1.0)) for x in legal), zero)
