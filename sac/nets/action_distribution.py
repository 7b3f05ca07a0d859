"""What a policy network returns: a distribution over continuous, discrete or hybrid actions."""

from __future__ import annotations

import math

from sac.backend import tf, tfd
from sac.errors import UserError

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
ILLEGAL = -1e9  # logit of a forbidden choice: its probability is exactly 0 in float32, its logarithm stays finite


class TanhNormal:
    """A Gaussian squashed into [-1, 1]^A. "Raw" values are those before the tanh; they are what the replay keeps.

    A policy network may return its own continuous part; it needs the methods of this class, `widened` only where actors
    add noise. The squash is always tanh.
    """

    def __init__(self, mean, std):
        self.normal = tfd.Normal(mean, std)

    def from_noise(self, noise):
        """Raw action made of standard-normal `noise` [..., A]."""
        return self.normal.loc + self.normal.scale * noise

    def mode(self):
        """Raw action of the deterministic policy [..., A]."""
        return self.normal.loc

    def log_probs(self, raw):
        """Log-density of each squashed action, from the raw ones: no arctanh near the bounds. [..., A] -> [..., A]."""
        # As tfp.bijectors.Tanh has it, whose cache never lets go of a compiled function that called it.
        log_slope = 2 * (math.log(2) - raw - tf.math.softplus(-2 * raw))
        return self.normal.log_prob(raw) - log_slope

    def widened(self, std):
        """The distribution of raw actions with independent Gaussian noise of `std` [..., 1] added to them."""
        return TanhNormal(self.normal.loc, tf.sqrt(tf.square(self.normal.scale) + tf.square(std)))


class ActionDistribution:
    """Joint distribution of A continuous actions and of one choice in each branch, independent given the state.

    `continuous` is a TanhNormal (or alike) or None; `logits` [..., C] lie side by side for all branches, or None.
    """

    def __init__(self, spec, continuous=None, logits=None, mask=None):
        self.spec, self.continuous, self.logits, self.mask = spec, continuous, logits, mask
        if logits is not None:
            if logits.shape[-1] != spec.choices:
                expected = f"(..., {spec.choices}): one for each choice of the branches {list(spec.branches)}"
                raise UserError(f"logits must have shape {expected}, found {tuple(logits.shape)}")
            legal = logits if mask is None else tf.where(mask, logits, ILLEGAL)
            per_branch = [tf.nn.log_softmax(x) for x in tf.split(legal, list(spec.branches), axis=-1)]
            self.log_probs = tf.concat(per_branch, axis=-1)
            self.probs = tf.exp(self.log_probs)

    def masked(self, mask):
        """The same policy restricted to legal choices. mask [..., C], true = legal."""
        return ActionDistribution(self.spec, self.continuous, self.logits, mask)

    def uniform(self):
        """The same continuous part with every legal choice equally probable."""
        logits = None if self.logits is None else tf.zeros_like(self.logits)
        return ActionDistribution(self.spec, self.continuous, logits, self.mask)

    @property
    def widens(self) -> bool:
        """Whether the continuous part can say what Gaussian noise makes of it."""
        mine = type(self.continuous)  # a subclass has a density of its own: what it inherits does not speak for it
        says = getattr(mine, "widened", TanhNormal.widened) is not TanhNormal.widened
        return self.continuous is None or mine is TanhNormal or says

    def widened(self, std):
        """The same policy with noise of `std` [..., 1] added to raw actions; the policy itself unless it `widens`."""
        if self.continuous is None or not self.widens:
            return self
        return ActionDistribution(self.spec, self.continuous.widened(std), self.logits, self.mask)

    def greedy(self, columns):
        """The same continuous part with, in each branch, the legal choice whose column [..., C] is largest."""
        if self.logits is None:
            return self
        legal = columns if self.mask is None else tf.where(self.mask, columns, -float("inf"))
        best = one_hot(self._branchwise_argmax(legal), self.spec)
        return ActionDistribution(self.spec, self.continuous, tf.where(best > 0, 0.0, ILLEGAL), self.mask)

    def column_probs(self, like):
        """Probability of each critic column [..., C]; 1 for the single column of a purely continuous policy."""
        return tf.ones_like(like[..., :1]) if self.logits is None else self.probs

    def discrete_entropy(self, like):
        """Entropy of the discrete part, summed over branches [...]; illegal choices add exact zeros."""
        if self.logits is None:
            return tf.zeros_like(like[..., 0])
        return -tf.reduce_sum(tf.math.multiply_no_nan(self.log_probs, self.probs), axis=-1)

    def discrete_log_prob(self, one_hot):
        """Log-probability of the choices in `one_hot` [..., C] -> [...]."""
        if self.logits is None:
            return tf.zeros_like(one_hot[..., 0])
        return tf.reduce_sum(tf.math.multiply_no_nan(self.log_probs, one_hot), axis=-1)

    def continuous_log_prob(self, raw):
        """Log-density of the continuous part [..., A] -> [...]."""
        return tf.reduce_sum(self.continuous_log_probs(raw), axis=-1)

    def continuous_log_probs(self, raw):
        """Log-density of each continuous action [..., A] -> [..., A]."""
        return tf.zeros_like(raw) if self.continuous is None else self.continuous.log_probs(raw)

    def raw_from_noise(self, normal):
        """Raw continuous action made of standard-normal noise [..., A]."""
        return normal if self.continuous is None else self.continuous.from_noise(normal)

    def raw_mode(self, like):
        """Raw continuous action of the deterministic policy, shaped like `like` [..., A]."""
        return like if self.continuous is None else self.continuous.mode()

    def choices(self, gumbel):
        """A sample [..., branches] from Gumbel noise [..., C]; the most probable choices where the noise is zero."""
        if self.logits is None:
            return tf.zeros((*gumbel.shape[:-1], 0), tf.int32)
        return self._branchwise_argmax(self.log_probs + gumbel)

    def _branchwise_argmax(self, columns):
        """[..., C] -> [..., branches]."""
        scores = tf.split(columns, list(self.spec.branches), axis=-1)
        return tf.stack([tf.argmax(s, axis=-1, output_type=tf.int32) for s in scores], axis=-1)


def one_hot(discrete, spec):
    """Choices [..., branches] as critic columns [..., C]; a single column of ones without discrete actions."""
    if not spec.branches:
        return tf.ones(tf.concat([tf.shape(discrete)[:-1], [1]], 0))
    return tf.concat([tf.one_hot(discrete[..., i], size) for i, size in enumerate(spec.branches)], axis=-1)
