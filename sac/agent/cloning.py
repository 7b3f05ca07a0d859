"""Behavioural cloning: the likelihood of demonstrated actions in the policy's loss."""

from __future__ import annotations

import math

from sac.agent.encoding import TrainedStates
from sac.agent.hyperparameters import Hyperparameters
from sac.backend import Tensor, keras, tf
from sac.nets.action_distribution import ActionDistribution
from sac.ops import losses
from sac.ops.discrete_choice import DiscreteChoice
from sac.types import loaded_windows

MAX_RAW_ACTION = math.atanh(0.99)  # of a demonstration: the likelihood of an action at its bound has no maximum


class Cloning:
    """Adds -w log pi(a|s) of the loaded windows to the policy's loss (Nair et al., arXiv:1709.10089, section IV.B).

    The loaded windows are the first ones of a batch. w falls to 0 within `behavioral_cloning_updates` updates.
    """

    def __init__(self, hyper: Hyperparameters, choice: DiscreteChoice, share: float, updates: keras.Variable):
        self.weight, self.within = hyper.behavioral_cloning, hyper.behavioral_cloning_updates
        self.choice, self.share, self.updates = choice, share, updates
        self.metric_names = ["policy/cloning"] * (self.weight > 0)

    def __call__(self, pi: ActionDistribution, states: TrainedStates) -> tuple[Tensor | float, dict[str, Tensor]]:
        """The loss [] and its metrics: -log pi of the demonstrated actions, without the weight."""
        if self.weight == 0:
            return 0.0, {}
        raw = tf.clip_by_value(states.raw_action, -MAX_RAW_ACTION, MAX_RAW_ACTION)
        log_pi = pi.continuous_log_prob(raw)
        if self.choice.trained:
            log_pi += pi.discrete_log_prob(states.taken)
        n = loaded_windows(self.share, states.valid.shape[0])
        loss = -losses.masked_mean(log_pi[:n], states.valid[:n])
        left = 1.0
        if self.within is not None:
            left = tf.maximum(0.0, 1 - tf.cast(tf.convert_to_tensor(self.updates), tf.float32) / self.within)
        return self.weight * left * loss, {"policy/cloning": loss}
