"""Behaviours and environments of a few lines, whose every number can be told by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from sac.collect.rollout import RolloutStep
from sac.types import Action, Choice, Ended, Sensor, Spec, Turn


class Counting:
    """Action number 1, 2, 3 ... of all; its recurrent state counts the actions of an episode."""

    state_size = 1

    def __init__(self, spec: Spec):
        self.spec, self.made = spec, 0
        self.previous_size = spec.continuous + spec.choices
        self.seen: list[tuple] = []  # (slot, first value of the observation, state, previous action)

    def choose(self, slots, obs, mask, previous_action, state) -> Choice:
        k = len(slots)
        first = next(iter(obs.values())).reshape(k, -1)[:, 0] if k else np.zeros(0)
        self.seen += zip(slots.tolist(), first.tolist(), state[:, 0].tolist(), previous_action.copy())
        numbers = self.made + np.arange(1, k + 1, dtype=np.float32)
        self.made += k
        raw = np.repeat(numbers[:, None], self.spec.continuous, 1)
        discrete = np.stack([numbers % n for n in self.spec.branches] or [np.zeros(k)], -1)[
            :, : len(self.spec.branches)
        ]
        log_prob = np.stack([-numbers, -2 * numbers], -1)
        return Choice(raw, np.tanh(raw / 100), discrete.astype(np.int32), log_prob, state + 1)


class Linear:
    """An agent in NumPy: what it does depends on the observation and on the noise that it is handed."""

    state_size = previous_size = 0
    candidates = 1

    def __init__(self, spec: Spec):
        self.spec = spec

    def act(
        self, obs, mask, previous_action, state, noise, seed=(0, 0), epsilon=0.0, extra_std=0.0, explores=True,
        greedy=False,
    ) -> Choice:  # fmt: skip
        normal, gumbel = noise.normal[:, 0], noise.gumbel[:, 0]
        x = next(iter(obs.values())).sum(-1, keepdims=True)
        raw = np.tanh(x) + (0 if greedy else 1) * normal
        scores, first, discrete = np.where(mask, x + gumbel, -np.inf), 0, []
        for size in self.spec.branches:
            discrete.append(scores[:, first : first + size].argmax(-1))
            first += size
        chosen = np.stack(discrete, -1) if discrete else np.zeros((len(x), 0))
        log_prob = np.concatenate([raw.sum(-1, keepdims=True), x], -1)
        return Choice(raw, np.tanh(raw), chosen.astype(np.int32), log_prob, state)


@dataclass
class Said:
    """One turn of a script: {agent: (value, reward)}, {agent: (value, reward, discount)}, [agent]."""

    asks: dict[int, tuple[float, float]] = field(default_factory=dict)
    ends: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    lost: tuple[int, ...] = ()


class Stage:
    """Says its turns one after the other, like a Unity scene whose agents ask, end and vanish when they like."""

    spec = Spec((Sensor("x", (1,)),), 1, (2,))

    def __init__(self, *turns: Said, n_agents: int = 2, circular: bool = False):
        self.turns, self.n_agents, self.circular = turns, n_agents, circular
        self.at = 0
        self.got: list[tuple[int, float]] = []  # (agent, action) as they arrived

    def reset(self, seed=None) -> Turn:
        self.at = 0
        return self._turn()

    def step(self, action: Action) -> Turn:
        agents = list(self.turns[self.at].asks)
        assert len(action.continuous) == len(action.discrete) == len(agents)
        self.got += zip(agents, action.continuous[:, 0].tolist())
        self.at = (self.at + 1) % len(self.turns) if self.circular else self.at + 1
        return self._turn()

    def state(self):
        return {"at": self.at}

    def restore(self, state) -> Turn:
        self.at = state["at"]
        return self._turn()

    def render(self):
        return None

    def close(self):
        pass

    def _turn(self) -> Turn:
        said = self.turns[self.at]
        asks = np.array([*said.asks.values()], np.float32).reshape(-1, 2)
        ends = np.array([*said.ends.values()], np.float32).reshape(-1, 3)
        ended = Ended(
            np.array([*said.ends], np.int64), {"x": ends[:, :1]}, np.ones((len(ends), 2), bool), ends[:, 1], ends[:, 2]
        )
        agents, mask = np.array([*said.asks], np.int64), np.ones((len(asks), 2), bool)
        return Turn(agents, {"x": asks[:, :1]}, mask, asks[:, 1], ended, np.array(said.lost, np.int64))


class Lengths:
    """Agent k is truncated after lengths[k] steps. It observes [k, number of its episode, step]; reward 1."""

    spec = Spec((Sensor("x", (3,)),), 1)

    def __init__(self, *lengths: int):
        self.n_agents, self.lengths = len(lengths), np.array(lengths)
        self.resets = 0
        self.episode = np.zeros(len(lengths), int)

    def reset(self, seed=None) -> Turn:
        self.resets += 1
        self.t = np.zeros(self.n_agents, int)
        self.episode += 1
        return Turn(np.arange(self.n_agents), self._obs(), self._mask(), np.zeros(self.n_agents), self._ended([]))

    def step(self, action: Action) -> Turn:
        self.t += 1
        over = np.flatnonzero(self.t >= self.lengths)
        ended = self._ended(over)
        self.t[over], self.episode[over] = 0, self.episode[over] + 1
        return Turn(np.arange(self.n_agents), self._obs(), self._mask(), np.ones(self.n_agents, np.float32), ended)

    def _obs(self):
        return {"x": np.stack([np.arange(self.n_agents), self.episode, self.t], -1).astype(np.float32)}

    def _mask(self):
        return np.ones((self.n_agents, 0), bool)

    def _ended(self, over) -> Ended:
        over = np.array(over, np.int64)
        one = np.ones(len(over), np.float32)
        return Ended(over, {"x": self._obs()["x"][over]}, self._mask()[over], one, one)


def streams(experiences: list[RolloutStep]) -> dict[int, list[dict]]:
    """Rows of each stream in their order, as dictionaries."""
    found = defaultdict(list)
    for experience in experiences:
        step = experience.step
        for i, stream in enumerate(step.stream.tolist()):
            row = {name: x[i] for name, x in step._asdict().items() if name != "obs"}
            found[stream].append(row | {"obs": {name: x[i] for name, x in step.obs.items()}})
    return found


def split(rows: list[dict]) -> list[list[dict]]:
    """Finished episodes of a stream; each ends with its final row."""
    episodes, open_rows = [], []
    for row in rows:
        open_rows.append(row)
        if row["last"]:
            episodes.append(open_rows)
            open_rows = []
    return episodes
