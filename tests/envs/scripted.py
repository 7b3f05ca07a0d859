"""A small deterministic environment that can save its state, for tests of rollout, roles and bit-exact resume."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from sac.types import Action, Ended, Sensor, Spec, Turn


class ScriptedEnv:
    """n carts on a line, pushed by continuous actions and by the first branch, with seeded noise.

    Reward -x^2. Leaving [-1, 1] terminates; agent i is truncated after `limit + i` steps. Actions of every kind:
    `continuous` columns, `branches` of any number; `masked` forbids choice 0 of every branch while x > 0; `image`
    adds a uint8 sensor `camera` [4, 4, 1]. `state()` and `restore()` round-trip everything, bit for bit.
    """

    def __init__(
        self,
        n_agents: int = 2,
        continuous: int = 1,
        branches: tuple[int, ...] = (),
        limit: int = 12,
        masked: bool = False,
        image: bool = False,
    ) -> None:
        self.n_agents = n_agents
        sensors = (Sensor("cart", (3,)),) + ((Sensor("camera", (4, 4, 1), "uint8"),) if image else ())
        self.spec = Spec(sensors, continuous, tuple(branches))
        self._masked = masked
        self._limit = limit + np.arange(n_agents)
        self._rng = np.random.default_rng(0)
        self._x = self._v = np.zeros(n_agents)
        self._t = np.zeros(n_agents, int)
        self._reward = np.zeros(n_agents, np.float32)
        self.closed = False

    def reset(self, seed: int | None = None) -> Turn:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._reward = np.zeros(self.n_agents, np.float32)
        self._x, self._v, self._t = np.zeros(self.n_agents), np.zeros(self.n_agents), np.zeros(self.n_agents, int)
        self._begin(np.ones(self.n_agents, bool))
        return self._turn(np.zeros(self.n_agents, bool), np.zeros(self.n_agents, bool), self._look())

    def step(self, action: Action) -> Turn:
        push = action.continuous.mean(axis=1) if self.spec.continuous else 0.0
        if self.spec.branches:
            push = push + 2 * action.discrete[:, 0] / (self.spec.branches[0] - 1) - 1
        self._v = 0.8 * self._v + 0.1 * push + 0.05 * self._rng.standard_normal(self.n_agents)
        self._x = self._x + self._v
        self._t = self._t + 1
        self._reward = (-(self._x**2)).astype(np.float32)
        terminated = np.abs(self._x) > 1
        done = terminated | (self._t >= self._limit)
        last = self._look()
        self._begin(done)
        return self._turn(done, terminated, last)

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on, by value, ready for JSON (floats survive it exactly)."""
        arrays = {"x": self._x, "v": self._v, "t": self._t, "reward": self._reward}
        return {k: v.tolist() for k, v in arrays.items()} | {"rng": deepcopy(self._rng.bit_generator.state)}

    def restore(self, state: dict[str, Any]) -> Turn:
        """Continues where `state()` was taken; returns the open requests again, without the endings already told."""
        self._x, self._v, self._t = (np.array(state[name]) for name in ("x", "v", "t"))
        self._reward = np.array(state["reward"], np.float32)
        self._rng.bit_generator.state = deepcopy(state["rng"])
        return self._turn(np.zeros(self.n_agents, bool), np.zeros(self.n_agents, bool), self._look())

    def render(self) -> np.ndarray | None:
        return np.full((8, 8, 3), 128, np.uint8)

    def close(self) -> None:
        self.closed = True

    def _begin(self, who: np.ndarray) -> None:
        self._x = np.where(who, self._rng.uniform(-0.5, 0.5, self.n_agents), self._x)
        self._v, self._t = np.where(who, 0.0, self._v), np.where(who, 0, self._t)

    def _look(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        cart = np.stack([self._x, self._v, self._t / self._limit], axis=1).astype(np.float32)
        obs = {"cart": cart}
        if len(self.spec.sensors) > 1:
            shade = np.clip(128 + 100 * self._x, 0, 255).astype(np.uint8)
            obs["camera"] = np.broadcast_to(shade[:, None, None, None], (self.n_agents, 4, 4, 1)).copy()
        mask = np.ones((self.n_agents, self.spec.choices), bool)
        if self._masked:
            first = np.cumsum((0, *self.spec.branches[:-1]))
            mask[np.ix_(self._x > 0, first)] = False
        return obs, mask

    def _turn(self, done: np.ndarray, terminated: np.ndarray, last: tuple[dict[str, np.ndarray], np.ndarray]) -> Turn:
        obs, mask = self._look()
        last_obs, last_mask = last
        ended = Ended(
            np.flatnonzero(done),
            {name: value[done] for name, value in last_obs.items()},
            last_mask[done],
            self._reward[done],
            np.where(terminated[done], np.float32(0), np.float32(1)),
        )
        return Turn(np.arange(self.n_agents), obs, mask, self._reward.copy(), ended)
