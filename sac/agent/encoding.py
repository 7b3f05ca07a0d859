"""Windows through the networks: burn-in, features of all states, and the critics' opinion of what was done."""

from __future__ import annotations

from typing import NamedTuple

from sac.agent.hyperparameters import Hyperparameters
from sac.agent.rng import FOR_EXTRAS, RngStreams
from sac.backend import tf
from sac.extras.extra import Window
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.nets.recurrent import warmed_up
from sac.ops import losses, soft_value
from sac.types import Batch


class Encoded(NamedTuple):
    """Windows from their first trained row on, and what the networks make of them."""

    batch: Batch
    valid: tf.Tensor  # [B, m]: which of the trained rows hold an action
    taken: tf.Tensor  # [B, T, C]: choices as critic columns
    action: tf.Tensor  # [B, T, A], squashed
    z: tf.Tensor  # [B, T + 1, F] of the online representation
    z_target: tf.Tensor  # [B, T + 1, F] of the target representation
    state: tf.Tensor  # [B, S] of the first row
    window: Window  # as extras see them


class Encoder:
    """Reads windows [B, b + T (+ 1), ...]; observations are already as networks see them."""

    def __init__(self, networks: Networks, hyper: Hyperparameters, rng: RngStreams):
        self.nets, self.spec, self.hyper, self.rng = networks, networks.spec, hyper, rng

    def encode(self, whole: Batch) -> Encoded:
        """The trained part of windows, with features of both representations."""
        batch = self._after_burn_in(whole)
        taken, action = one_hot(batch.discrete, self.spec), tf.tanh(batch.raw_action)
        z_target, _ = self._encode(self.nets.target_rep, whole, batch)
        z, state = self._encode(self.nets.rep, whole, batch)
        joined = tf.concat([action, taken[..., : self.spec.choices]], axis=-1)
        seed = self.rng.seed(FOR_EXTRAS)
        window = Window(batch.obs, z, z_target, joined, batch.reward, batch.valid, seed)
        valid = batch.valid[:, : self.hyper.sequence_length]
        return Encoded(batch, valid, taken, action, z, z_target, state, window)

    def q(self, encoded: Encoded):
        """Of what was done in the trained rows: [E, B, m]."""
        m = self.hyper.sequence_length
        return soft_value.chosen_q(self.nets.q(encoded.z[:, :m], encoded.action[:, :m]), encoded.taken[:, :m])

    def target_q(self, encoded: Encoded):
        """The same of the target networks."""
        m = self.hyper.sequence_length
        return soft_value.chosen_q(
            self.nets.target_q(encoded.z_target[:, :m], encoded.action[:, :m]), encoded.taken[:, :m]
        )

    def delta_q(self, encoded: Encoded):
        """How far values from the stored state are from those of today's: |dQ| / |Q|, R2D2 section 3."""
        if not self.nets.state_size:
            return 0.0
        batch, action, taken = encoded.batch, encoded.action[:, 0], encoded.taken[:, 0]
        first = {name: x[:, 0] for name, x in batch.obs.items()}
        stale, _ = self.nets.rep(first, batch.previous[:, 0], batch.stored)
        old, new = (soft_value.chosen_q(self.nets.q(x, action), taken) for x in (stale, encoded.z[:, 0]))
        change, size = (losses.masked_mean(tf.reduce_mean(tf.abs(x), 0), encoded.valid[:, 0]) for x in (new - old, new))
        return tf.math.divide_no_nan(change, size)

    def _after_burn_in(self, whole: Batch) -> Batch:
        """The window from its first trained row on."""
        b = self.hyper.burn_in_step
        late = {"obs": {name: x[:, b:] for name, x in whole.obs.items()}}
        for name in ("mask", "previous", "raw_action", "discrete", "log_prob", "reward", "discount", "valid"):
            late[name] = getattr(whole, name)[:, b:]
        return whole._replace(**late)

    def _encode(self, rep, whole: Batch, late: Batch):
        """Features of all T + 1 states [B, T + 1, F], and the recurrent state of the first one [B, S]."""
        b = self.hyper.burn_in_step
        early = {name: x[:, :b] for name, x in whole.obs.items()}
        state = warmed_up(rep, early, whole.previous[:, :b], whole.state, whole.valid[:, :b], self.spec.has_images)
        if not self.hyper.burn_in_gradient:
            state = tf.stop_gradient(state)
        return rep(late.obs, late.previous, state)[0], state
