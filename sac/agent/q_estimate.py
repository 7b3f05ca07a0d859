"""What the critics expect of steps that were taken."""

from __future__ import annotations

import numpy as np

from sac.backend import tf
from sac.nets import noisy
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.ops import soft_value
from sac.ops.value_scale import Plain
from sac.types import Step


class QEstimate:
    """Q of each row: the mean over all critics, in units of reward.

    Q contains the later entropy bonuses that the targets contain. Noise in the weights is off. An evaluation calls this
    only a few times, so it is not compiled.
    """

    def __init__(self, networks: Networks, scale: type[Plain]):
        self.nets, self.spec, self.scale = networks, networks.spec, scale

    def __call__(self, rows: Step) -> np.ndarray:
        """Rows of k steps -> Q [k]."""
        with noisy.drawn((0, 0), 0.0):
            z, _ = self.nets.rep(self.nets.observe(rows.obs), rows.previous, rows.state)
            q = self.nets.q(z, tf.tanh(rows.raw_action))
        chosen = soft_value.chosen_q(q, one_hot(rows.discrete, self.spec))
        return tf.reduce_mean(self.scale.unsquash(chosen), axis=0).numpy()
