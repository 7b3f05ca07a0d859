"""The targets of the critics: soft n-step returns of windows."""

from __future__ import annotations

from collections.abc import Sequence

from sac.agent.hyperparameters import Hyperparameters
from sac.agent.rng import RngStreams, Stream
from sac.agent.temperature import Temperatures
from sac.backend import Tensor, tf
from sac.nets.action_distribution import ActionDistribution
from sac.nets.contract import Networks
from sac.ops import losses, returns, soft_value
from sac.ops.discrete_choice import DiscreteChoice
from sac.ops.value_scale import Plain
from sac.types import Batch


class Targets:
    """V-trace (arXiv:1802.01561) or Retrace (arXiv:1606.02647) of soft values, by the target networks."""

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, choice: DiscreteChoice, scale: type[Plain],
        temperatures: Temperatures, rng: RngStreams,
    ):  # fmt: skip
        self.nets, self.spec, self.hyper, self.choice, self.scale = networks, networks.spec, hyper, choice, scale
        self.temperatures, self.rng = temperatures, rng

    def __call__(
        self, batch: Batch, z: Tensor, z_target: Tensor, action: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets of Q [B, m] and the mean clipped ratio pi / mu [].

        z, z_target [B, T + 1, F] are the features of all states, action [B, T, A] and taken [B, T, C] what was done
        there. Values are computed for the states 1 ... T.
        """
        h = self.hyper
        pi = self.nets.policy(z[:, 1:]).masked(batch.mask[:, 1:])
        alpha_c, alpha_d = self._alphas()
        q, bonus = self._next(pi, z_target[:, 1:], batch.reward.shape, alpha_c, alpha_d)

        # Actions of the states 1 ... T - 1. A window holds none for its last state: zeros stand in, then are cut off.
        done_c, done_d = (tf.pad(x[:, 1:], [[0, 0], [0, 1], [0, 0]]) for x in (batch.raw_action, taken))
        log_c, log_d = pi.continuous_log_prob(done_c)[:, :-1], self.choice.log_prob(pi, done_d)[:, :-1]
        log_ratio = log_c + log_d - self.choice.behaviour_log_prob(batch.log_prob[:, 1:])
        ratio = losses.masked_mean(returns.clipped_ratio(log_ratio, 1.0), batch.valid[:, 1:])
        soft_reward = -alpha_c * log_c - alpha_d * log_d
        if not h.use_n_step_is:
            log_ratio, soft_reward = tf.zeros_like(log_ratio), bonus[:, :-1]
        window = {
            "reward": batch.reward, "discount": batch.discount, "valid": batch.valid, "value": q + bonus,
            "log_ratio": log_ratio, "n": h.n_step, "gamma": h.gamma, "lam": h.v_lambda, "c_cap": h.v_c,
            "present_n": h.present_n_step,
        }  # fmt: skip
        if h.trace == "retrace":
            target = returns.retrace(stored_q=self._stored(z_target[:, 1:-1], action[:, 1:], taken[:, 1:]), **window)
        else:
            target = returns.vtrace(soft_reward=soft_reward, rho_cap=h.v_rho, **window)
        return self.scale.squash(target), ratio

    def _alphas(self) -> list[Tensor]:
        """Both temperatures, with zero in place of one whose entropy the targets do not contain."""
        alphas = self.temperatures.alphas()
        return [x if counts else tf.zeros_like(x) for x, counts in zip(alphas, self.hyper.entropy_in_target)]

    def _next(
        self, pi: ActionDistribution, z: Tensor, lead: Sequence[int], alpha_c: Tensor, alpha_d: Tensor
    ) -> tuple[Tensor, Tensor]:
        """E[Q] of fresh actions in later states, and the entropy bonus there: [B, T] each."""
        raw, log_pi_c = self.rng.action(pi, lead, Stream.TARGET_ACTION)
        q = self.nets.target_q(z, tf.tanh(raw))
        chosen = self.choice.decide(pi, q, self.hyper.ensemble_q_sample, self.rng.seed(Stream.TARGET_CHOICE))
        probs, entropy_d = chosen.column_probs(raw), chosen.discrete_entropy(raw)
        q = self.scale.unsquash(self.rng.subset(q, Stream.TARGET_SUBSET))
        bonus = soft_value.entropy_bonus(log_pi_c, entropy_d, alpha_c, alpha_d)
        return soft_value.expected_q(q, probs, len(self.spec.branches)), bonus

    def _stored(self, z: Tensor, action: Tensor, taken: Tensor) -> Tensor:
        """Q of the stored actions in later states [B, T - 1]."""
        q = self.scale.unsquash(self.rng.subset(self.nets.target_q(z, action), Stream.TARGET_SUBSET))
        return tf.reduce_min(soft_value.chosen_q(q, taken), axis=0)
