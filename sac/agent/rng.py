"""The random numbers of one update: pure functions of the agent's seed, the number of the update and a stream."""

from __future__ import annotations

from sac.backend import keras, tf
from sac.ops import soft_value

FOR_TARGET, FOR_POLICY, FOR_NOISE, FOR_EXTRAS, FOR_CHOICE = 1, 2, 3, 4, 5  # streams
FOR_POLICY_CHOICE = 15
SUBSET_OF = 10  # of the nets, for a stream: this stream and so many more


class RngStreams:
    """What update number `updates` draws; the same again for as long as that stays."""

    def __init__(self, seed: int, updates: keras.Variable, continuous: int, subset: int):
        self._seed, self._updates, self._continuous, self._size = seed, updates, continuous, subset

    def seed(self, stream: int):
        """Of stateless random numbers: [2] int32."""
        return tf.stack([(self._seed * 100 + stream) % 2**31, tf.convert_to_tensor(self._updates)])

    def action(self, pi, lead, stream: int):
        """A reparameterised continuous action of the current policy, raw [*lead, A], and its log-probability."""
        raw = pi.raw_from_noise(tf.random.stateless_normal((*lead, self._continuous), self.seed(stream)))
        return raw, pi.continuous_log_prob(raw)

    def subset(self, q, stream: int):
        """Those of a fresh random subset of the nets [M, ..., C], the same for one stream and update."""
        return tf.gather(q, soft_value.random_subset(q.shape[0], self._size, self.seed(SUBSET_OF + stream)))
