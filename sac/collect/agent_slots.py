"""What each agent of a rollout did last, kept until the outcome is known. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sac.types import Choice, Spec, Step, Turn, joined, obs_columns


@dataclass
class Episode:
    """One finished episode.

    `complete` is false when it broke off by chance: its agent was lost, or it began late in an iteration that a reset
    ended. An episode that a limit of steps cut is complete.
    """

    slot: int
    total_reward: float
    length: int
    complete: bool
    stream: int = -1  # the agent's id, as in its rows


class AgentSlots:
    """Arrays with one row for each agent, its slot: the transition that the agent is in the middle of.

    Slots are numbered 0, 1, 2, ... in the order in which agents first appear, and are never given up. In all methods
    `k` [k] are slots.
    """

    def __init__(self, spec: Spec, state_size: int, previous_size: int):
        self.spec = spec
        self._sizes = state_size, previous_size
        self._slot_of: dict[int, int] = {}  # by agent id
        self._allocate(0)

    def _allocate(self, n: int) -> None:
        spec, (s, p), f32 = self.spec, self._sizes, np.float32
        self.ids = np.zeros(n, np.int64)
        self.obs = {x.name: np.zeros((n, *x.shape), x.dtype) for x in spec.sensors}
        self.mask = np.ones((n, spec.choices), bool)
        self.raw_action = np.zeros((n, spec.continuous), f32)
        self.log_prob = np.zeros((n, 2), f32)
        self.discrete = np.zeros((n, len(spec.branches)), np.int32)
        self.state, self.previous = np.zeros((n, s), f32), np.zeros((n, p), f32)  # of the next action
        self.state_before, self.previous_before = np.zeros((n, s), f32), np.zeros((n, p), f32)  # of the last action
        self.open = np.zeros(n, bool)  # has acted, and the outcome is not known yet
        self.waiting = np.zeros(n, bool)  # has an observation, and has not acted yet
        self.present = np.zeros(n, bool)  # has asked for an action since it was lost, or since the start
        self.rows = np.zeros(n, np.int64)  # completed rows of the episode
        self.total_reward = np.zeros(n, np.float64)

    def _arrays(self) -> dict[str, np.ndarray]:
        """All arrays by their names in checkpoints."""
        return {
            "ids": self.ids,
            "mask": self.mask,
            "raw": self.raw_action,
            "log_prob": self.log_prob,
            "discrete": self.discrete,
            "state": self.state,
            "previous": self.previous,
            "state_before": self.state_before,
            "previous_before": self.previous_before,
            "open": self.open,
            "waiting": self.waiting,
            "present": self.present,
            "rows": self.rows,
            "total_reward": self.total_reward,
            **obs_columns(self.obs),
        }

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Copies of all arrays, for a checkpoint."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Puts `state_arrays` back."""
        self._allocate(len(values["ids"]))
        for name, array in self._arrays().items():
            array[:] = values[name]
        self._slot_of = {int(agent): slot for slot, agent in enumerate(self.ids)}

    def slots_of(self, agents: np.ndarray) -> np.ndarray:
        """Slots of agent ids [k]; an unknown agent gets a new one."""
        n = len(self.ids)
        if len(agents) == n and np.array_equal(agents, self.ids):
            return np.arange(n)
        slot_of = self._slot_of
        new = list(dict.fromkeys(int(a) for a in agents if int(a) not in slot_of))
        if new:
            old = self._arrays()
            self._allocate(n + len(new))
            for name, array in self._arrays().items():
                array[:n] = old[name]
            self.ids[n:] = new
            slot_of.update({agent: n + i for i, agent in enumerate(new)})
        return np.array([slot_of[int(a)] for a in agents], np.int64)

    def observe(self, k: np.ndarray, turn: Turn) -> list[int]:
        """Stores the observations of a turn, whose agents have the slots `k`; an episode begins with a zero state.

        Returns the slots that were not present before.
        """
        arrived = k[~self.present[k]].tolist()
        beginning = k[~self.open[k]]
        if len(beginning):
            self.state[beginning], self.previous[beginning] = 0, 0
            self.rows[beginning], self.total_reward[beginning] = 0, 0
        self.open[k] = False
        self.waiting[k] = self.present[k] = True
        for name, x in turn.obs.items():
            self.obs[name][k] = x
        self.mask[k] = turn.mask
        return arrived

    def act(self, k: np.ndarray, choice: Choice) -> None:
        """Stores the actions of `k`."""
        self.raw_action[k], self.discrete[k], self.log_prob[k] = choice.raw, choice.discrete, choice.log_prob
        self.open[k], self.waiting[k] = True, False
        if self._sizes[0]:
            self.state_before[k], self.state[k] = self.state[k], choice.state
            self.previous_before[k] = self.previous[k]
            self.previous[k] = np.concatenate([choice.action, self._one_hot(choice.discrete)], axis=-1)

    def _one_hot(self, discrete: np.ndarray) -> np.ndarray:
        parts = [np.eye(size, dtype=np.float32)[discrete[:, i]] for i, size in enumerate(self.spec.branches)]
        return np.concatenate([np.zeros((len(discrete), 0), np.float32), *parts], axis=-1)

    def completed_rows(self, k: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> Step:
        """The rows of `k`, whose last actions brought these rewards [k] and discounts [k]."""
        self.rows[k] += 1
        self.total_reward[k] += reward
        return Step(
            self.ids[k], {name: x[k] for name, x in self.obs.items()}, self.mask[k], self.raw_action[k],
            self.discrete[k], self.log_prob[k], self.state_before[k], self.previous_before[k], reward, discount,
            np.zeros(len(k), bool),
        )  # fmt: skip

    def final_rows(
        self, k: np.ndarray, obs: dict[str, np.ndarray], mask: np.ndarray, state: np.ndarray, previous: np.ndarray
    ) -> Step:
        """Rows with the final observations [k, ...] of `k`, recurrent states [k, S] and previous actions [k, P]."""
        n, spec, f32 = len(k), self.spec, np.float32
        return Step(
            self.ids[k], obs, mask, np.zeros((n, spec.continuous), f32),
            np.zeros((n, len(spec.branches)), np.int32), np.zeros((n, 2), f32), state, previous, np.zeros(n, f32),
            np.ones(n, f32), np.ones(n, bool),
        )  # fmt: skip

    def truncated_rows(self, k: np.ndarray) -> list[Step]:
        """Final rows that end the episodes of `k` as truncations at their newest observations, in a list of one Step.

        The list is empty where none of `k` has a completed row.
        """
        k = k[self.rows[k] > 0]
        if not len(k):
            return []
        acted = self.open[k, None]  # the outcome of the last action is unknown: the observation it saw is the final one
        state = np.where(acted, self.state_before[k], self.state[k])
        previous = np.where(acted, self.previous_before[k], self.previous[k])
        return [self.final_rows(k, {name: x[k] for name, x in self.obs.items()}, self.mask[k], state, previous)]

    def close(self, k: np.ndarray, complete: bool) -> list[Episode]:
        """Ends the episodes of `k`; an agent whose episode is not complete is absent until it asks again."""
        columns = k, self.total_reward[k], self.rows[k], self.ids[k]
        rows = zip(*(column.tolist() for column in columns))
        episodes = [Episode(slot, total, length, complete, stream) for slot, total, length, stream in rows]
        self.open[k] = self.waiting[k] = False
        self.rows[k], self.total_reward[k] = 0, 0
        if not complete:
            self.present[k] = False
        return episodes

    def running(self) -> np.ndarray:
        """Slots in the middle of an episode."""
        return np.flatnonzero(self.open | (self.waiting & (self.rows > 0)))

    def joined(self, steps: Sequence[Step]) -> Step:
        """All rows of several Steps (none is allowed) as one Step, in order."""
        if steps:
            return joined(steps)
        obs = {name: x[:0] for name, x in self.obs.items()}
        return self.final_rows(np.zeros(0, np.int64), obs, self.mask[:0], self.state[:0], self.previous[:0])
