"""What the critics are drawn to: soft n-step returns of windows."""

from __future__ import annotations

from sac.agent.hyperparameters import Hyperparameters
from sac.agent.rng import FOR_CHOICE, FOR_TARGET, RngStreams
from sac.agent.temperature import Temperatures
from sac.backend import tf
from sac.nets.contract import Networks
from sac.ops import losses, returns, soft_value
from sac.types import Batch


class Targets:
    """V-trace (arXiv:1802.01561) or Retrace (arXiv:1606.02647) of soft values, by the target networks."""

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, choice, scale, temperatures: Temperatures, rng: RngStreams
    ):
        self.nets, self.spec, self.hyper, self.choice, self.scale = networks, networks.spec, hyper, choice, scale
        self.temperatures, self.rng = temperatures, rng

    def __call__(self, batch: Batch, z, z_target, action, taken):
        """Targets of Q [B, m] and the mean clipped ratio pi / mu. Values belong to the states 1 ... T."""
        h = self.hyper
        pi = self.nets.policy(z[:, 1:]).masked(batch.mask[:, 1:])
        alpha_c, alpha_d = self._alphas()
        q, bonus = self._next(pi, z_target[:, 1:], batch.reward.shape, alpha_c, alpha_d)

        # What was done in the states 1 ... T - 1; the last state's action is not in the window: its row is cut off.
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
        }  # fmt: skip
        if h.trace == "retrace":
            target = returns.retrace(stored_q=self._stored(z_target[:, 1:-1], action[:, 1:], taken[:, 1:]), **window)
        else:
            target = returns.vtrace(soft_reward=soft_reward, rho_cap=h.v_rho, **window)
        return self.scale.squash(target), ratio

    def _alphas(self) -> list:
        """Both temperatures as the targets see them: zero where entropy shall add nothing to Q."""
        alphas = self.temperatures.alphas()
        return [x if counts else tf.zeros_like(x) for x, counts in zip(alphas, self.hyper.entropy_in_target)]

    def _next(self, pi, z, lead, alpha_c, alpha_d):
        """E[Q] of fresh actions in later states, and the entropy bonus there: [B, T] each."""
        raw, log_pi_c = self.rng.action(pi, lead, FOR_TARGET)
        q = self.nets.target_q(z, tf.tanh(raw))
        chosen = self.choice.decide(pi, q, self.hyper.ensemble_q_sample, self.rng.seed(FOR_CHOICE))
        probs, entropy_d = chosen.column_probs(raw), chosen.discrete_entropy(raw)
        q = self.scale.unsquash(self.rng.subset(q, FOR_TARGET))
        bonus = soft_value.entropy_bonus(log_pi_c, entropy_d, alpha_c, alpha_d)
        return soft_value.expected_q(q, probs, len(self.spec.branches)), bonus

    def _stored(self, z, action, taken):
        """Q of what was done in later states [B, T - 1]."""
        q = self.scale.unsquash(self.rng.subset(self.nets.target_q(z, action), FOR_TARGET))
        return tf.reduce_min(soft_value.chosen_q(q, taken), axis=0)
