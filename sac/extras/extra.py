"""What an optional part of the agent may do, and all of an agent's parts as one.

An extra is one file in this folder: a subclass of `Extra` that overrides what it needs. Everything left alone is
neutral: no bonus, no loss, no preference. The agent knows only `Extras`, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sac.backend import tf
from sac.ops.gradient_gate import aligned, gradients


class Window(NamedTuple):
    """The trained part of B windows as extras see it: T steps, T + 1 states, no burn-in."""

    obs: dict  # {sensor: [B, T + 1, ...]} float32 as networks see them, sensors of spec.extra included
    z: tf.Tensor  # [B, T + 1, F] of the online representation; a loss on it may train the representation
    z_target: tf.Tensor  # [B, T + 1, F] of the target representation
    action: tf.Tensor  # [B, T, A + choices]: continuous in [-1, 1], every discrete choice as one-hot
    reward: tf.Tensor  # [B, T] of the environment
    valid: tf.Tensor  # [B, T]: 1 where an action was taken; the next state then belongs to the same episode
    seed: tf.Tensor  # [2] int32: this update's own seed for stateless random numbers


class Extra:
    """An optional part: an intrinsic reward, auxiliary losses, a preference among candidate actions."""

    name = ""  # the area of its metrics
    loss_names: tuple[str, ...] = ()  # keys of `losses`
    candidates = 1  # actions among which it wants to choose while collecting

    def layers(self) -> dict:
        """{name: Keras layer} of everything that must survive in a checkpoint, frozen networks included."""
        return {}

    @property
    def trained(self) -> list:
        """Weights that its losses train, with an optimizer of their own."""
        return [w for layer in self.layers().values() for w in layer.trainable_weights]

    def bonus(self, window: Window):
        """Intrinsic reward of each step [B, T]; no gradient passes through it."""
        return tf.zeros_like(window.reward)

    def losses(self, window: Window) -> dict:
        """{name: scalar}, averaged over valid steps. Running statistics are moved here, not in `bonus`."""
        return {}

    def preference(self, z, action):
        """How much each candidate is liked: logits [..., n] from z [..., n, F] and action [..., n, A + choices]."""
        return tf.zeros(z.shape[:-1])

    def pictures(self, window: Window) -> dict:
        """{name: pictures [k, H, W, channels] in [0, 1]} worth looking at."""
        return {}


class Extras:
    """The extras of one agent, summed."""

    def __init__(self, parts: Sequence[Extra] = ()):
        self.parts = tuple(parts)
        self.candidates = max((e.candidates for e in self.parts), default=1)
        self.metric_names = [f"{e.name}/{name}" for e in self.parts for name in (*e.loss_names, "bonus")]

    def layers(self) -> dict:
        return {f"{e.name}_{name}": layer for e in self.parts for name, layer in e.layers().items()}

    def bonuses(self, window: Window) -> list:
        """Each part's intrinsic reward [B, T]."""
        return [tf.stop_gradient(e.bonus(window)) for e in self.parts]

    def losses(self, window: Window) -> list[dict]:
        """Each part's losses."""
        return [e.losses(window) for e in self.parts]

    def preference(self, z, action):
        """Log-probabilities of the candidates [..., n]."""
        return tf.nn.log_softmax(sum((e.preference(z, action) for e in self.parts), tf.zeros(z.shape[:-1])))

    def pictures(self, window: Window) -> dict:
        return {f"{e.name}/{name}": x for e in self.parts for name, x in e.pictures(window).items()}

    def gradients(self, tape, losses: list[dict], shared: list, guide: list):
        """Of each part's own weights [parts], and `guide` (the critics' gradient of the `shared` weights) plus each
        loss's gradient of them, as far as it does not work against the critics."""
        own, summed = [], list(guide)
        for part, named in zip(self.parts, losses):
            mine = [tf.zeros_like(w) for w in part.trained]
            for loss in named.values():
                found = gradients(tape, loss, [*part.trained, *shared])
                mine = [a + b for a, b in zip(mine, found)]
                summed = [a + b for a, b in zip(summed, aligned(found[len(mine) :], guide))]
            own.append(mine)
        return own, summed
