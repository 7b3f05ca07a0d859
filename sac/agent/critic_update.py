"""The critics' step of an update: soft Bellman residual, arXiv:1812.05905, equations (5) and (6)."""

from __future__ import annotations

from typing import NamedTuple

from sac.agent.encoding import Encoded, Encoder
from sac.agent.hyperparameters import Hyperparameters
from sac.agent.optimizers import Trained
from sac.agent.targets import Targets
from sac.backend import Tensor, tf
from sac.extras.extra import Extras
from sac.nets.contract import Networks
from sac.ops import losses
from sac.ops.gradient_gate import gradients
from sac.types import Batch


class CriticStep(NamedTuple):
    """Results of the critics' step that the rest of the update needs."""

    encoded: Encoded
    td_error: Tensor  # [B, m]
    metrics: dict[str, Tensor]


class CriticUpdate:
    """One gradient step of the critics with the representation, and of the extras' own networks.

    `trained` holds the optimizer and the weights of "critic" and of each "extra_<name>".
    """

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, encoder: Encoder, targets: Targets, extras: Extras,
        trained: dict[str, Trained],
    ):  # fmt: skip
        self.nets, self.spec, self.hyper, self.encoder = networks, networks.spec, hyper, encoder
        self.targets, self.extras, self.trained = targets, extras, trained

    def __call__(self, windows: Batch) -> CriticStep:
        """Takes the step on windows [B, b + T, ...] whose observations are as networks see them."""
        encoded = self.encoder.encode(windows)
        batch, valid, q = encoded.batch, encoded.valid, self.encoder.q(encoded)
        extra_losses = self.extras.losses(encoded.window)
        bonuses, target, ratio = self.rewarded_targets(encoded)
        clip_centre = self.encoder.target_q(encoded)  # XLA removes it unless clip_epsilon > 0
        # A purely discrete critic is never clipped.
        clip_epsilon = self.hyper.clip_epsilon if self.spec.continuous else -1.0
        loss = losses.critic(q, tf.stop_gradient(target), clip_centre, batch.weight, valid, clip_epsilon)
        td_error = losses.td_error(q, target)
        metrics = {
            "critic/loss": loss,
            "critic/q": losses.masked_mean(tf.reduce_mean(q, 0), valid),
            "critic/target": losses.masked_mean(target, valid),
            "critic/td_error": losses.masked_mean(td_error, valid),
            **self.extras.metrics(extra_losses, bonuses, batch.valid),
        }
        if self.hyper.steps > 1:
            metrics["policy/ratio"] = ratio
        if self.nets.normalizer.names:
            metrics["normalizer/clipped"] = self.nets.normalizer.clipped(windows.obs)
        if self.nets.state_size:
            metrics["recurrent/delta_q"] = self.encoder.delta_q(encoded)  # by the weights before this step
        self._apply_gradients(loss, extra_losses)
        return CriticStep(encoded, td_error, metrics)

    def _apply_gradients(self, loss: Tensor, extra_losses: list[dict]) -> None:
        """An extra's loss changes the representation only where it does not work against the critics."""
        optimizer, weights = self.trained["critic"]
        critic_grads = gradients(loss, weights)
        shared = len(self.nets.rep.trainable_weights)
        extra_grads, rep_grads = self.extras.gradients(extra_losses, weights[:shared], critic_grads[:shared])
        optimizer.apply([*rep_grads, *critic_grads[shared:]], weights)
        for part, grads in zip(self.extras.parts, extra_grads):
            optimizer, weights = self.trained[f"extra_{part.name}"]
            optimizer.apply(grads, weights)

    def rewarded_targets(self, encoded: Encoded) -> tuple[list[Tensor], Tensor, Tensor]:
        """The extras' rewards [B, T] each, the targets of Q that include them [B, m], and the mean ratio pi / mu []."""
        batch, bonuses = encoded.batch, self.extras.bonuses(encoded.window)
        batch = batch._replace(reward=sum((b * batch.valid for b in bonuses), batch.reward))
        return bonuses, *self.targets(batch, encoded.z, encoded.z_target, encoded.action, encoded.taken)
