"""The policy's step of an update: expected soft value of fresh actions, arXiv:1812.05905, equations (7) to (9)."""

from __future__ import annotations

from typing import NamedTuple

from sac.agent.cloning import Cloning
from sac.agent.encoding import TrainedStates
from sac.agent.hyperparameters import Hyperparameters
from sac.agent.optimizers import Trained
from sac.agent.rng import RngStreams, Stream
from sac.agent.temperature import Temperatures
from sac.backend import Tensor, tf
from sac.nets.action_distribution import ActionDistribution
from sac.nets.contract import Networks
from sac.ops import losses, soft_value
from sac.ops.discrete_choice import DiscreteChoice
from sac.ops.gradient_gate import gradients
from sac.ops.value_scale import Plain

SATURATED_ABS_ACTION = 0.99  # a continuous action, in [-1, 1], counts as saturated beyond this


class PolicyStep(NamedTuple):
    """Results of the policy's step."""

    entropies: tuple[Tensor, Tensor]  # of the continuous and of the discrete part, [B, m] each
    metrics: dict[str, Tensor]


class PolicyUpdate:
    """One gradient step of the policy; it does not train the representation."""

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, choice: DiscreteChoice, scale: type[Plain],
        temperatures: Temperatures, rng: RngStreams, cloning: Cloning, trained: Trained,
    ):  # fmt: skip
        self.nets, self.spec, self.hyper, self.choice, self.scale = networks, networks.spec, hyper, choice, scale
        self.temperatures, self.rng, self.cloning, self.trained = temperatures, rng, cloning, trained

    def __call__(self, states: TrainedStates) -> PolicyStep:
        """Takes the step on fresh actions in these states."""
        z, z_target, mask, valid = states.z, states.z_target, states.mask, states.valid
        alpha_c, alpha_d = self.temperatures.alphas()
        optimizer, weights = self.trained
        pi = self.nets.policy(z).masked(mask)
        raw, log_pi_c = self.rng.action(pi, valid.shape, Stream.POLICY_ACTION)
        q = self.nets.q(z, tf.tanh(raw))
        chosen = self.choice.decide(pi, q, self.hyper.ensemble_q_sample, self.rng.seed(Stream.POLICY_CHOICE))
        entropy_d = chosen.discrete_entropy(raw)
        q = self.scale.unsquash(self.rng.subset(q, Stream.POLICY_SUBSET))
        value = soft_value.expected_q(q, chosen.column_probs(raw), len(self.spec.branches))
        held = self._held_log_prob(pi, raw, log_pi_c, z_target)
        bonus = soft_value.entropy_bonus(held, entropy_d, alpha_c, alpha_d)
        loss = -losses.masked_mean(value + bonus, valid)
        cloning, cloning_metrics = self.cloning(pi, states)
        loss += cloning
        optimizer.apply(gradients(loss, weights), weights)
        metrics = {"policy/loss": loss, **cloning_metrics}
        if self.spec.continuous:
            saturated = tf.cast(tf.abs(tf.tanh(raw)) > SATURATED_ABS_ACTION, tf.float32)
            metrics["policy/saturated"] = losses.masked_mean(tf.reduce_mean(saturated, axis=-1), valid)
        return PolicyStep((-log_pi_c, entropy_d), metrics)

    def _held_log_prob(self, pi: ActionDistribution, raw: Tensor, log_pi_c: Tensor, z_target: Tensor) -> Tensor:
        """log pi of fresh actions [B, m], held near that of the slow policy if there is one (`clip_epsilon_policy`)."""
        if self.nets.slow_policy is None:
            return log_pi_c
        slow = self.nets.slow_policy(z_target).continuous_log_probs(raw)
        return losses.held_log_prob(pi.continuous_log_probs(raw), slow, self.hyper.clip_epsilon_policy)
