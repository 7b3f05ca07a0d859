"""Stand-in for the scene GridWorld of ML-Agents: see a picture, walk to the green square and avoid the red one.

Environment parameters: `env_copys` agents (16), `grid_size` squares along an edge (5), `max_step` decisions of an
episode (100), `channels_first` 1 = pictures as packages >= 3.0 send them, 0 = as older ones do (1).
"""

from __future__ import annotations

import functools

import numpy as np

from envs.players import png
from envs.players.protocol import AgentReport, PlayerBehaviour, SceneContext, SceneGenerator, join_reports, main

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])  # row, column of: stay, up, down, left, right
PIXELS_PER_SQUARE = 4  # along an edge
STEP_REWARD, GREEN_REWARD, RED_REWARD = -0.01, 1.0, -1.0
CACHED_PICTURES = 2**14  # more than the 13,800 pictures of a 5 x 5 grid, those at a goal included
FLOOR_RGB, AGENT_RGB, GREEN_RGB, RED_RGB = (200, 200, 200), (40, 80, 240), (20, 200, 60), (220, 30, 30)


class GridWorld:
    """The scene; all arrays have one row for each of the n agents, which have a grid each."""

    name = "GridWorld"

    def play(self, world: SceneContext) -> SceneGenerator:
        """Every step is a decision of all agents: yields their report and receives their actions."""
        self.begin(world)
        ended = None
        while True:
            actions = yield [self.report(ended)]
            ended = self.act(actions[self.name].discrete[:, 0])

    def begin(self, world: SceneContext) -> None:
        """Begins a RESET: makes new agents."""
        self.random = world.random
        self.n = n = max(1, int(world.value("env_copys", 16)))
        self.ids = np.arange(n)
        self.size = max(2, int(world.value("grid_size", 5)))
        self.max_step = max(1, int(world.value("max_step", 100)))
        edge = self.size * PIXELS_PER_SQUARE
        camera = png.sensor("CameraSensor", (edge, edge, 3), world.value("channels_first", 1) > 0)
        self.behaviour = PlayerBehaviour(self.name, (camera,), branches=(len(MOVES),))
        self.squares = np.zeros((n, 3), np.int64)  # of agent, green and red, each as row * size + column
        self.steps = np.zeros(n, np.int64)
        self.reward = np.zeros(n)  # since the last request
        self.start(np.ones(n, bool))

    def start(self, agents: np.ndarray) -> None:
        """Begins episodes of the agents [n] bool on three different squares (OnEpisodeBegin)."""
        self.squares[agents] = self.random.random((int(agents.sum()), self.size**2)).argsort(axis=1)[:, :3]
        self.steps[agents] = 0
        self.reward[agents] = 0.0

    def act(self, choice: np.ndarray) -> AgentReport | None:
        """Moves by the choices [n], which walls stop, then ends episodes (OnActionReceived)."""
        place = np.stack(divmod(self.squares[:, 0], self.size), axis=1) + MOVES[choice]
        self.squares[:, 0] = np.clip(place, 0, self.size - 1) @ [self.size, 1]
        self.steps += 1
        agent, green, red = self.squares.T
        self.reward = np.where(agent == green, GREEN_REWARD, np.where(agent == red, RED_REWARD, 0.0)) + STEP_REWARD
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
        """[n, moves] bool: moves into a wall."""
        row, column = divmod(self.squares[:, 0], self.size)
        last = self.size - 1
        return np.stack([np.zeros(self.n, bool), row == 0, row == last, column == 0, column == last], axis=1)

    def observe(self, agents: np.ndarray | slice = slice(None)) -> list[bytes]:
        """A PNG of each agent."""
        return [_picture(self.size, *squares) for squares in self.squares[agents].tolist()]

    def report(self, ended: AgentReport | None) -> AgentReport:
        """The endings, followed by the requests of all agents."""
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(
            self.behaviour, self.ids, [self.observe()], self.reward, nothing, nothing, mask=self.forbidden()
        )
        return requests if ended is None else join_reports(ended, requests)


@functools.lru_cache(maxsize=CACHED_PICTURES)
def _picture(size: int, agent: int, green: int, red: int) -> bytes:
    """A PNG of a grid, where the agent covers a goal on the same square."""
    squares = np.full((size**2, 3), FLOOR_RGB, np.uint8)
    squares[green], squares[red], squares[agent] = GREEN_RGB, RED_RGB, AGENT_RGB
    return png.encode(
        squares.reshape(size, size, 3).repeat(PIXELS_PER_SQUARE, axis=0).repeat(PIXELS_PER_SQUARE, axis=1)
    )


if __name__ == "__main__":
    main(GridWorld())
