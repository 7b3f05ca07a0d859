"""Prediction: the representation must also predict the next state, the reward and the observation."""

from __future__ import annotations

import math

from sac import backend
from sac.backend import Tensor, keras, tf
from sac.errors import UserError
from sac.extras.extra import Extra, Window, probes, real_states, without_padding
from sac.nets.contract import Builder
from sac.nets.mlp import flat_concat
from sac.ops.losses import masked_mean
from sac.types import Spec

MAX_PICTURED_STATES = 4


def transition_loss(p: backend.tfd.Normal, found: Tensor, kl: float) -> Tensor:
    """-log p(found) + kl * KL(p || N(0, 1)) for a tfd.Normal p [..., F] -> [...].

    Both terms are means over the F features, so the loss and `kl` do not depend on their number.
    """
    surprise = -p.log_prob(tf.stop_gradient(found))
    return tf.reduce_mean(surprise + kl * backend.tfd.kl_divergence(p, backend.tfd.Normal(0.0, 1.0)), axis=-1)


def reconstruction_error(made: dict[str, Tensor], found: dict[str, Tensor]) -> Tensor:
    """Mean squared error of each sensor, summed over sensors: a picture counts as much as a vector.

    {sensor: [B, T + 1, *shape]} twice -> [B, T + 1].
    """
    errors = [tf.square(made[name] - found[name]) for name in made]
    return sum(tf.reduce_mean(x, axis=list(range(2, len(x.shape)))) for x in errors)


class Prediction(Extra):
    """Models of transition, reward and observation on the online representation, which their losses also train.

    With `use_extra_data` the transition model sees z and, concatenated to it, the flattened sensors of `spec.extra`.
    """

    name = "prediction"
    loss_names = ("transition", "reward", "observation")

    def __init__(self, build: Builder, spec: Spec, kl: float, use_extra_data: bool):
        self.spec, self.kl = spec, kl
        self.extra = [s for s in spec.sensors if s.name in spec.extra and use_extra_data]
        self.transition = build.make("ModelTransition", spec)
        self.reward = build.make("ModelReward", spec)
        self.observation = build.make("ModelObservation", spec)
        extra = sum(math.prod(s.shape) for s in self.extra)
        for lead, (z, more, action) in probes(spec.feature, extra, spec.action_size):
            p = build.call("ModelTransition", self.transition, tf.concat([z, more], axis=-1), action)
            if not isinstance(p, backend.tfd.Normal):
                where = build.where("ModelTransition")
                raise UserError(f"{where} must return a tfd.Normal, found {type(p).__name__}")
            build.expect("ModelTransition", "a normal distribution", p.mean(), (*lead, spec.feature))
            build.expect("ModelReward", "rewards", build.call("ModelReward", self.reward, z), (*lead, 1))
            self._check_observation(build, lead, build.call("ModelObservation", self.observation, z))

    def _check_observation(self, build: Builder, lead: tuple[int, ...], made: object) -> None:
        names = [s.name for s in self.spec.seen]
        if not isinstance(made, dict) or set(made) != set(names):
            found = sorted(made) if isinstance(made, dict) else type(made).__name__
            where = build.where("ModelObservation")
            raise UserError(f"{where} must return a dict with the sensors {names}, found {found}")
        for sensor in self.spec.seen:
            build.expect("ModelObservation", f"sensor {sensor.name!r}", made[sensor.name], (*lead, *sensor.shape))

    def layers(self) -> dict[str, keras.layers.Layer]:
        return {"transition": self.transition, "reward": self.reward, "observation": self.observation}

    def losses(self, window: Window) -> dict[str, Tensor]:
        window = without_padding(window)
        z, valid = window.z, window.valid
        p = self.transition(self._transition_input(window), window.action)
        reward = tf.squeeze(self.reward(z[:, 1:]), axis=-1)
        error = reconstruction_error(self.observation(z), window.obs)
        return {
            "transition": masked_mean(transition_loss(p, window.z_target[:, 1:], self.kl), valid),
            "reward": masked_mean(tf.square(reward - window.reward), valid),
            "observation": masked_mean(error, real_states(valid)),
        }

    def _transition_input(self, window: Window) -> Tensor:
        """z and the extra sensors of the states in which an action was taken [B, T, F + extra]."""
        seen = [window.obs[s.name][:, :-1] for s in self.extra]
        return flat_concat([window.z[:, :-1], *(tf.reshape(x, (*x.shape[:2], math.prod(x.shape[2:]))) for x in seen)])

    def pictures(self, window: Window) -> dict[str, Tensor]:
        """Each image of the first windows' first state, above its reconstruction [4, 2 H, W, 1 or 3]."""
        images = [s for s in self.spec.seen if s.is_image]
        made = self.observation(window.z[:MAX_PICTURED_STATES, 0]) if images else {}
        pairs = {s.name: tf.concat([window.obs[s.name][:MAX_PICTURED_STATES, 0], made[s.name]], axis=1) for s in images}
        return {name: tf.clip_by_value(x[..., : 3 if x.shape[-1] >= 3 else 1], 0.0, 1.0) for name, x in pairs.items()}
