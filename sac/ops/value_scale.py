"""In which unit critics keep their values: that of the reward, or squashed."""

from __future__ import annotations

from sac.backend import tf

EPSILON = 1e-3


class Plain:
    """Critics speak in units of reward."""

    @staticmethod
    def squash(x):
        return x

    @staticmethod
    def unsquash(x):
        return x


class Rescaled(Plain):
    """h(x) = sign(x)(sqrt(|x| + 1) - 1) + eps x and its inverse: large returns in small numbers.

    Pohlen et al., arXiv:1805.11593, proposition A.2; as in R2D2.
    """

    @staticmethod
    def squash(x):
        """Units of reward -> of the critics."""
        return tf.sign(x) * (tf.sqrt(tf.abs(x) + 1) - 1) + EPSILON * x

    @staticmethod
    def unsquash(x):
        """Units of the critics -> of reward."""
        root = tf.sqrt(1 + 4 * EPSILON * (tf.abs(x) + 1 + EPSILON))
        # (root - 1) / 2 eps without the difference of nearly equal numbers
        return tf.sign(x) * (tf.square(2 * (tf.abs(x) + 1 + EPSILON) / (root + 1)) - 1)
