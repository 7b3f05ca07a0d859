"""Stand-in for ML-Agents' 3DBall: tilt a head so that a ball stays on it.

Environment parameters: `env_copys` agents (12), `max_step` physics steps of an episode (5000 = 1000 decisions, a
return of 100), `decision_period` (5), `gravity` (9.81), `hide_velocity` 1 = without the ball's velocity (5 numbers).
"""

from __future__ import annotations

import numpy as np

from envs.players.protocol import AgentReport, Play, PlayerBehaviour, PlayerSensor, World, join, main

STEP = 0.02  # s, Unity's fixed time step
TILT = np.deg2rad(2.0)  # of one physics step at an action of 1
TILT_LIMIT = 0.25  # of a quaternion component, about 29 degrees
HEAD = 2.5  # half the edge of the head, a cube
RADIUS = 0.5  # of the ball
START = 1.5  # the ball is dropped within this distance, 4 above the head's middle


class Ball3D:
    name = "3DBall"

    def __init__(self):
        self.random: np.random.Generator | None = None

    def play(self, world: World) -> Play:
        """Simulates physics steps until an agent asks or ends. Yields reports, receives actions."""
        self.begin(world)
        period, ended, tick = max(1, int(world.value("decision_period", 5))), None, 0
        while True:
            asks = tick % period == 0
            if asks or ended is not None:
                actions = yield [self.report(ended, asks)]
                if asks:
                    self.action = np.clip(actions[self.name].continuous, -1.0, 1.0)
            tick += 1
            ended = self.act()
            self.simulate()

    def begin(self, world: World) -> None:
        """A RESET: new agents."""
        if self.random is None:
            self.random = np.random.default_rng(world.seed)
        self.n = n = max(1, int(world.value("env_copys", 12)))
        self.ids = np.arange(n)
        self.max_step = int(world.value("max_step", 5000))
        self.gravity = world.value("gravity", 9.81)
        self.hidden = world.value("hide_velocity", 0) > 0
        width = 5 if self.hidden else 8
        self.behaviour = PlayerBehaviour(
            self.name, (PlayerSensor(f"VectorSensor_size{width}", (width,)),), continuous=2
        )
        self.rotation = np.zeros((n, 4))  # quaternion w, x, y, z
        self.ball = np.zeros((n, 3))  # relative to the head's middle
        self.velocity = np.zeros((n, 3))
        self.action = np.zeros((n, 2))
        self.steps = np.zeros(n, np.int64)
        self.acted = np.zeros(n, bool)  # since the last request: worth 0.1
        self.place(np.ones(n, bool))

    def place(self, who: np.ndarray) -> None:
        """OnEpisodeBegin: a slightly tilted head, the ball at rest above it."""
        count = int(who.sum())
        self.rotation[who] = [1.0, 0.0, 0.0, 0.0]
        angles = np.zeros((self.n, 2))
        angles[who] = np.deg2rad(self.random.uniform(-10.0, 10.0, (count, 2)))
        self.rotate(angles)
        self.ball[who, 1] = 4.0
        self.ball[who, ::2] = self.random.uniform(-START, START, (count, 2))
        self.velocity[who] = 0.0
        self.action[who] = 0.0
        self.steps[who] = 0
        self.acted[who] = False

    def rotate(self, angles: np.ndarray) -> None:
        """Turns the head about its own z, then its own x axis by `angles` [n, (z, x)] in radians."""
        w, x, y, z = self.rotation.T
        cosine, sine = np.cos(angles / 2.0), np.sin(angles / 2.0)
        c, s = cosine[:, 0], sine[:, 0]
        w, x, y, z = w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s
        c, s = cosine[:, 1], sine[:, 1]
        self.rotation[:] = np.stack([w * c - x * s, x * c + w * s, y * c + z * s, z * c - y * s], axis=1)

    def act(self) -> AgentReport | None:
        """OnActionReceived of all agents: tilts, then ends the episodes of dropped balls and of those out of time."""
        tilt = self.rotation[:, [3, 1]]  # about z, about x
        allowed = np.where(self.action > 0, tilt < TILT_LIMIT, tilt > -TILT_LIMIT)
        self.rotate(self.action * TILT * allowed)
        self.steps += 1
        self.acted[:] = True
        dropped = (self.ball[:, 1] < -2.0) | (np.abs(self.ball[:, ::2]).max(1) > 3.0)
        over = dropped | (self.steps >= self.max_step)
        if not over.any():
            return None
        ended = AgentReport(
            self.behaviour,
            self.ids[over],
            [self.observe()[over]],
            np.where(dropped, -1.0, 0.1)[over],
            np.ones(int(over.sum()), bool),
            ~dropped[over],
        )
        self.place(over)
        return ended

    def simulate(self) -> None:
        """One physics step: gravity, and a frictionless head that takes the speed into it away."""
        w, x, y, z = self.rotation.T
        normal = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1)
        across = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)  # its own x axis
        along = np.cross(across, normal)  # its own z axis
        self.velocity[:, 1] -= self.gravity * STEP
        self.ball += self.velocity * STEP
        height = (self.ball * normal).sum(1) - (HEAD + RADIUS)
        above = (np.abs((self.ball * across).sum(1)) < HEAD) & (np.abs((self.ball * along).sum(1)) < HEAD)
        touches = above & (height < 0.0) & (height > -2.0 * RADIUS)
        into = np.minimum((self.velocity * normal).sum(1), 0.0)
        self.ball -= np.where(touches, height, 0.0)[:, None] * normal
        self.velocity -= np.where(touches, into, 0.0)[:, None] * normal

    def observe(self) -> np.ndarray:
        parts = [self.rotation[:, [3, 1]], self.ball]
        if not self.hidden:
            parts.append(self.velocity)
        return np.concatenate(parts, axis=1)

    def report(self, ended: AgentReport | None, asks: bool) -> AgentReport:
        """Endings first, then the requests of all agents if this is a decision step."""
        if not asks:
            return ended
        nothing, reward = np.zeros(self.n, bool), np.where(self.acted, 0.1, 0.0)
        requests = AgentReport(self.behaviour, self.ids, [self.observe()], reward, nothing, nothing)
        self.acted[:] = False
        return requests if ended is None else join(ended, requests)


if __name__ == "__main__":
    main(Ball3D())
