"""Stand-in for ML-Agents' Hallway: remember the symbol at the start, walk down the corridor, choose its goal.

What the symbol was cannot be read from anything else later: the corridor is one step wide and every step is equally
long, so wherever an agent went while it saw the symbol, it passes the same places and sees the same as any other.

Environment parameters: `env_copys` agents (16), `corridor_length` steps to the junction (12), `cue_decisions` for
which the symbol is there (2), `swap_goals` 1 = the goals change sides at random (else X is on the left), `max_step`
decisions of an episode (60).
"""

from __future__ import annotations

import numpy as np

from envs.players.protocol import AgentReport, Play, PlayerBehaviour, PlayerSensor, World, join, main

FORWARD, LEFT, RIGHT = range(3)
TAGS = ("wall", "goal_x", "goal_o", "symbol_x", "symbol_o")
WALL, GOAL, SYMBOL = 0, 1, 3  # first tag of each kind
ANGLES = np.deg2rad([0, 30, -30, 60, -60, 90, -90])  # of the rays to the way ahead, right is positive
DIRECTIONS = np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=1)
REACH = 8.0  # of a ray, in steps
SIDE = 2  # steps from the junction to a goal
WRONG = -0.1  # reward of the other goal


class Hallway:
    name = "Hallway"

    def __init__(self):
        self.random: np.random.Generator | None = None

    def play(self, world: World) -> Play:
        """Every step is a decision of all agents. Yields reports, receives actions."""
        self.begin(world)
        ended = None
        while True:
            actions = yield [self.report(ended)]
            ended = self.act(actions[self.name].discrete[:, 0])

    def begin(self, world: World) -> None:
        """A RESET: new agents at the start."""
        if self.random is None:
            self.random = np.random.default_rng(world.seed)
        self.n = n = max(1, int(world.value("env_copys", 16)))
        self.ids = np.arange(n)
        self.length = max(2, int(world.value("corridor_length", 12)))
        self.cue_decisions = int(world.value("cue_decisions", 2))
        self.swaps = world.value("swap_goals", 0) > 0
        self.max_step = max(1, int(world.value("max_step", 60)))
        width = len(ANGLES) * (len(TAGS) + 2)
        self.behaviour = PlayerBehaviour(self.name, (PlayerSensor("RayPerceptionSensor", (width,)),), branches=(3,))
        self.low, self.high = _boxes(self.length)
        self.place = np.zeros((n, 2), np.int64)  # steps to the right, steps ahead
        self.symbol = np.zeros(n, np.int64)  # 0 = X, 1 = O
        self.left_goal = np.zeros(n, np.int64)  # the symbol of the goal on the left
        self.steps = np.zeros(n, np.int64)
        self.reward = np.zeros(n)  # since the last request
        self.start(np.ones(n, bool))

    def start(self, who: np.ndarray) -> None:
        """OnEpisodeBegin."""
        count = int(who.sum())
        self.place[who] = 0
        self.symbol[who] = self.random.integers(0, 2, count)
        if self.swaps:
            self.left_goal[who] = self.random.integers(0, 2, count)
        self.steps[who] = 0
        self.reward[who] = 0.0

    def act(self, choice: np.ndarray) -> AgentReport | None:
        """OnActionReceived: [n] choices. Walls leave the way ahead until the junction, and only the sides there."""
        right, ahead = self.place.T
        junction = ahead == self.length
        right += junction * ((choice == RIGHT).astype(int) - (choice == LEFT))
        ahead += ~junction & (choice == FORWARD)
        self.steps += 1
        arrived = np.abs(right) == SIDE
        goal = np.where(right < 0, self.left_goal, 1 - self.left_goal)
        self.reward = arrived * np.where(goal == self.symbol, 1.0, WRONG) - 1.0 / self.max_step
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
        """[n, rays * (tags + 2)], for each ray as in Unity: what it hits one-hot, 1 if nothing, distance / reach."""
        tags = np.zeros((self.n, len(self.low)), np.int64)  # of the boxes
        tags[:, -3] = GOAL + self.left_goal
        tags[:, -2] = GOAL + 1 - self.left_goal
        tags[:, -1] = SYMBOL + self.symbol
        distance = _distances(self.place, self.low, self.high)
        distance[self.steps >= self.cue_decisions, :, -1] = np.inf
        nearest = distance.argmin(axis=2)  # [n, rays]
        length = distance.min(axis=2)
        hit = length <= REACH
        rays = np.zeros((self.n, len(ANGLES), len(TAGS) + 2))
        rays[..., : len(TAGS)] = np.eye(len(TAGS))[np.take_along_axis(tags, nearest, axis=1)] * hit[..., None]
        rays[..., -2] = ~hit
        rays[..., -1] = np.where(hit, length / REACH, 1.0)
        return rays.reshape(self.n, -1)

    def report(self, ended: AgentReport | None) -> AgentReport:
        """Endings first, then the requests of all agents."""
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(self.behaviour, self.ids, [self.observe()], self.reward, nothing, nothing)
        return requests if ended is None else join(ended, requests)


def _boxes(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners [6, 2] of: three walls, the left and the right goal, the symbol. No ray looks back."""
    far, near, end = 100.0, length - 0.5, length + 0.5
    low = [[-far, -far], [0.5, -far], [-far, end], [-SIDE - 0.5, near], [SIDE - 0.5, near], [-0.3, 1.7]]
    high = [[-0.5, near], [far, near], [far, far], [-SIDE + 0.5, end], [SIDE + 0.5, end], [0.3, 2.3]]
    return np.array(low), np.array(high)


def _distances(origin: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[n, rays, boxes] from each origin [n, 2] to where the ray enters the box; infinite where it passes by."""
    start = origin[:, None, None, :]
    with np.errstate(divide="ignore"):  # a ray along an axis: infinities compare as they should
        one, other = ((corner - start) / DIRECTIONS[:, None, :] for corner in (low, high))
    enters, leaves = np.minimum(one, other).max(axis=3), np.maximum(one, other).min(axis=3)
    return np.where((enters >= 0.0) & (enters <= leaves), enters, np.inf)


if __name__ == "__main__":
    main(Hallway())
