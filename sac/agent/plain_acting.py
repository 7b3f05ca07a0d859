"""Acting in NumPy where the networks are plain: for a few agents, calling TensorFlow costs more than the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sac.backend import keras, tf
from sac.extras.extra import Extras
from sac.nets import defaults, saving
from sac.nets.action_distribution import ILLEGAL_LOGIT, LOG_STD_MAX, LOG_STD_MIN
from sac.nets.contract import Networks
from sac.nets.normalizer import CLIP_STANDARD_DEVIATIONS
from sac.ops.discrete_choice import ByPolicy, DiscreteChoice
from sac.types import Choice, Noise

MAX_AGENTS = 16  # with more agents, the compiled call on all cores is faster
LOG_2_PI = math.log(2 * math.pi)


def is_plain(networks: Networks, choice: DiscreteChoice, extras: Extras) -> bool:
    """Whether the networks are the default ones without pictures and memory, and the policy alone decides."""
    own = type(networks.rep) is not defaults.ModelRep or type(networks.policy) is not defaults.ModelPolicy
    pictures_or_memory = any(sensor.is_image for sensor in networks.spec.seen) or networks.state_size > 0
    return not (own or pictures_or_memory) and choice is ByPolicy and extras.candidates == 1


class PlainActing:
    """The same function of the same weights as the compiled one of ActionSelector, for networks that are plain.

    It keeps copies of the policy's weights until `forget` is called or `saving.assign` has set variables.
    """

    def __init__(self, networks: Networks):
        self.spec, self.normalizer = networks.spec, networks.normalizer
        self._sensors = [
            (s.name, None if s.bounds is None or s.name in self.normalizer.names else s.offset_and_factor)
            for s in self.spec.seen
        ]
        self._layers = [(layer.kernel, layer.bias) for layer in networks.policy.body.stack]
        self._weights: list[tuple[np.ndarray, np.ndarray]] = []  # those of the layers, empty when they are to be read
        self._assignments = 0  # the count of `saving.assign` when they were read

    def forget(self) -> None:
        """Must be called when weights have changed: the next call reads them anew."""
        self._weights = []

    def __call__(
        self, obs: Mapping[str, np.ndarray], mask: np.ndarray, state: np.ndarray, noise: Noise, epsilon: np.ndarray,
        extra_std: np.ndarray, greedy: bool,
    ) -> Choice:  # fmt: skip
        """Chooses for k agents: obs {sensor: [k, ...]}, mask [k, choices], state [k, 0], epsilon and extra_std [k]."""
        a = self.spec.continuous
        out = self._policy(self._features(obs, len(mask)))
        raw, action, log_c = self._continuous(out[:, :a], out[:, a : 2 * a], noise.normal[:, 0], extra_std, greedy)
        discrete, log_d = self._discrete(out[:, 2 * a :], mask, noise, epsilon, greedy)
        log_prob = np.empty((len(mask), 2), np.float32)
        log_prob[:, 0], log_prob[:, 1] = log_c, log_d
        return Choice(raw, action, discrete, log_prob, state)

    def _features(self, obs: Mapping[str, np.ndarray], k: int) -> np.ndarray:
        """The observations as networks see them, side by side [k, F]."""
        seen = {}
        for name, by_bounds in self._sensors:
            x = np.asarray(obs[name], np.float32)
            seen[name] = x if by_bounds is None else ((x - by_bounds[0]) * by_bounds[1]).astype(np.float32, copy=False)
        normalizer, limit = self.normalizer, CLIP_STANDARD_DEVIATIONS
        for name, mean, scale in zip(normalizer.names, normalizer.mean, normalizer.scale):
            if name in seen:
                seen[name] = np.clip((seen[name] - _read(mean)) * _read(scale), -limit, limit)
        columns = [x.reshape(k, -1) for x in seen.values()]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _policy(self, x: np.ndarray) -> np.ndarray:
        """The policy network: [k, F] -> [k, 2 A + C]."""
        if not self._weights or self._assignments != saving.assignments:
            self._weights = [(_read(kernel), _read(bias)) for kernel, bias in self._layers]
            self._assignments = saving.assignments
        *hidden, last = self._weights
        for kernel, bias in hidden:
            x = x @ kernel
            x += bias
            np.maximum(x, 0.0, out=x)
        return x @ last[0] + last[1]

    @staticmethod
    def _continuous(
        mean: np.ndarray, log_std: np.ndarray, normal: np.ndarray, extra_std: np.ndarray, greedy: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw and squashed actions [k, A] each, and their log-probability [k], as TanhNormal has them."""
        std = np.exp(np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX))
        if not greedy and extra_std.any():
            std = np.where(extra_std[:, None] > 0, np.sqrt(np.square(std) + np.square(extra_std[:, None])), std)
        error = np.zeros_like(normal) if greedy else normal  # in standard deviations
        raw = mean + std * error
        log_slope = 2 * (math.log(2) - raw - np.logaddexp(0, -2 * raw))
        log_prob = -0.5 * np.square(error) - np.log(std) - 0.5 * LOG_2_PI - log_slope
        return raw, np.tanh(raw), log_prob.sum(axis=-1, dtype=np.float32)

    def _discrete(
        self, logits: np.ndarray, mask: np.ndarray, noise: Noise, epsilon: np.ndarray, greedy: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choices [k, branches] and their log-probability [k] under the policy mixed with `epsilon` uniform choices."""
        k, branches = len(mask), self.spec.branches
        choices, log_prob = np.zeros((k, len(branches)), np.int32), np.zeros(k, np.float32)
        if not branches:
            return choices, log_prob
        gumbel = np.zeros_like(logits) if greedy else noise.gumbel[:, 0]
        random = (noise.explore < epsilon)[:, None] & (not greedy)
        by_policy, by_chance, rows, start = log_prob.copy(), log_prob.copy(), np.arange(k), 0
        for i, size in enumerate(branches):
            part = slice(start, start + size)
            log_pi = _log_softmax(np.where(mask[:, part], logits[:, part], np.float32(ILLEGAL_LOGIT)))
            uniform = _log_softmax(np.where(mask[:, part], np.float32(0), np.float32(ILLEGAL_LOGIT)))
            choices[:, i] = (np.where(random, uniform, log_pi) + gumbel[:, part]).argmax(axis=1)
            by_policy += log_pi[rows, choices[:, i]]
            by_chance += uniform[rows, choices[:, i]]
            start += size
        with np.errstate(divide="ignore"):  # an epsilon of 0 or 1 has the logarithm -inf
            return choices, np.logaddexp(np.log1p(-epsilon) + by_policy, np.log(epsilon) + by_chance)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    """[k, n] -> [k, n]."""
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _read(variable: keras.Variable) -> np.ndarray:
    """A copy of the value of a variable; Variable.numpy() takes five times as long."""
    value = tf.raw_ops.ReadVariableOp(resource=variable.value.handle, dtype=tf.float32)
    return np.array(memoryview(value))  # a view would make the next update copy the variable
