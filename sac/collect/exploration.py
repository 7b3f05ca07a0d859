"""Behaviours that choose actions while a run collects, evaluates and plays, and their random numbers. NumPy only.

Random numbers depend on a seed and a counter only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sac.types import Choice, Noise, Obs, Spec

NOISE_BLOCK_STEPS = 1024  # of coloured noise, made at once for an agent
PHILOX_KEY = 2**63  # other random numbers than the replay's with the same seed, whose keys count from 0
EDGE = 1e-6  # distance of a uniform action from -1 and 1, where its raw action would be infinite


class WhiteNoise:
    """Noise that is independent in every step, for `candidates` actions of each agent."""

    def __init__(self, spec: Spec, seed: int, candidates: int = 1):
        self.spec, self.seed, self.candidates, self.counter = spec, seed, candidates, 0
        self._of_steps = self._generator(0, 1)
        self._start: dict[str, Any] = dict(self._of_steps.bit_generator.state)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed % 2**63, PHILOX_KEY], counter=[0, 0, *key]))

    def _generator_of_step(self) -> np.random.Generator:
        """`_generator(counter, 1)`, in a tenth of the time of a new one."""
        self._start["state"]["counter"][2] = self.counter
        self._of_steps.bit_generator.state = self._start
        return self._of_steps

    @property
    def layer_seed(self) -> tuple[int, int]:
        """Seed of noisy network layers at the next step."""
        return (self.seed * 100) % 2**31, self.counter % 2**31

    def draw(self, slots: np.ndarray) -> Noise:
        """The random numbers for one step of the agents `slots` [k]."""
        rng = self._generator_of_step()
        self.counter += 1
        k, n, f32 = len(slots), self.candidates, np.float32
        normal = self._normal(rng, slots).reshape(k, n, self.spec.continuous)
        gumbel = rng.gumbel(size=(k, n, self.spec.choices + 1)).astype(f32)
        return Noise(normal, gumbel[..., :-1], gumbel[..., -1], rng.random(k, f32))

    def _normal(self, rng: np.random.Generator, slots: np.ndarray) -> np.ndarray:
        return rng.standard_normal((len(slots), self._width), np.float32)

    @property
    def _width(self) -> int:
        return self.candidates * self.spec.continuous

    def state(self) -> dict[str, np.ndarray]:
        return {"counter": np.array(self.counter)}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        self.counter = int(values["counter"])


class ColoredNoise(WhiteNoise):
    """Normal noise whose power falls as 1 / f^color along the steps of each agent (Eberhard et al., ICLR 2023).

    The noise of each single step is standard normal, so the policy's log-probability of an action stays right.
    Successive actions are correlated, which makes exploration go further. Noise is made in blocks of NOISE_BLOCK_STEPS
    steps, each from (seed, slot, block).
    """

    def __init__(self, spec: Spec, seed: int, color: float, candidates: int = 1):
        super().__init__(spec, seed, candidates)
        self.color = color
        self._position = np.zeros(0, np.int64)  # of each slot: steps so far
        self._blocks: list[tuple[int, np.ndarray]] = []  # of each slot: block number, noise [n * A, NOISE_BLOCK_STEPS]

    def _normal(self, rng: np.random.Generator, slots: np.ndarray) -> np.ndarray:
        missing = int(slots.max(initial=-1)) + 1 - len(self._position)
        if missing > 0:
            self._position = np.concatenate([self._position, np.zeros(missing, np.int64)])
        self._blocks += [(-1, np.empty(0))] * (len(self._position) - len(self._blocks))
        noise = np.stack([self._at(int(slot)) for slot in slots]) if len(slots) else np.zeros((0, self._width))
        self._position[slots] += 1
        return noise.astype(np.float32)

    def _at(self, slot: int) -> np.ndarray:
        number, offset = divmod(int(self._position[slot]), NOISE_BLOCK_STEPS)
        if self._blocks[slot][0] != number:
            self._blocks[slot] = number, self._block(self._generator(number, 2 + slot))
        return self._blocks[slot][1][:, offset]

    def _block(self, rng: np.random.Generator) -> np.ndarray:
        frequency = np.fft.rfftfreq(NOISE_BLOCK_STEPS)
        frequency[0] = frequency[1]
        amplitude = frequency ** (-self.color / 2)
        shape = self._width, len(frequency)
        spectrum = amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
        noise = np.fft.irfft(spectrum, NOISE_BLOCK_STEPS)
        ends = amplitude[0] ** 2 + amplitude[-1] ** 2  # these two are real; the others are complex and count twice
        return noise * NOISE_BLOCK_STEPS / np.sqrt(4 * np.sum(amplitude[1:-1] ** 2) + ends)

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"position": self._position}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        super().restore(values)
        self._position, self._blocks = np.array(values["position"]), []


class Epsilon:
    """The probability of a random discrete choice, which changes linearly from `start` to `end` over `steps` steps."""

    def __init__(self, start: float = 0.0, end: float = 0.0, steps: int = 1):
        self.start, self.end, self.steps = start, end, steps

    def __call__(self, step: int) -> float:
        return self.end + (self.start - self.end) * max(0.0, 1 - step / self.steps)


NEVER = Epsilon()


class Exploring:
    """Acts with the agent's policy and noise; the first `random_steps` actions are uniform over the legal ones.

    `extra_noise` makes one of several actors explore more than others: it is the standard deviation of Gaussian noise
    on continuous actions before the squash, and the lowest probability of a random discrete choice. Raises UserError
    where the log-probability of noisy actions is unknown for the policy's distribution.
    """

    explores = True

    def __init__(
        self, agent, noise: WhiteNoise, random_steps: int = 0, epsilon: Callable[[int], float] = NEVER,
        extra_noise: float = 0.0,
    ):  # fmt: skip
        if extra_noise > 0:
            agent.check_noise()
        self.agent, self.noise, self.random_steps, self.epsilon = agent, noise, random_steps, epsilon
        self.extra_std, self.least_epsilon = extra_noise, min(extra_noise, 1.0) if agent.spec.branches else 0.0
        self.state_size, self.previous_size = agent.state_size, agent.previous_size
        self.steps = 0

    def choose(
        self, slots: np.ndarray, obs: Obs, mask: np.ndarray, previous_action: np.ndarray, state: np.ndarray
    ) -> Choice:
        seed, noise = self.noise.layer_seed, self.noise.draw(slots)
        epsilon = max(self.epsilon(self.steps), self.least_epsilon)
        choice = self.agent.act(obs, mask, previous_action, state, noise, seed, epsilon, self.extra_std, self.explores)
        if self.steps < self.random_steps:
            choice = self._uniform(choice, mask, noise.normal[:, 0], noise.gumbel[:, 0])
        self.steps += len(slots)
        return choice

    def _uniform(self, choice: Choice, mask: np.ndarray, normal: np.ndarray, gumbel: np.ndarray) -> Choice:
        """Uniform actions from the same noise: the CDF of normal noise, and the largest Gumbel of the legal choices."""
        spec = self.agent.spec
        action = np.clip(_normal_cdf(normal) * 2 - 1, -1 + EDGE, 1 - EDGE).astype(np.float32)
        scores = np.where(mask, gumbel, -np.inf)
        discrete, log_d, start = np.zeros_like(choice.discrete), np.zeros(len(mask), np.float32), 0
        for i, size in enumerate(spec.branches):
            part = slice(start, start + size)
            discrete[:, i] = scores[:, part].argmax(-1)
            log_d -= np.log(mask[:, part].sum(-1))
            start += size
        log_c = np.full(len(mask), -spec.continuous * np.log(2.0), np.float32)
        return Choice(np.arctanh(action), action, discrete, np.stack([log_c, log_d], -1), choice.state)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Arrays and scalars for a checkpoint."""
        return self.noise.state(), {"steps": self.steps}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        self.steps = scalars["steps"]
        self.noise.restore(arrays)


class Sampling(Exploring):
    """Acts with actions drawn from the policy, without additional exploration; for sac.sample_in_play."""

    explores = False


class Greedy:
    """Acts with the mode of the policy, for evaluation and play."""

    def __init__(self, agent):
        self.agent, self.state_size, self.previous_size = agent, agent.state_size, agent.previous_size

    def choose(
        self, slots: np.ndarray, obs: Obs, mask: np.ndarray, previous_action: np.ndarray, state: np.ndarray
    ) -> Choice:
        spec, k = self.agent.spec, len(slots)
        n, f32 = self.agent.candidates, np.float32
        none = Noise(np.zeros((k, n, spec.continuous), f32), np.zeros((k, n, spec.choices), f32),
                     np.zeros((k, n), f32), np.ones(k, f32))  # fmt: skip
        return self.agent.act(obs, mask, previous_action, state, none, explores=False, greedy=True)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / np.sqrt(2)))
