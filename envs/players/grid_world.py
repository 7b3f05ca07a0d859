"""Stand-in for ML-Agents' GridWorld: from a camera picture, walk to the green square and keep off the red one.

Environment parameters: `env_copys` agents (16), `grid_size` squares along an edge (5), `max_step` decisions of an
episode (100), `channels_first` 1 = pictures as packages >= 3.0 send them, 0 = as older ones do (1).
"""

from __future__ import annotations

import functools

import numpy as np

from envs.players import png
from envs.players.protocol import AgentReport, Play, PlayerBehaviour, World, join, main

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])  # row, column of: stay, up, down, left, right
PIXELS = 4  # along an edge of a square
FLOOR, AGENT, GREEN, RED = (200, 200, 200), (40, 80, 240), (20, 200, 60), (220, 30, 30)


class GridWorld:
    name = "GridWorld"

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
        """A RESET: new agents, each on a grid of its own."""
        if self.random is None:
            self.random = np.random.default_rng(world.seed)
        self.n = n = max(1, int(world.value("env_copys", 16)))
        self.ids = np.arange(n)
        self.size = max(2, int(world.value("grid_size", 5)))
        self.max_step = max(1, int(world.value("max_step", 100)))
        edge = self.size * PIXELS
        camera = png.sensor("CameraSensor", (edge, edge, 3), world.value("channels_first", 1) > 0)
        self.behaviour = PlayerBehaviour(self.name, (camera,), branches=(len(MOVES),))
        self.squares = np.zeros((n, 3), np.int64)  # of the agent, the green and the red: row * size + column
        self.steps = np.zeros(n, np.int64)
        self.reward = np.zeros(n)  # since the last request
        self.start(np.ones(n, bool))

    def start(self, who: np.ndarray) -> None:
        """OnEpisodeBegin: three different squares."""
        self.squares[who] = self.random.random((int(who.sum()), self.size**2)).argsort(axis=1)[:, :3]
        self.steps[who] = 0
        self.reward[who] = 0.0

    def act(self, choice: np.ndarray) -> AgentReport | None:
        """OnActionReceived: [n] choices. Walls hold also who ignores the mask."""
        place = np.stack(divmod(self.squares[:, 0], self.size), axis=1) + MOVES[choice]
        self.squares[:, 0] = np.clip(place, 0, self.size - 1) @ [self.size, 1]
        self.steps += 1
        agent, green, red = self.squares.T
        self.reward = np.where(agent == green, 1.0, np.where(agent == red, -1.0, 0.0)) - 0.01
        arrived = (agent == green) | (agent == red)
        over = arrived | (self.steps >= self.max_step)
        if not over.any():
            return None
        ended = AgentReport(
            self.behaviour,
            self.ids[over],
            [self.observe(over)],
            self.reward[over],
            np.ones(int(over.sum()), bool),
            ~arrived[over],
            self.forbidden()[over],
        )
        self.start(over)
        return ended

    def forbidden(self) -> np.ndarray:
        """[n, moves] bool: into a wall."""
        row, column = divmod(self.squares[:, 0], self.size)
        last = self.size - 1
        return np.stack([np.zeros(self.n, bool), row == 0, row == last, column == 0, column == last], axis=1)

    def observe(self, who: np.ndarray | slice = slice(None)) -> list[bytes]:
        return [_picture(self.size, *squares) for squares in self.squares[who].tolist()]

    def report(self, ended: AgentReport | None) -> AgentReport:
        """Endings first, then the requests of all agents."""
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(
            self.behaviour, self.ids, [self.observe()], self.reward, nothing, nothing, mask=self.forbidden()
        )
        return requests if ended is None else join(ended, requests)


@functools.lru_cache(maxsize=2**14)  # all 13,800 pictures of a 5 x 5 grid, and those at a goal: encoded once
def _picture(size: int, agent: int, green: int, red: int) -> bytes:
    """A PNG; the agent stands on top."""
    squares = np.full((size**2, 3), FLOOR, np.uint8)
    squares[green], squares[red], squares[agent] = GREEN, RED, AGENT
    return png.encode(squares.reshape(size, size, 3).repeat(PIXELS, axis=0).repeat(PIXELS, axis=1))


if __name__ == "__main__":
    main(GridWorld())
