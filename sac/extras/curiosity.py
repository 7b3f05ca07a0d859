"""Curiosity: a reward for what the agent cannot predict (ICM, Pathak et al., arXiv:1705.05363)."""

from __future__ import annotations

from sac.backend import Tensor, keras, tf
from sac.extras.extra import Extra, Window, probes, without_padding
from sac.nets.contract import Builder
from sac.nets.mlp import MLP
from sac.ops.losses import masked_mean
from sac.types import Spec

ENCODER_HIDDEN_UNITS = (128,)  # of each hidden layer
FEATURE_WIDTH = 32  # of phi


def forward_error(predicted: Tensor, found: Tensor) -> Tensor:
    """Half the squared distance to the next features, arXiv:1705.05363, eq. (5) and (6). [..., F] twice -> [...]."""
    return 0.5 * tf.reduce_sum(tf.square(predicted - found), axis=-1)


def inverse_error(predicted: Tensor, action: Tensor, spec: Spec) -> Tensor:
    """The error of a predicted action, arXiv:1705.05363, equation (3). [..., A + choices] twice -> [...].

    Mean squared error of the continuous part plus the cross-entropy of every branch.
    """
    widths = [spec.continuous, *spec.branches]
    (guess, *logits), (done, *chosen) = (tf.split(x, widths, axis=-1) for x in (predicted, action))
    error = tf.reduce_sum(tf.square(guess - done), axis=-1) / max(1, spec.continuous)
    for x, one_hot in zip(logits, chosen):
        error -= tf.reduce_sum(one_hot * tf.nn.log_softmax(x), axis=-1)
    return error


class Curiosity(Extra):
    """The forward model's error as a reward, on features phi(z) that an inverse model finds, or (no `inverse`) on z.

    Both models see the target representation, and no gradient reaches it. The inverse loss alone trains phi, because
    the forward loss is smallest for features that never change (Burda et al., arXiv:1808.04355, section 2.1).
    """

    name = "curiosity"

    def __init__(self, build: Builder, spec: Spec, strength: float, inverse: bool):
        self.spec, self.strength = spec, strength
        self.loss_names = ("forward", "inverse") if inverse else ("forward",)
        self.encoder = MLP(ENCODER_HIDDEN_UNITS, FEATURE_WIDTH) if inverse else None
        if self.encoder is not None:
            for _, (z,) in probes(spec.feature):
                self.encoder(z)
            spec = spec.with_feature(FEATURE_WIDTH)
        self.forward = build.make("ModelForward", spec)
        self.inverse = build.make("ModelInverse", spec) if inverse else None
        for lead, (phi, action) in probes(spec.feature, spec.action_size):
            found = build.call("ModelForward", self.forward, phi, action)
            build.expect("ModelForward", "the next features", found, (*lead, spec.feature))
            if self.inverse is not None:
                found = build.call("ModelInverse", self.inverse, phi, phi)
                build.expect("ModelInverse", "actions", found, (*lead, spec.action_size))

    def layers(self) -> dict[str, keras.layers.Layer]:
        named = {"encoder": self.encoder, "forward": self.forward, "inverse": self.inverse}
        return {name: layer for name, layer in named.items() if layer is not None}

    def bonus(self, window: Window) -> Tensor:
        """strength / 2 * ||f(phi, a) - phi'||^2 [B, T], arXiv:1705.05363, equation (6); 0 on rows without an action."""
        window = without_padding(window)
        return self.strength * window.valid * self._surprise(self._features(window), window.action)

    def losses(self, window: Window) -> dict[str, Tensor]:
        window = without_padding(window)
        phi = self._features(window)
        found = {"forward": masked_mean(self._surprise(phi, window.action), window.valid)}
        if self.inverse is not None:
            guess = self.inverse(phi[:, :-1], phi[:, 1:])
            found["inverse"] = masked_mean(inverse_error(guess, window.action, self.spec), window.valid)
        return found

    def _features(self, window: Window) -> Tensor:
        """phi of all T + 1 states [B, T + 1, features]."""
        z = tf.stop_gradient(window.z_target)
        return z if self.encoder is None else self.encoder(z)

    def _surprise(self, phi: Tensor, action: Tensor) -> Tensor:
        """The forward model's error of each step [B, T]."""
        phi = tf.stop_gradient(phi)
        return forward_error(self.forward(phi[:, :-1], action), phi[:, 1:])
