"""How an agent acts: candidates from the policy, one of them chosen, with the probability that it really had."""

from __future__ import annotations

import math

import numpy as np

from sac.backend import ForAnyNumber, tf, tfp
from sac.extras.extra import Extras
from sac.nets import noisy
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.types import Choice, Noise


class ActionSelector:
    """The compiled function that chooses actions for any number of agents.

    `choice` (ByPolicy, ByCritic) decides the discrete part; `extras` may prefer some of several candidates.
    """

    def __init__(self, networks: Networks, choice, extras: Extras, jit: bool):
        self.nets, self.choice, self.extras, self.spec = networks, choice, extras, networks.spec
        self._compiled = ForAnyNumber(self._act, jit)

    def __call__(
        self, obs, mask, previous, state, noise: Noise, seed=(0, 0), epsilon=0.0, extra_std=0.0, explores=True,
        greedy=False,
    ) -> Choice:  # fmt: skip
        """Chooses for k agents from the noise handed in, or the mode of the policy if greedy.

        With probability `epsilon` the discrete choice is a uniform one; `extra_std` is the standard deviation of
        Gaussian noise on the continuous ones before the squash; both are a number or an array [k]. `seed` is that of
        noisy layers. Without `explores` those are silent and no extra has a preference.
        """
        k = len(mask)
        if k == 0:
            nothing = np.zeros((0, self.spec.continuous), np.float32)
            discrete = np.zeros((0, len(self.spec.branches)), np.int32)
            return Choice(nothing, nothing, discrete, np.zeros((0, 2), np.float32), state)
        each = (np.broadcast_to(np.asarray(x, np.float32), k) for x in (epsilon, extra_std))
        shared = np.array(seed, np.int32), np.bool_(explores), np.bool_(greedy)
        return Choice(*self._compiled((obs, mask, previous, state, noise, *each), *shared))

    def _act(self, obs, mask, previous, state, noise: Noise, epsilon, extra_std, seed, explores, greedy):
        n = self.extras.candidates
        extra_std = extra_std[:, None, None]
        with noisy.drawn(seed, tf.cast(explores, tf.float32)):
            z, state = self.nets.rep(self.nets.observe(obs), previous, state)
            z, mask = tf.repeat(z[:, None], n, axis=1), tf.repeat(mask[:, None], n, axis=1)
            pi = self.nets.policy(z).masked(mask)
            # Both are made and one is taken: without extra noise not one bit is another, whatever rounds in `widened`.
            wide, widens = pi.widened(extra_std), tf.logical_and(extra_std > 0, tf.logical_not(greedy))
            raw = tf.where(widens, wide.raw_from_noise(noise.normal), pi.raw_from_noise(noise.normal))
            raw = tf.where(greedy, pi.raw_mode(noise.normal), raw)
            action = tf.tanh(raw)
            q = self.nets.q(z, action)  # dead code where the policy decides
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
        log_d = tfp.math.log_add_exp(tf.math.log1p(-epsilon) + mixed[0], tf.math.log(epsilon) + mixed[1])
        log_c = tf.where(widens[..., 0], wide.continuous_log_prob(raw), pi.continuous_log_prob(raw))
        log_prob = tf.stack([self._of(picked, log_c), self._of(picked, log_d)], axis=-1)
        part = 0 if self.spec.continuous else 1
        log_prob += tf.one_hot(part, 2) * weight[:, None]
        return self._of(picked, raw), self._of(picked, action), self._of(picked, discrete), log_prob, state

    @staticmethod
    def _of(picked, x):
        """The picked candidate's: x [k, n, ...] -> [k, ...]."""
        return tf.gather(x, picked, axis=1, batch_dims=1)
