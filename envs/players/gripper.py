"""A scene with hybrid actions: move a gripper along a rail (continuous) and close it over the object (discrete).

Environment parameters: `env_copys` agents (16).
"""

from __future__ import annotations

import numpy as np

from envs.players.casts import Cast, perform
from envs.players.protocol import BehaviourActions, PlayerBehaviour, PlayerSensor, SceneContext, SceneGenerator, main

STEP_LENGTH, REACH = 0.2, 0.08  # in units of half the rail
GRASP_REWARD, MISS_REWARD, STEP_REWARD = 1.0, -0.1, -0.01
CLOSE = 1  # of the choices open and close


class Grippers(Cast):
    """Grippers on rails from -1 to 1; closing one within REACH of its object ends the episode."""

    behaviour = PlayerBehaviour("Gripper", (PlayerSensor("VectorSensor_size2", (2,)),), continuous=1, branches=(2,))
    max_step = 40

    def place(self, agents: np.ndarray) -> None:
        if not hasattr(self, "gripper"):
            self.gripper, self.object = np.zeros(self.n), np.zeros(self.n)
        count = int(agents.sum())
        self.gripper[agents], self.object[agents] = self.random.uniform(-1, 1, (2, count))

    def observe(self) -> np.ndarray:
        return np.stack([self.gripper, self.object], axis=1)

    def move(self, actions: BehaviourActions) -> tuple[np.ndarray, np.ndarray]:
        self.gripper = np.clip(self.gripper + STEP_LENGTH * np.clip(actions.continuous[:, 0], -1, 1), -1, 1)
        closed = actions.discrete[:, 0] == CLOSE
        grasped = closed & (np.abs(self.gripper - self.object) < REACH)
        return np.where(grasped, GRASP_REWARD, np.where(closed, MISS_REWARD, 0.0)) + STEP_REWARD, grasped


class GripperScene:
    """The scene of a player with this behaviour alone."""

    name = "Gripper"

    def play(self, world: SceneContext) -> SceneGenerator:
        return perform([Grippers(world)])


if __name__ == "__main__":
    main(GripperScene())
