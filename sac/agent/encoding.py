"""From windows to what the networks make of them: burn-in, features of all states, and Q of the stored actions."""

from __future__ import annotations

from typing import Any, NamedTuple

from sac.agent.hyperparameters import Hyperparameters
from sac.agent.rng import RngStreams, Stream
from sac.backend import Tensor, keras, tf
from sac.extras.extra import Window
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.nets.recurrent import warmed_up
from sac.ops import losses, soft_value
from sac.types import Batch


class TrainedStates(NamedTuple):
    """The m trained states of B windows, on which the policy is trained."""

    z: Tensor  # [B, m, F] of the online representation
    z_target: Tensor  # [B, m, F] of the target representation
    mask: Tensor  # [B, m, choices] bool: true = legal
    valid: Tensor  # [B, m]: 1 where an action was taken
    raw_action: Tensor  # [B, m, A]: the stored continuous actions before the squash
    taken: Tensor  # [B, m, C]: the stored choices as critic columns


class Encoded(NamedTuple):
    """Windows from their first trained row on, with the features of their states."""

    batch: Batch
    valid: Tensor  # [B, m]: 1 where a trained row holds an action
    taken: Tensor  # [B, T, C]: the stored choices as critic columns
    action: Tensor  # [B, T, A]: the stored continuous actions in [-1, 1]
    z: Tensor  # [B, T + 1, F] of the online representation
    z_target: Tensor  # [B, T + 1, F] of the target representation
    state: Tensor  # [B, S]: the recurrent state of the first row
    window: Window  # the same as extras see it

    def trained_states(self) -> TrainedStates:
        """The states of the trained rows."""
        m = self.valid.shape[1]
        return TrainedStates(
            self.z[:, :m], self.z_target[:, :m], self.batch.mask[:, :m], self.valid, self.batch.raw_action[:, :m],
            self.taken[:, :m],
        )  # fmt: skip


class Encoder:
    """Encodes windows of b + T steps, whose observations are as networks see them (`Networks.observe`)."""

    def __init__(self, networks: Networks, hyper: Hyperparameters, rng: RngStreams):
        self.nets, self.spec, self.hyper, self.rng = networks, networks.spec, hyper, rng

    def encode(self, whole: Batch) -> Encoded:
        """Burns in and encodes the trained part of the windows, by the online and the target representation."""
        batch = self._after_burn_in(whole)
        taken, action = one_hot(batch.discrete, self.spec), tf.tanh(batch.raw_action)
        z_target, _ = self._encode(self.nets.target_rep, whole, batch)
        z, state = self._encode(self.nets.rep, whole, batch)
        joined = tf.concat([action, taken[..., : self.spec.choices]], axis=-1)
        seed = self.rng.seed(Stream.EXTRAS)
        window = Window(batch.obs, z, z_target, joined, batch.reward, batch.valid, seed)
        valid = batch.valid[:, : self.hyper.sequence_length]
        return Encoded(batch, valid, taken, action, z, z_target, state, window)

    def q(self, encoded: Encoded) -> Tensor:
        """Q of the stored actions in the trained rows, by the online networks: [E, B, m]."""
        m = self.hyper.sequence_length
        return soft_value.chosen_q(self.nets.q(encoded.z[:, :m], encoded.action[:, :m]), encoded.taken[:, :m])

    def target_q(self, encoded: Encoded) -> Tensor:
        """The same by the target networks: [E, B, m]."""
        m = self.hyper.sequence_length
        return soft_value.chosen_q(
            self.nets.target_q(encoded.z_target[:, :m], encoded.action[:, :m]), encoded.taken[:, :m]
        )

    def delta_q(self, encoded: Encoded) -> Tensor:
        """|dQ| / |Q| [] between Q from the stored and from today's recurrent state (R2D2, section 3)."""
        batch, action, taken = encoded.batch, encoded.action[:, 0], encoded.taken[:, 0]
        first = {name: x[:, 0] for name, x in batch.obs.items()}
        stale, _ = self.nets.rep(first, batch.previous[:, 0], batch.stored)
        old, new = (soft_value.chosen_q(self.nets.q(x, action), taken) for x in (stale, encoded.z[:, 0]))
        change, size = (losses.masked_mean(tf.reduce_mean(tf.abs(x), 0), encoded.valid[:, 0]) for x in (new - old, new))
        return tf.math.divide_no_nan(change, size)

    def _after_burn_in(self, whole: Batch) -> Batch:
        """The window from its first trained row on."""
        b = self.hyper.burn_in_step
        late: dict[str, Any] = {"obs": {name: x[:, b:] for name, x in whole.obs.items()}}
        for name in ("mask", "previous", "raw_action", "discrete", "log_prob", "reward", "discount", "valid"):
            late[name] = getattr(whole, name)[:, b:]
        return whole._replace(**late)

    def _encode(self, rep: keras.layers.Layer, whole: Batch, late: Batch) -> tuple[Tensor, Tensor]:
        """Features of all T + 1 states [B, T + 1, F], and the recurrent state of the first one [B, S]."""
        b = self.hyper.burn_in_step
        early = {name: x[:, :b] for name, x in whole.obs.items()}
        state = warmed_up(rep, early, whole.previous[:, :b], whole.state, whole.valid[:, :b], self.spec.has_images)
        if not self.hyper.burn_in_gradient:
            state = tf.stop_gradient(state)
        return rep(late.obs, late.previous, state)[0], state
