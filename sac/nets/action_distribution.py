"""What a policy network returns: a distribution over continuous, discrete or hybrid actions."""

from __future__ import annotations

import math
from typing import Any

from sac.backend import Tensor, tf
from sac.errors import UserError
from sac.types import Spec

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
ILLEGAL_LOGIT = -1e9  # of a forbidden choice: its probability is exactly 0 in float32 and its logarithm is finite


class TanhNormal:
    """A Gaussian squashed by tanh into [-1, 1]^A. "Raw" values are those before the tanh; the replay stores them.

    A policy network may return a continuous part of its own class. It needs the methods of this one; it needs `widened`
    only if actors add noise. The squash is always tanh.
    """

    def __init__(self, mean: Tensor, std: Tensor):
        self.loc, self.scale = mean, std

    @property
    def normal(self) -> Any:
        """The distribution of raw actions as a tfd.Normal, for subclasses."""
        from sac.backend import tfd  # takes a second to import, and nothing here needs it

        return tfd.Normal(self.loc, self.scale)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Raw action made of standard-normal `noise`: [..., A] -> [..., A]."""
        return self.loc + self.scale * noise

    def mode(self) -> Tensor:
        """Raw action of the deterministic policy [..., A]."""
        return self.loc

    def log_probs(self, raw: Tensor) -> Tensor:
        """Log-density of each squashed action, computed from the raw one without arctanh. [..., A] -> [..., A]."""
        # The formulas of tfd.Normal and tfp.bijectors.Tanh.
        log_slope = 2 * (math.log(2) - raw - tf.math.softplus(-2 * raw))
        in_stds = -0.5 * tf.math.squared_difference(raw / self.scale, self.loc / self.scale)
        return in_stds - (0.5 * math.log(2 * math.pi) + tf.math.log(self.scale)) - log_slope

    def widened(self, std: Tensor) -> TanhNormal:
        """The distribution of raw actions with independent Gaussian noise of `std` [..., 1] added to them."""
        return TanhNormal(self.loc, tf.sqrt(tf.square(self.scale) + tf.square(std)))


class ActionDistribution:
    """Joint distribution of A continuous actions and of one choice in each branch, independent given the state.

    `continuous` is a TanhNormal, a user's class with its methods, or None. `logits` [..., C] of all branches lie side
    by side; None without branches. `mask` [..., C] is true for legal choices; None: all are legal. Raises UserError
    when the width of `logits` is wrong.
    """

    def __init__(self, spec: Spec, continuous: Any = None, logits: Tensor | None = None, mask: Tensor | None = None):
        self.spec, self.continuous, self.logits, self.mask = spec, continuous, logits, mask
        if logits is not None:
            if logits.shape[-1] != spec.choices:
                expected = f"(..., {spec.choices}): one for each choice of the branches {list(spec.branches)}"
                raise UserError(f"logits must have shape {expected}, found {tuple(logits.shape)}")
            legal = logits if mask is None else tf.where(mask, logits, ILLEGAL_LOGIT)
            per_branch = [tf.nn.log_softmax(x) for x in tf.split(legal, list(spec.branches), axis=-1)]
            self.log_probs = tf.concat(per_branch, axis=-1)
            self.probs = tf.exp(self.log_probs)

    def masked(self, mask: Tensor) -> ActionDistribution:
        """The same policy restricted to legal choices. mask [..., C], true = legal."""
        return ActionDistribution(self.spec, self.continuous, self.logits, mask)

    def uniform(self) -> ActionDistribution:
        """The same continuous part with every legal choice equally probable."""
        logits = None if self.logits is None else tf.zeros_like(self.logits)
        return ActionDistribution(self.spec, self.continuous, logits, self.mask)

    @property
    def widens(self) -> bool:
        """Whether the continuous part knows its distribution with Gaussian noise added: it has its own `widened`.

        A subclass of TanhNormal may have another density, for which the inherited `widened` would be wrong.
        """
        part = type(self.continuous)
        own = getattr(part, "widened", TanhNormal.widened) is not TanhNormal.widened
        return self.continuous is None or part is TanhNormal or own

    def widened(self, std: Tensor) -> ActionDistribution:
        """The same policy with noise of `std` [..., 1] added to raw actions; the policy itself unless it `widens`."""
        if self.continuous is None or not self.widens:
            return self
        return ActionDistribution(self.spec, self.continuous.widened(std), self.logits, self.mask)

    def greedy(self, columns: Tensor) -> ActionDistribution:
        """The same continuous part with, in each branch, the legal choice whose column [..., C] is largest."""
        if self.logits is None:
            return self
        legal = columns if self.mask is None else tf.where(self.mask, columns, -float("inf"))
        best = one_hot(self._branchwise_argmax(legal), self.spec)
        return ActionDistribution(self.spec, self.continuous, tf.where(best > 0, 0.0, ILLEGAL_LOGIT), self.mask)

    def column_probs(self, like: Tensor) -> Tensor:
        """Probability of each critic column [..., C]; ones [..., 1] without branches, for `like` [..., A]."""
        return tf.ones_like(like[..., :1]) if self.logits is None else self.probs

    def discrete_entropy(self, like: Tensor) -> Tensor:
        """Entropy of the discrete part, summed over branches [...]; zeros without one, for `like` [..., A].

        Illegal choices add exact zeros.
        """
        if self.logits is None:
            return tf.zeros_like(like[..., 0])
        return -tf.reduce_sum(tf.math.multiply_no_nan(self.log_probs, self.probs), axis=-1)

    def discrete_log_prob(self, one_hot: Tensor) -> Tensor:
        """Log-probability of the choices in `one_hot` [..., C] -> [...]."""
        if self.logits is None:
            return tf.zeros_like(one_hot[..., 0])
        return tf.reduce_sum(tf.math.multiply_no_nan(self.log_probs, one_hot), axis=-1)

    def continuous_log_prob(self, raw: Tensor) -> Tensor:
        """Log-density of the continuous part [..., A] -> [...]."""
        return tf.reduce_sum(self.continuous_log_probs(raw), axis=-1)

    def continuous_log_probs(self, raw: Tensor) -> Tensor:
        """Log-density of each continuous action [..., A] -> [..., A]."""
        return tf.zeros_like(raw) if self.continuous is None else self.continuous.log_probs(raw)

    def raw_from_noise(self, normal: Tensor) -> Tensor:
        """Raw continuous action made of standard-normal noise: [..., A] -> [..., A]."""
        return normal if self.continuous is None else self.continuous.from_noise(normal)

    def raw_mode(self, like: Tensor) -> Tensor:
        """Raw continuous action of the deterministic policy, shaped like `like` [..., A]."""
        return like if self.continuous is None else self.continuous.mode()

    def choices(self, gumbel: Tensor) -> Tensor:
        """A sample [..., branches] made of Gumbel noise [..., C]; the most probable choices if the noise is zero."""
        if self.logits is None:
            return tf.zeros((*gumbel.shape[:-1], 0), tf.int32)
        return self._branchwise_argmax(self.log_probs + gumbel)

    def _branchwise_argmax(self, columns: Tensor) -> Tensor:
        """[..., C] -> [..., branches]."""
        scores = tf.split(columns, list(self.spec.branches), axis=-1)
        return tf.stack([tf.argmax(s, axis=-1, output_type=tf.int32) for s in scores], axis=-1)


def one_hot(discrete: Tensor, spec: Spec) -> Tensor:
    """Choices [..., branches] as critic columns [..., C]; one column of ones [..., 1] without discrete actions."""
    if not spec.branches:
        return tf.ones(tf.concat([tf.shape(discrete)[:-1], [1]], 0))
    return tf.concat([tf.one_hot(discrete[..., i], size) for i, size in enumerate(spec.branches)], axis=-1)
