"""How an agent acts: candidates from the policy, one of them chosen, with the probability that it really had."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sac.agent.plain_acting import MAX_AGENTS, PlainActing, is_plain
from sac.backend import ForAnyNumber, Tensor, tf
from sac.extras.extra import Extras
from sac.nets import noisy
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.ops.discrete_choice import DiscreteChoice
from sac.types import Choice, Noise

Number = float | np.ndarray  # one for all agents, or an array [k]


class ActionSelector:
    """Chooses actions for any number of agents, in a compiled function or, for a few agents, in NumPy where it can.

    `choice` (ByPolicy, ByCritic) decides the discrete part; `extras` may prefer one of several candidates.
    """

    def __init__(self, networks: Networks, choice: DiscreteChoice, extras: Extras, jit: bool):
        self.nets, self.choice, self.extras, self.spec = networks, choice, extras, networks.spec
        self._compiled = ForAnyNumber(self._act, jit)
        self._plain = PlainActing(networks) if is_plain(networks, choice, extras) else None

    def __call__(
        self, obs: Mapping[str, np.ndarray], mask: np.ndarray, previous: np.ndarray, state: np.ndarray, noise: Noise,
        seed: Sequence[int] = (0, 0), epsilon: Number = 0.0, extra_std: Number = 0.0, explores: bool = True,
        greedy: bool = False,
    ) -> Choice:  # fmt: skip
        """Chooses for k agents: a sample made of `noise`, or the mode of the policy if `greedy`.

        obs {sensor: [k, ...]}, mask [k, choices] (true = legal), previous [k, P], state [k, S]. `epsilon` is the
        probability of a uniform discrete choice, `extra_std` the standard deviation of Gaussian noise added to
        continuous actions before the squash. `seed` [2] is that of NoisyDense layers. Without `explores` these layers
        add no noise and no extra has a preference.
        """
        k = len(mask)
        if k == 0:
            nothing = np.zeros((0, self.spec.continuous), np.float32)
            discrete = np.zeros((0, len(self.spec.branches)), np.int32)
            return Choice(nothing, nothing, discrete, np.zeros((0, 2), np.float32), state)
        epsilons, stds = np.full(k, epsilon, np.float32), np.full(k, extra_std, np.float32)
        if self._plain is not None and k <= MAX_AGENTS:
            return self._plain(obs, mask, state, noise, epsilons, stds, greedy)
        return self.compiled(obs, mask, previous, state, noise, epsilons, stds, seed, explores, greedy)

    def forget_weights(self) -> None:
        """Must be called after an update, since copies of weights are kept."""
        if self._plain is not None:
            self._plain.forget()

    def compiled(
        self, obs: Mapping[str, np.ndarray], mask: np.ndarray, previous: np.ndarray, state: np.ndarray, noise: Noise,
        epsilon: np.ndarray, extra_std: np.ndarray, seed: Sequence[int], explores: bool, greedy: bool,
    ) -> Choice:  # fmt: skip
        """The same in the compiled function, for all networks; epsilon and extra_std are [k] here, and k > 0."""
        rows = obs, mask, previous, state, noise, epsilon, extra_std
        return Choice(*self._compiled(rows, np.array(seed, np.int32), np.bool_(explores), np.bool_(greedy)))

    def _act(
        self, obs: Mapping[str, Tensor], mask: Tensor, previous: Tensor, state: Tensor, noise: Noise, epsilon: Tensor,
        extra_std: Tensor, seed: Tensor, explores: Tensor, greedy: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """The fields of Choice, from tensors; epsilon and extra_std are [k]."""
        n = self.extras.candidates
        extra_std = extra_std[:, None, None]
        with noisy.drawn(seed, tf.cast(explores, tf.float32)):
            z, state = self.nets.rep(self.nets.observe(obs), previous, state)
            z, mask = tf.repeat(z[:, None], n, axis=1), tf.repeat(mask[:, None], n, axis=1)
            pi = self.nets.policy(z).masked(mask)
            # Both distributions are computed and one is selected: without extra noise the result stays the same to the
            # last bit, however `widened` rounds.
            wide, widens = pi.widened(extra_std), tf.logical_and(extra_std > 0, tf.logical_not(greedy))
            raw = tf.where(widens, wide.raw_from_noise(noise.normal), pi.raw_from_noise(noise.normal))
            raw = tf.where(greedy, pi.raw_mode(noise.normal), raw)
            action = tf.tanh(raw)
            q = self.nets.q(z, action)  # XLA removes it where the policy decides
        pi, uniform = self.choice.decide(pi, q, len(self.nets.critics), seed), pi.uniform()
        explore = noise.explore < epsilon
        drawn = tf.where(explore[:, None, None], uniform.choices(noise.gumbel), pi.choices(noise.gumbel))
        discrete = tf.where(greedy, pi.choices(tf.zeros_like(noise.gumbel)), drawn)
        taken = one_hot(discrete, self.spec)

        with noisy.drawn(seed, tf.cast(explores, tf.float32)):
            liked = self.extras.preference(z, tf.concat([action, taken[..., : self.spec.choices]], axis=-1))
        prefers = tf.logical_and(self.choice.prefers(explore), explores)
        picked = tf.where(prefers, tf.argmax(liked + noise.pick, axis=-1, output_type=tf.int32), 0)
        weight = tf.where(prefers, math.log(n) + self._of(picked, liked), 0.0)  # log(n p_j)
        mixed = pi.discrete_log_prob(taken), uniform.discrete_log_prob(taken)
        epsilon = epsilon[:, None]
        log_d = _log_add_exp(tf.math.log1p(-epsilon) + mixed[0], tf.math.log(epsilon) + mixed[1])
        log_c = tf.where(widens[..., 0], wide.continuous_log_prob(raw), pi.continuous_log_prob(raw))
        log_prob = tf.stack([self._of(picked, log_c), self._of(picked, log_d)], axis=-1)
        part = 0 if self.spec.continuous else 1
        log_prob += tf.one_hot(part, 2) * weight[:, None]
        return self._of(picked, raw), self._of(picked, action), self._of(picked, discrete), log_prob, state

    @staticmethod
    def _of(picked: Tensor, x: Tensor) -> Tensor:
        """The picked candidate's value: x [k, n, ...] -> [k, ...]."""
        return tf.gather(x, picked, axis=1, batch_dims=1)


def _log_add_exp(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)), where one of both may be -inf."""
    return tf.maximum(a, b) + tf.math.log1p(tf.exp(-tf.abs(a - b)))
