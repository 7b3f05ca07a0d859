"""What an optional part of the agent may do, all of an agent's parts as one, and what such parts share.

An extra is one file in this folder: a subclass of `Extra` that overrides what it needs. Everything left alone is
neutral: no bonus, no loss, no preference. The agent knows only `Extras`, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sac.backend import Tensor, keras, tf
from sac.nets.contract import PROBE_ROWS, PROBE_STEPS
from sac.ops.gradient_gate import aligned, gradients
from sac.ops.losses import masked_mean


class Window(NamedTuple):
    """The trained part of B windows as extras see it: T steps, T + 1 states, no burn-in."""

    obs: dict  # {sensor: [B, T + 1, ...]} float32 as networks see them, sensors of spec.extra included
    z: Tensor  # [B, T + 1, F] of the online representation; a loss on it may train the representation
    z_target: Tensor  # [B, T + 1, F] of the target representation
    action: Tensor  # [B, T, A + choices]: continuous in [-1, 1], every discrete choice as one-hot
    reward: Tensor  # [B, T] of the environment
    valid: Tensor  # [B, T]: 1 where an action was taken; the next state then belongs to the same episode
    seed: Tensor  # [2] int32: this update's own seed for stateless random numbers


class Extra:
    """An optional part: an intrinsic reward, auxiliary losses, a preference among candidate actions."""

    name = ""  # first half of the names of its metrics, its layers and its optimizer
    loss_names: tuple[str, ...] = ()  # keys of `losses`
    candidates = 1  # number of actions among which it wants to choose while collecting

    def layers(self) -> dict[str, keras.layers.Layer]:
        """{name: layer} of everything that must survive in a checkpoint, frozen networks included."""
        return {}

    @property
    def trained(self) -> list[keras.Variable]:
        """Weights that its losses train, with an optimizer of their own."""
        return [w for layer in self.layers().values() for w in layer.trainable_weights]

    def bonus(self, window: Window) -> Tensor:
        """Intrinsic reward of each step [B, T]; no gradient passes through it."""
        return tf.zeros_like(window.reward)

    def losses(self, window: Window) -> dict[str, Tensor]:
        """{name: loss []} for each of `loss_names`, averaged over valid steps. Running statistics are updated here."""
        return {}

    def preference(self, z: Tensor, action: Tensor) -> Tensor:
        """How much each candidate is liked: logits [..., n] from z [..., n, F] and action [..., n, A + choices]."""
        return tf.zeros(z.shape[:-1])

    def pictures(self, window: Window) -> dict[str, Tensor]:
        """{name: pictures [k, H, W, channels] in [0, 1]} to look at."""
        return {}


class Extras:
    """The extras of one agent: bonuses, losses and preferences of all of them."""

    def __init__(self, parts: Sequence[Extra] = ()):
        self.parts = tuple(parts)
        self.candidates = max((e.candidates for e in self.parts), default=1)
        self.metric_names = [f"{e.name}/{name}" for e in self.parts for name in (*e.loss_names, "bonus")]

    def layers(self) -> dict[str, keras.layers.Layer]:
        """{extra_layer: layer} of all parts."""
        return {f"{e.name}_{name}": layer for e in self.parts for name, layer in e.layers().items()}

    def bonuses(self, window: Window) -> list[Tensor]:
        """Each part's intrinsic reward [B, T]."""
        return [tf.stop_gradient(e.bonus(window)) for e in self.parts]

    def losses(self, window: Window) -> list[dict[str, Tensor]]:
        """Each part's losses."""
        return [e.losses(window) for e in self.parts]

    def metrics(self, losses: list[dict[str, Tensor]], bonuses: list[Tensor], valid: Tensor) -> dict[str, Tensor]:
        """The losses and mean bonuses of all parts, under the names in `metric_names`. valid [B, T]."""
        found: dict[str, Tensor] = {}
        for part, named, bonus in zip(self.parts, losses, bonuses):
            found |= {f"{part.name}/{name}": value for name, value in named.items()}
            found[f"{part.name}/bonus"] = masked_mean(bonus, valid)
        return found

    def preference(self, z: Tensor, action: Tensor) -> Tensor:
        """Log-probabilities of the candidates [..., n], from z [..., n, F] and action [..., n, A + choices]."""
        return tf.nn.log_softmax(sum((e.preference(z, action) for e in self.parts), tf.zeros(z.shape[:-1])))

    def pictures(self, window: Window) -> dict[str, Tensor]:
        """{extra/name: pictures [k, H, W, channels] in [0, 1]} of all parts."""
        return {f"{e.name}/{name}": x for e in self.parts for name, x in e.pictures(window).items()}

    def gradients(
        self, losses: list[dict[str, Tensor]], shared: list[keras.Variable], guide: list[Tensor]
    ) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Gradients of each part's own weights [parts], and the gradient of the `shared` weights.

        The latter is `guide`, the critics' gradient, plus the gradient of each loss that does not work against it.
        """
        extra_grads, rep_grads = [], list(guide)
        for part, named in zip(self.parts, losses):
            grads = [tf.zeros_like(w) for w in part.trained]
            for loss in named.values():
                found = gradients(loss, [*part.trained, *shared])
                grads = [a + b for a, b in zip(grads, found)]
                rep_grads = [a + b for a, b in zip(rep_grads, aligned(found[len(grads) :], guide))]
            extra_grads.append(grads)
        return extra_grads, rep_grads


def probes(*widths: int) -> Iterator[tuple[tuple[int, ...], list[Tensor]]]:
    """Trial inputs on which an extra builds its networks and checks what they return.

    Pairs of leading axes and zeros [*axes, width] for each width: acting has one leading axis, learning has two.
    """
    for lead in ((PROBE_ROWS,), (PROBE_ROWS, PROBE_STEPS)):
        yield lead, [tf.zeros((*lead, width)) for width in widths]


def real_states(valid: Tensor) -> Tensor:
    """1 for states in which an action was taken and for those that it led to, else 0. valid [B, T] -> [B, T + 1].

    A window is padded behind its episode's end; the padding has no meaning.
    """
    none = tf.zeros_like(valid[:, :1])
    return tf.maximum(tf.concat([valid, none], axis=1), tf.concat([none, valid], axis=1))


def without_padding(window: Window) -> Window:
    """The window with zeros in its padding.

    A loss of 0 on a padded row is not enough: 0 times a NaN in a network's input is a NaN in its weights' gradient.
    """
    step, state = window.valid > 0, real_states(window.valid) > 0
    return window._replace(
        obs={name: _zero_unless(state, x) for name, x in window.obs.items()},
        z=_zero_unless(state, window.z),
        z_target=_zero_unless(state, window.z_target),
        action=_zero_unless(step, window.action),
        reward=_zero_unless(step, window.reward),
    )


def _zero_unless(real: Tensor, x: Tensor) -> Tensor:
    """x [B, T, ...] where real [B, T] is true, else 0."""
    return tf.where(real[(..., *[None] * (len(x.shape) - 2))], x, tf.zeros_like(x))
