"""The random numbers of one update: pure functions of the agent's seed, the number of the update and a stream."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, unique

from sac.backend import Tensor, keras, tf
from sac.nets.action_distribution import ActionDistribution
from sac.ops import soft_value

STREAMS_PER_SEED = 100  # seeds s and s + 1 share no stream as long as every stream's number is smaller


@unique
class Stream(IntEnum):
    """What a random number is drawn for; each member has random numbers of its own.

    The numbers are part of every seed, so none may change: a resumed run would draw other numbers. A new stream takes
    an unused number below STREAMS_PER_SEED; `unique` refuses one that is taken.
    """

    TARGET_ACTION = 1  # fresh actions in the later states of a window, for the targets of Q
    POLICY_ACTION = 2  # fresh actions that the policy is trained on
    LAYER_NOISE = 3  # noise in the weights of NoisyDense layers
    EXTRAS = 4  # the seed that extras get with a window
    TARGET_CHOICE = 5  # the critics whose mean chooses discrete actions in the targets (ByCritic)
    TARGET_SUBSET = 11  # the target critics whose minimum is the target
    POLICY_SUBSET = 12  # the critics whose minimum the policy maximises
    POLICY_CHOICE = 15  # the critics whose mean chooses discrete actions in the policy's loss (ByCritic)


class RngStreams:
    """Draws for update number `updates`. The same stream gives the same numbers until `updates` changes.

    `continuous` is the number A of continuous actions, `subset_size` the number of critics in a random subset. The
    seeds of the streams lie in a variable, so that runs with different seeds share a compiled function.
    """

    def __init__(self, seed: int, updates: keras.Variable, continuous: int, subset_size: int):
        self._updates, self._continuous, self._subset_size = updates, continuous, subset_size
        by_stream = [(seed * STREAMS_PER_SEED + stream) % 2**31 for stream in range(STREAMS_PER_SEED)]
        self._seeds = tf.Variable(by_stream, trainable=False, dtype=tf.int32, name="seeds_of_streams")

    def seed(self, stream: Stream) -> Tensor:
        """The seed of a stream for TensorFlow's stateless random functions: [2] int32."""
        return tf.stack([self._seeds[int(stream)], tf.convert_to_tensor(self._updates)])

    def action(self, pi: ActionDistribution, lead: Sequence[int], stream: Stream) -> tuple[Tensor, Tensor]:
        """A reparameterised continuous action of `pi`, raw [*lead, A], and its log-probability [*lead]."""
        raw = pi.raw_from_noise(tf.random.stateless_normal((*lead, self._continuous), self.seed(stream)))
        return raw, pi.continuous_log_prob(raw)

    def subset(self, q: Tensor, stream: Stream) -> Tensor:
        """Q of a fresh random subset of the critics: [E, ..., C] -> [M, ..., C]."""
        return tf.gather(q, soft_value.random_subset(q.shape[0], self._subset_size, self.seed(stream)))
