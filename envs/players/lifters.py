"""A scene with group rewards: two lifters of a group are paid together, for each that lifts at its own signal.

Environment parameters: `env_copys` agents (16).
"""

from __future__ import annotations

import numpy as np

from envs.players.casts import Cast, perform
from envs.players.protocol import BehaviourActions, PlayerBehaviour, PlayerSensor, SceneContext, SceneGenerator, main

GROUP_SIZE = 2


class Lifters(Cast):
    """Agents that see a number and should lift (choice 1) where it is positive; the reward goes to the group."""

    behaviour = PlayerBehaviour("Lifter", (PlayerSensor("VectorSensor_size1", (1,)),), branches=(2,))
    max_step = 5

    def place(self, agents: np.ndarray) -> None:
        self.signal = self.random.uniform(-1, 1, self.n)
        self.paid = np.zeros(self.n)

    def observe(self) -> np.ndarray:
        return self.signal[:, None]

    def move(self, actions: BehaviourActions) -> tuple[np.ndarray, np.ndarray]:
        right = (actions.discrete[:, 0] == 1) == (self.signal > 0)
        group = np.arange(self.n) // GROUP_SIZE
        self.paid = (np.bincount(group, right) / np.bincount(group) / self.max_step)[group]
        self.signal = self.random.uniform(-1, 1, self.n)
        return np.zeros(self.n), np.zeros(self.n, bool)

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        return 1 + np.arange(self.n) // GROUP_SIZE, self.paid


class LifterScene:
    """The scene of a player with this behaviour alone."""

    name = "Lifter"

    def play(self, world: SceneContext) -> SceneGenerator:
        return perform([Lifters(world)])


if __name__ == "__main__":
    main(LifterScene())
