"""How the discrete part of an action is chosen: by the policy, or by the critics alone.

Both classes are used as they are, without instances.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from sac.backend import Tensor, tf
from sac.ops.soft_value import random_subset


class DiscretePolicy(Protocol):
    """What is needed of a policy's distribution; sac.nets.action_distribution.ActionDistribution is one."""

    def discrete_log_prob(self, one_hot: Tensor) -> Tensor:
        """log pi of the choices in `one_hot` [..., C] -> [...]."""

    def greedy(self, columns: Tensor) -> Self:
        """The distribution that takes, in each branch, the legal choice whose column [..., C] is largest."""


Policy = TypeVar("Policy", bound=DiscretePolicy)


class ByPolicy:
    """A softmax policy per branch, as in discrete SAC (arXiv:1910.07207)."""

    trained = True  # there is a discrete policy with an entropy and a temperature

    @staticmethod
    def decide(pi: Policy, q: Tensor, size: int, seed: Tensor) -> Policy:
        """The distribution of actions; `q` [E, ..., C] are the critics' columns for its continuous action."""
        return pi

    @staticmethod
    def log_prob(pi: DiscretePolicy, one_hot: Tensor) -> Tensor:
        """log pi of stored choices [..., C] -> [...], as it enters ratios and soft rewards."""
        return pi.discrete_log_prob(one_hot)

    @staticmethod
    def behaviour_log_prob(log_prob: Tensor) -> Tensor:
        """log mu of stored actions, continuous and discrete part [..., 2] -> [...], as it enters ratios."""
        return tf.reduce_sum(log_prob, axis=-1)

    @staticmethod
    def prefers(explore: Tensor) -> Tensor:
        """Whether an agent chooses among candidates by novelty: explore [k] bool -> [k] bool."""
        return tf.ones_like(explore)


class ByCritic:
    """The choice with the largest Q, as in DQN: no discrete policy, entropy or ratio (`discrete_dqn_like`)."""

    trained = False

    @staticmethod
    def decide(pi: Policy, q: Tensor, size: int, seed: Tensor) -> Policy:
        """Argmax in each branch of the mean over a fresh random subset of `size` critics."""
        chosen = random_subset(q.shape[0], size, seed)
        return pi.greedy(tf.stop_gradient(tf.reduce_mean(tf.gather(q, chosen), axis=0)))

    @staticmethod
    def log_prob(pi: DiscretePolicy, one_hot: Tensor) -> Tensor:
        """Zeros: the choice has no probability that could enter a ratio."""
        return tf.zeros_like(one_hot[..., 0])

    @staticmethod
    def behaviour_log_prob(log_prob: Tensor) -> Tensor:
        """log mu of the continuous part alone [..., 2] -> [...]."""
        return log_prob[..., 0]

    @staticmethod
    def prefers(explore: Tensor) -> Tensor:
        """Novelty replaces the uniform exploratory choice and nothing else: explore [k] -> [k]."""
        return explore


DiscreteChoice = type[ByPolicy] | type[ByCritic]
