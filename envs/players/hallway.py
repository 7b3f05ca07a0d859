"""Stand-in for the scene Hallway of ML-Agents: remember a symbol, walk down a corridor, choose the symbol's goal.

An agent must remember the symbol, because no later observation depends on it: the corridor is one step wide and all
steps are equally long, so every agent passes the same places and sees the same there.

Environment parameters: `env_copys` agents (16), `corridor_length` steps to the junction (12), `cue_decisions` for
which the symbol is visible (2), `swap_goals` 1 = the goals change sides at random (else X is on the left), `max_step`
decisions of an episode (60).
"""

from __future__ import annotations

import numpy as np

from envs.players.protocol import (
    AgentReport,
    PlayerBehaviour,
    PlayerSensor,
    SceneContext,
    SceneGenerator,
    join_reports,
    main,
)

FORWARD, LEFT, RIGHT = range(3)
RAY_TAGS = ("wall", "goal_x", "goal_o", "symbol_x", "symbol_o")
WALL, GOAL, SYMBOL = 0, 1, 3  # the first tag of each kind
RAY_ANGLES_RADIANS = np.deg2rad([0, 30, -30, 60, -60, 90, -90])  # of the rays from the way ahead; right is positive
RAY_DIRECTIONS = np.stack([np.sin(RAY_ANGLES_RADIANS), np.cos(RAY_ANGLES_RADIANS)], axis=1)
RAY_LENGTH_STEPS = 8.0
GOAL_OFFSET_STEPS = 2  # from the junction to either goal
CORRECT_GOAL_REWARD, WRONG_GOAL_REWARD = 1.0, -0.1


class Hallway:
    """The scene; all arrays have one row for each of the n agents, which have a corridor each."""

    name = "Hallway"

    def play(self, world: SceneContext) -> SceneGenerator:
        """Every step is a decision of all agents: yields their report and receives their actions."""
        self.begin(world)
        ended = None
        while True:
            actions = yield [self.report(ended)]
            ended = self.act(actions[self.name].discrete[:, 0])

    def begin(self, world: SceneContext) -> None:
        """Begins a RESET: makes new agents at the start."""
        self.random = world.random
        self.n = n = max(1, int(world.value("env_copys", 16)))
        self.ids = np.arange(n)
        self.length = max(2, int(world.value("corridor_length", 12)))
        self.cue_decisions = int(world.value("cue_decisions", 2))
        self.swaps = world.value("swap_goals", 0) > 0
        self.max_step = max(1, int(world.value("max_step", 60)))
        width = len(RAY_ANGLES_RADIANS) * (len(RAY_TAGS) + 2)
        self.behaviour = PlayerBehaviour(self.name, (PlayerSensor("RayPerceptionSensor", (width,)),), branches=(3,))
        self.low, self.high = _boxes(self.length)
        self.place = np.zeros((n, 2), np.int64)  # steps to the right, steps ahead
        self.symbol = np.zeros(n, np.int64)  # 0 = X, 1 = O
        self.left_goal = np.zeros(n, np.int64)  # the symbol of the goal on the left
        self.steps = np.zeros(n, np.int64)
        self.reward = np.zeros(n)  # since the last request
        self.start(np.ones(n, bool))

    def start(self, agents: np.ndarray) -> None:
        """Begins episodes of the agents [n] bool (OnEpisodeBegin)."""
        count = int(agents.sum())
        self.place[agents] = 0
        self.symbol[agents] = self.random.integers(0, 2, count)
        if self.swaps:
            self.left_goal[agents] = self.random.integers(0, 2, count)
        self.steps[agents] = 0
        self.reward[agents] = 0.0

    def act(self, choice: np.ndarray) -> AgentReport | None:
        """Moves by the choices [n]: ahead until the junction, aside there. Then ends episodes (OnActionReceived)."""
        right, ahead = self.place.T
        junction = ahead == self.length
        right += junction * ((choice == RIGHT).astype(int) - (choice == LEFT))
        ahead += ~junction & (choice == FORWARD)
        self.steps += 1
        arrived = np.abs(right) == GOAL_OFFSET_STEPS
        goal = np.where(right < 0, self.left_goal, 1 - self.left_goal)
        self.reward = (
            arrived * np.where(goal == self.symbol, CORRECT_GOAL_REWARD, WRONG_GOAL_REWARD) - 1.0 / self.max_step
        )
        over = arrived | (self.steps >= self.max_step)
        if not over.any():
            return None
        ended = AgentReport(
            self.behaviour,
            self.ids[over],
            [self.observe()[over]],
            self.reward[over],
            np.ones(int(over.sum()), bool),
            ~arrived[over],
        )
        self.start(over)
        return ended

    def observe(self) -> np.ndarray:
        """[n, rays * (tags + 2)]; for each ray the tag it hits one-hot, 1 if it hits nothing, distance / length."""
        tags = np.zeros((self.n, len(self.low)), np.int64)  # the tag of each box
        tags[:, -3] = GOAL + self.left_goal
        tags[:, -2] = GOAL + 1 - self.left_goal
        tags[:, -1] = SYMBOL + self.symbol
        distance = _distances(self.place, self.low, self.high)
        distance[self.steps >= self.cue_decisions, :, -1] = np.inf
        nearest = distance.argmin(axis=2)  # [n, rays]
        length = distance.min(axis=2)
        hit = length <= RAY_LENGTH_STEPS
        rays = np.zeros((self.n, len(RAY_ANGLES_RADIANS), len(RAY_TAGS) + 2))
        rays[..., : len(RAY_TAGS)] = np.eye(len(RAY_TAGS))[np.take_along_axis(tags, nearest, axis=1)] * hit[..., None]
        rays[..., -2] = ~hit
        rays[..., -1] = np.where(hit, length / RAY_LENGTH_STEPS, 1.0)
        return rays.reshape(self.n, -1)

    def report(self, ended: AgentReport | None) -> AgentReport:
        """The endings, followed by the requests of all agents."""
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(self.behaviour, self.ids, [self.observe()], self.reward, nothing, nothing)
        return requests if ended is None else join_reports(ended, requests)


def _boxes(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners [6, 2] of three walls, the left and the right goal, and the symbol; no ray points backwards."""
    far, near, end = 100.0, length - 0.5, length + 0.5
    low = [
        [-far, -far],
        [0.5, -far],
        [-far, end],
        [-GOAL_OFFSET_STEPS - 0.5, near],
        [GOAL_OFFSET_STEPS - 0.5, near],
        [-0.3, 1.7],
    ]
    high = [
        [-0.5, near],
        [far, near],
        [far, far],
        [-GOAL_OFFSET_STEPS + 0.5, end],
        [GOAL_OFFSET_STEPS + 0.5, end],
        [0.3, 2.3],
    ]
    return np.array(low), np.array(high)


def _distances(origin: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Distances [n, rays, boxes] along each ray from the origins [n, 2] to the boxes; infinite where it misses."""
    start = origin[:, None, None, :]
    with np.errstate(divide="ignore"):  # a ray along an axis: the infinities compare correctly
        one, other = ((corner - start) / RAY_DIRECTIONS[:, None, :] for corner in (low, high))
    enters, leaves = np.minimum(one, other).max(axis=3), np.maximum(one, other).min(axis=3)
    return np.where((enters >= 0.0) & (enters <= leaves), enters, np.inf)


if __name__ == "__main__":
    main(Hallway())
