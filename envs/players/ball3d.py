"""Stand-in for the scene 3DBall of ML-Agents: tilt a head so that a ball stays on it.

Environment parameters: `env_copys` agents (12), `max_step` physics steps of an episode (5000 = 1000 decisions, a
return of 100), `decision_period` (5), `gravity` (9.81), `hide_velocity` 1 = without the ball's velocity (5 numbers).
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

STEP_SECONDS = 0.02  # Unity's fixed time step
TILT_RADIANS_PER_STEP = np.deg2rad(2.0)  # at an action of 1
MAX_TILT_COMPONENT = 0.25  # of a component of the quaternion, about 29 degrees
HEAD_HALF_EDGE_METRES = 2.5  # the head is a cube
BALL_RADIUS_METRES = 0.5
MAX_START_OFFSET_METRES = 1.5  # along x and z, from the middle of the head
START_HEIGHT_METRES = 4.0  # above the middle of the head
MAX_START_TILT_DEGREES = 10.0
MAX_DEPTH_METRES, MAX_OFFSET_METRES = 2.0, 3.0  # a ball further below or beside the middle of the head is dropped
STEP_REWARD, DROP_REWARD = 0.1, -1.0


class Ball3D:
    """The scene; all arrays have one row for each of the n agents."""

    name = "3DBall"

    def play(self, world: SceneContext) -> SceneGenerator:
        """Simulates physics steps, and yields a report whenever agents ask for actions or end."""
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

    def begin(self, world: SceneContext) -> None:
        """Begins a RESET: makes new agents."""
        self.world, self.random = world, world.random
        self.n = n = max(1, int(world.value("env_copys", 12)))
        self.ids = np.arange(n)
        self.max_step = int(world.value("max_step", 5000))
        self.gravity = np.zeros(n)  # of each agent, as its episode began
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
        self.acted = np.zeros(n, bool)  # whether it has acted since the last request, which earns STEP_REWARD
        self.place(np.ones(n, bool))

    def place(self, agents: np.ndarray) -> None:
        """Begins episodes of the agents [n] bool: a slightly tilted head, the ball at rest above it."""
        count = int(agents.sum())
        self.rotation[agents] = [1.0, 0.0, 0.0, 0.0]
        angles = np.zeros((self.n, 2))
        angles[agents] = np.deg2rad(self.random.uniform(-MAX_START_TILT_DEGREES, MAX_START_TILT_DEGREES, (count, 2)))
        self.rotate(angles)
        self.ball[agents, 1] = START_HEIGHT_METRES
        self.ball[agents, ::2] = self.random.uniform(-MAX_START_OFFSET_METRES, MAX_START_OFFSET_METRES, (count, 2))
        self.velocity[agents] = 0.0
        self.action[agents] = 0.0
        self.steps[agents] = 0
        self.acted[agents] = False
        self.gravity[agents] = [self.world.value("gravity", 9.81) for _ in range(count)]

    def rotate(self, angles: np.ndarray) -> None:
        """Turns the head about its own z, then its own x axis by `angles` [n, (z, x)] in radians."""
        w, x, y, z = self.rotation.T
        cosine, sine = np.cos(angles / 2.0), np.sin(angles / 2.0)
        c, s = cosine[:, 0], sine[:, 0]
        w, x, y, z = w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s
        c, s = cosine[:, 1], sine[:, 1]
        self.rotation[:] = np.stack([w * c - x * s, x * c + w * s, y * c + z * s, z * c - y * s], axis=1)

    def act(self) -> AgentReport | None:
        """Tilts all heads, then ends the episodes whose ball has dropped or whose time is over (OnActionReceived)."""
        tilt = self.rotation[:, [3, 1]]  # about z, about x
        allowed = np.where(self.action > 0, tilt < MAX_TILT_COMPONENT, tilt > -MAX_TILT_COMPONENT)
        self.rotate(self.action * TILT_RADIANS_PER_STEP * allowed)
        self.steps += 1
        self.acted[:] = True
        dropped = (self.ball[:, 1] < -MAX_DEPTH_METRES) | (np.abs(self.ball[:, ::2]).max(1) > MAX_OFFSET_METRES)
        over = dropped | (self.steps >= self.max_step)
        if not over.any():
            return None
        ended = AgentReport(
            self.behaviour,
            self.ids[over],
            [self.observe()[over]],
            np.where(dropped, DROP_REWARD, STEP_REWARD)[over],
            np.ones(int(over.sum()), bool),
            ~dropped[over],
        )
        self.place(over)
        return ended

    def simulate(self) -> None:
        """Does one physics step: gravity, and a frictionless head that stops the motion of the ball into it."""
        w, x, y, z = self.rotation.T
        normal = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1)
        across = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)  # its own x axis
        along = np.cross(across, normal)  # its own z axis
        self.velocity[:, 1] -= self.gravity * STEP_SECONDS
        self.ball += self.velocity * STEP_SECONDS
        height = (self.ball * normal).sum(1) - (HEAD_HALF_EDGE_METRES + BALL_RADIUS_METRES)
        above = (np.abs((self.ball * across).sum(1)) < HEAD_HALF_EDGE_METRES) & (
            np.abs((self.ball * along).sum(1)) < HEAD_HALF_EDGE_METRES
        )
        touches = above & (height < 0.0) & (height > -2.0 * BALL_RADIUS_METRES)
        into = np.minimum((self.velocity * normal).sum(1), 0.0)
        self.ball -= np.where(touches, height, 0.0)[:, None] * normal
        self.velocity -= np.where(touches, into, 0.0)[:, None] * normal

    def observe(self) -> np.ndarray:
        """Observations [n, 8], or [n, 5] without the velocity."""
        parts = [self.rotation[:, [3, 1]], self.ball]
        if not self.hidden:
            parts.append(self.velocity)
        return np.concatenate(parts, axis=1)

    def report(self, ended: AgentReport | None, asks: bool) -> AgentReport:
        """The endings, followed by the requests of all agents if this is a decision step."""
        if not asks:
            assert ended is not None
            return ended
        nothing, reward = np.zeros(self.n, bool), np.where(self.acted, STEP_REWARD, 0.0)
        requests = AgentReport(self.behaviour, self.ids, [self.observe()], reward, nothing, nothing)
        self.acted[:] = False
        return requests if ended is None else join_reports(ended, requests)


if __name__ == "__main__":
    main(Ball3D())
