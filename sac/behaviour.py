"""How actions are chosen while collecting, evaluating and playing. NumPy only; randomness is (seed, counter)."""

from __future__ import annotations

import math

import numpy as np

from sac.types import Choice, Spec

NOISE_BLOCK = 1024  # steps of coloured noise made at once for an agent
RANDOM_STREAM = 2**63  # sets our numbers of a seed apart from the replay's, whose keys count from zero


class WhiteNoise:
    """Independent standard-normal and Gumbel noise of every step."""

    def __init__(self, spec: Spec, seed: int):
        self.spec, self.seed, self.counter = spec, seed, 0

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed % 2**63, RANDOM_STREAM], counter=[0, 0, *key]))

    def draw(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard-normal [k, A] and Gumbel [k, C] noise for one step of these agents."""
        rng = self._generator(self.counter, 1)
        self.counter += 1
        k, f32 = len(slots), np.float32
        return self._normal(rng, slots), rng.gumbel(size=(k, self.spec.choices)).astype(f32)

    def _normal(self, rng: np.random.Generator, slots: np.ndarray) -> np.ndarray:
        return rng.standard_normal((len(slots), self.spec.continuous), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return {"counter": np.array(self.counter)}

    def restore(self, values: dict[str, np.ndarray]) -> None:
        self.counter = int(values["counter"])


class ColoredNoise(WhiteNoise):
    """Normal noise whose power falls as 1 / f^color along each agent's steps (Eberhard et al., ICLR 2023).

    Each single step's noise is still standard normal, so log mu of an action is what the policy says; successive
    actions agree more, and exploration goes further. Block by block from (seed, agent, block).
    """

    def __init__(self, spec: Spec, seed: int, color: float):
        super().__init__(spec, seed)
        self.color = color
        self._position = np.zeros(0, np.int64)  # of each agent, in steps since its first
        self._blocks: list[tuple[int, np.ndarray]] = []  # of each agent: number, noise [A, NOISE_BLOCK]

    def _normal(self, rng: np.random.Generator, slots: np.ndarray) -> np.ndarray:
        missing = int(slots.max(initial=-1)) + 1 - len(self._position)
        if missing > 0:
            self._position = np.concatenate([self._position, np.zeros(missing, np.int64)])
        self._blocks += [(-1, np.empty(0))] * (len(self._position) - len(self._blocks))
        noise = np.stack([self._at(int(slot)) for slot in slots]) if len(slots) else np.zeros((0, self.spec.continuous))
        self._position[slots] += 1
        return noise.astype(np.float32)

    def _at(self, slot: int) -> np.ndarray:
        number, offset = divmod(int(self._position[slot]), NOISE_BLOCK)
        if self._blocks[slot][0] != number:
            self._blocks[slot] = number, self._block(self._generator(number, 2 + slot))
        return self._blocks[slot][1][:, offset]

    def _block(self, rng: np.random.Generator) -> np.ndarray:
        frequency = np.fft.rfftfreq(NOISE_BLOCK)
        frequency[0] = frequency[1]
        amplitude = frequency ** (-self.color / 2)
        shape = self.spec.continuous, len(frequency)
        spectrum = amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
        noise = np.fft.irfft(spectrum, NOISE_BLOCK)
        ends = amplitude[0] ** 2 + amplitude[-1] ** 2  # these two are real, the others complex and counted twice
        return noise * NOISE_BLOCK / np.sqrt(4 * np.sum(amplitude[1:-1] ** 2) + ends)

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"position": self._position}

    def restore(self, values: dict[str, np.ndarray]) -> None:
        super().restore(values)
        self._position, self._blocks = np.array(values["position"]), []


class Exploring:
    """Acts with the agent's policy and noise; the first `random_steps` actions are uniform over the legal ones."""

    def __init__(self, agent, noise: WhiteNoise, random_steps: int = 0):
        self.agent, self.noise, self.random_steps = agent, noise, random_steps
        self.state_size, self.previous_size = agent.state_size, agent.previous_size
        self.steps = 0

    def choose(self, slots, obs, mask, previous_action, state) -> Choice:
        normal, gumbel = self.noise.draw(slots)
        choice = self.agent.act(obs, mask, previous_action, state, normal, gumbel)
        if self.steps < self.random_steps:
            choice = self._uniform(choice, mask, normal, gumbel)
        self.steps += len(slots)
        return choice

    def _uniform(self, choice: Choice, mask, normal, gumbel) -> Choice:
        """Random actions from the same noise: the normal's quantile is uniform, the best Gumbel of legal ones too."""
        spec = self.agent.spec
        action = np.clip(_normal_cdf(normal) * 2 - 1, -1 + 1e-6, 1 - 1e-6).astype(np.float32)
        scores = np.where(mask, gumbel, -np.inf)
        discrete, log_d, start = np.zeros_like(choice.discrete), np.zeros(len(mask), np.float32), 0
        for i, size in enumerate(spec.branches):
            part = slice(start, start + size)
            discrete[:, i] = scores[:, part].argmax(-1)
            log_d -= np.log(mask[:, part].sum(-1))
            start += size
        log_c = np.full(len(mask), -spec.continuous * np.log(2.0), np.float32)
        return Choice(np.arctanh(action), action, discrete, np.stack([log_c, log_d], -1), choice.state)

    def state(self):
        """Arrays and scalars that must survive."""
        return self.noise.state(), {"steps": self.steps}

    def restore(self, arrays, scalars) -> None:
        self.steps = scalars["steps"]
        self.noise.restore(arrays)


class Greedy:
    """Acts with the mode of the policy: for evaluation and play."""

    def __init__(self, agent):
        self.agent, self.state_size, self.previous_size = agent, agent.state_size, agent.previous_size

    def choose(self, slots, obs, mask, previous_action, state) -> Choice:
        spec, k = self.agent.spec, len(slots)
        normal, gumbel = np.zeros((k, spec.continuous), np.float32), np.zeros((k, spec.choices), np.float32)
        return self.agent.act(obs, mask, previous_action, state, normal, gumbel, greedy=True)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / np.sqrt(2)))
