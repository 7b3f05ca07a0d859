"""A scene with two behaviours in one player: grippers (see gripper.py), and sorters, which name the heaviest of three.

Environment parameters: `env_copys` agents of each behaviour (16).
"""

from __future__ import annotations

import numpy as np

from envs.players.casts import Cast, perform
from envs.players.gripper import Grippers
from envs.players.protocol import BehaviourActions, PlayerBehaviour, PlayerSensor, SceneContext, SceneGenerator, main

WEIGHTS = 3
FIRST_SORTER_ID = 1000  # above the ids of grippers


class Sorters(Cast):
    """Agents that see three weights and are paid for naming the heaviest; an episode has five such questions."""

    behaviour = PlayerBehaviour("Sorter", (PlayerSensor("VectorSensor_size3", (WEIGHTS,)),), branches=(WEIGHTS,))
    max_step = 5

    def place(self, agents: np.ndarray) -> None:
        self.weights = self.random.uniform(0, 1, (self.n, WEIGHTS))

    def observe(self) -> np.ndarray:
        return self.weights

    def move(self, actions: BehaviourActions) -> tuple[np.ndarray, np.ndarray]:
        right = actions.discrete[:, 0] == self.weights.argmax(axis=1)
        self.weights = self.random.uniform(0, 1, (self.n, WEIGHTS))
        return right / self.max_step, np.zeros(self.n, bool)


class WorkshopScene:
    """The scene: both behaviours act at every step."""

    name = "Workshop"

    def play(self, world: SceneContext) -> SceneGenerator:
        return perform([Grippers(world), Sorters(world, FIRST_SORTER_ID)])


if __name__ == "__main__":
    main(WorkshopScene())
