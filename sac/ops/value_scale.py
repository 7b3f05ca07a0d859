"""The unit in which critics keep their values: that of the reward, or a rescaled one."""

from __future__ import annotations

from sac.backend import Tensor, tf

LINEAR_TERM = 1e-3  # epsilon of h: the slope that remains for large returns, so that h has an inverse


class Plain:
    """Critics keep values in units of reward."""

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        """The same numbers [...]."""
        return x

    @staticmethod
    def unsquash(x: Tensor) -> Tensor:
        """The same numbers [...]."""
        return x


class Rescaled(Plain):
    """h(x) = sign(x)(sqrt(|x| + 1) - 1) + eps x and its inverse: large returns in small numbers.

    Pohlen et al., arXiv:1805.11593, proposition A.2; as in R2D2.
    """

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        """h: units of reward -> units of the critics [...]."""
        return tf.sign(x) * (tf.sqrt(tf.abs(x) + 1) - 1) + LINEAR_TERM * x

    @staticmethod
    def unsquash(x: Tensor) -> Tensor:
        """The inverse of h: units of the critics -> units of reward [...]."""
        root = tf.sqrt(1 + 4 * LINEAR_TERM * (tf.abs(x) + 1 + LINEAR_TERM))
        # (root - 1) / 2 eps without the difference of nearly equal numbers
        return tf.sign(x) * (tf.square(2 * (tf.abs(x) + 1 + LINEAR_TERM) / (root + 1)) - 1)
