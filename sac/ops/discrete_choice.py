"""Who decides the discrete part of an action: the policy, or the critics alone."""

from __future__ import annotations

from sac.backend import tf
from sac.ops.soft_value import random_subset


class ByPolicy:
    """A softmax policy per branch, as in discrete SAC (arXiv:1910.07207)."""

    trained = True  # there is a discrete policy with an entropy and a temperature

    @staticmethod
    def decide(pi, q, size: int, seed):
        """The distribution of actions; `q` [E, ..., C] are the critics' columns for its continuous action."""
        return pi

    @staticmethod
    def log_prob(pi, one_hot):
        """log pi of stored choices [..., C] -> [...], as it enters ratios and soft rewards."""
        return pi.discrete_log_prob(one_hot)

    @staticmethod
    def behaviour_log_prob(log_prob):
        """log mu of stored actions [..., 2] -> [...], as it enters ratios."""
        return tf.reduce_sum(log_prob, axis=-1)

    @staticmethod
    def prefers(explore):
        """Where candidates are chosen by novelty [k]."""
        return tf.ones_like(explore)


class ByCritic:
    """The choice with the largest Q, as in DQN: no discrete policy, entropy or ratio (`discrete_dqn_like`)."""

    trained = False

    @staticmethod
    def decide(pi, q, size: int, seed):
        """Argmax in each branch of the mean over a fresh random subset of `size` nets."""
        chosen = random_subset(q.shape[0], size, seed)
        return pi.greedy(tf.stop_gradient(tf.reduce_mean(tf.gather(q, chosen), axis=0)))

    @staticmethod
    def log_prob(pi, one_hot):
        return tf.zeros_like(one_hot[..., 0])

    @staticmethod
    def behaviour_log_prob(log_prob):
        return log_prob[..., 0]

    @staticmethod
    def prefers(explore):
        return explore  # novelty replaces the uniform exploratory draw and nothing else
