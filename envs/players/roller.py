"""Stand-in for ML-Agents' tutorial scene RollerBall: roll a sphere to a target without falling off a 10 x 10 plane.

Environment parameters: `env_copys` agents (1), `relative_observation` 1 = six numbers (target x/z relative to the
sphere, own x/z, velocity x/z) instead of eight, `hide_velocity` 1 = without the last two numbers, `camera` 1 = a
picture from above instead of all numbers but the last two, `channels_first` 1 = pictures as packages >= 3.0 send them,
0 = as older ones do (1), `max_step` physics steps of an episode (1000), `decision_period` (10).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from envs.players import png
from envs.players.protocol import AgentReport, Play, PlayerBehaviour, PlayerSensor, World, join, main

STEP = 0.02  # s, Unity's fixed time step
FORCE = 10.0  # N for an action of 1, the tutorial's force multiplier
GRAVITY = 9.81
RADIUS = 0.5  # m; the sphere weighs 1 kg
EDGE = 5.0  # m from the middle of the plane
REACHED = 1.42  # m from centre to centre
ROLLING = 1.4  # a rolling sphere's inertia: m + I / r^2
SLIP_SPEED = 7.0 * RADIUS  # Unity limits a body to 7 rad/s: a faster sphere slides
SLIDING = 0.6 * GRAVITY  # m/s^2 lost while it slides, Unity's default friction
PIXELS, SCALE = 24, 2.0  # the camera's picture and its pixels per m: it sees 1 m beyond the edge
CENTRES = ((np.arange(PIXELS) + 0.5 - PIXELS / 2) / SCALE).astype(np.float32)  # of the pixels, m
COLOURS = [[20, 30, 60], [130, 130, 130], [240, 200, 40], [230, 240, 250]]
GROUND, PLANE, TARGET, SPHERE = np.array(COLOURS, np.float32)


class Roller:
    name = "RollerBall"

    def __init__(self):
        self.random: np.random.Generator | None = None

    def play(self, world: World) -> Play:
        """Simulates physics steps until an agent asks or ends. Yields reports, receives actions."""
        self.begin(world)
        period, ended, tick = max(1, int(world.value("decision_period", 10))), None, 0
        while True:
            asks = tick % period == 0
            if asks or ended is not None:
                actions = yield [self.report(ended, asks)]
                if asks:
                    self.force = np.clip(actions[self.name].continuous, -1.0, 1.0) * FORCE
            tick += 1
            ended = self.act()
            self.simulate()

    def begin(self, world: World) -> None:
        """A RESET: new agents at the centre, targets anywhere."""
        if self.random is None:
            self.random = np.random.default_rng(world.seed)
        self.n = n = max(1, int(world.value("env_copys", 1)))
        self.ids = np.arange(n)
        self.relative = world.value("relative_observation", 0) > 0
        self.hidden = world.value("hide_velocity", 0) > 0
        self.max_step = int(world.value("max_step", 1000))
        self.filmed = world.value("camera", 0) > 0
        channels_first = world.value("channels_first", 1) > 0
        self.behaviour = PlayerBehaviour(self.name, tuple(self.sensors(channels_first)), continuous=2)
        self.position = np.tile([0.0, RADIUS, 0.0], (n, 1))  # x, y, z
        self.velocity = np.zeros((n, 3))
        self.target = np.full((n, 3), RADIUS)
        self.force = np.zeros((n, 2))  # x, z
        self.steps = np.zeros(n, np.int64)
        self.move_targets(np.ones(n, bool))

    def sensors(self, channels_first: bool) -> Iterator[PlayerSensor]:
        width = (0 if self.filmed else 4 if self.relative else 6) + 2 * (not self.hidden)
        if width:
            yield PlayerSensor(f"VectorSensor_size{width}", (width,))
        if self.filmed:
            yield png.sensor("CameraSensor", (PIXELS, PIXELS, 3), channels_first)

    def move_targets(self, who: np.ndarray) -> None:
        self.target[who, ::2] = self.random.uniform(-4.0, 4.0, (int(who.sum()), 2))

    def act(self) -> AgentReport | None:
        """The agents' OnActionReceived without its force: who ends, with the last observation, then a new episode."""
        self.steps += 1
        reached = ((self.position - self.target) ** 2).sum(1) < REACHED**2
        fallen = self.position[:, 1] < 0.0
        late = self.steps >= self.max_step
        over = reached | fallen | late
        if not over.any():
            return None
        ended = AgentReport(
            self.behaviour,
            self.ids[over],
            self.observe(over),
            reached[over].astype(np.float64),
            np.ones(int(over.sum()), bool),
            (late & ~reached & ~fallen)[over],
        )
        self.steps[over] = 0
        self.force[over] = 0.0  # an agent that has not asked yet does nothing
        self.position[fallen] = [0.0, RADIUS, 0.0]
        self.velocity[fallen] = 0.0
        self.move_targets(over)
        return ended

    def simulate(self) -> None:
        """One physics step: rolling below `SLIP_SPEED`, sliding above, free fall beyond the edge."""
        position, velocity, flat = self.position, self.velocity, self.velocity[:, ::2]
        falling = (np.abs(position[:, ::2]).max(1) > EDGE) | (position[:, 1] < RADIUS)
        speed = np.sqrt((flat**2).sum(1))
        sliding = speed > SLIP_SPEED
        drag = np.where(sliding & ~falling, SLIDING / np.maximum(speed, 1e-9), 0.0)
        inertia = np.where(sliding | falling, 1.0, ROLLING)
        flat += (self.force / inertia[:, None] - drag[:, None] * flat) * STEP
        velocity[:, 1] = np.where(falling, velocity[:, 1] - GRAVITY * STEP, 0.0)
        position += velocity * STEP

    def observe(self, who: np.ndarray | slice = slice(None)) -> list:
        """One entry a sensor."""
        target, position = self.target[who], self.position[who]
        if self.filmed:
            parts = []
        elif self.relative:
            parts = [target[:, ::2] - position[:, ::2], position[:, ::2]]
        else:
            parts = [target, position]
        if not self.hidden:
            parts.append(self.velocity[who, ::2])
        pictures = [[png.encode(picture) for picture in film(target, position)]] if self.filmed else []
        return ([np.concatenate(parts, axis=1)] if parts else []) + pictures

    def report(self, ended: AgentReport | None, asks: bool) -> AgentReport:
        """Endings first, then the requests of all agents if this is a decision step."""
        if not asks:
            return ended
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(self.behaviour, self.ids, self.observe(), np.zeros(self.n), nothing, nothing)
        return requests if ended is None else join(ended, requests)


def film(target: np.ndarray, sphere: np.ndarray) -> np.ndarray:
    """[k, PIXELS, PIXELS, 3] uint8 from above of places [k, 3]; z points up in the picture."""
    on_plane = np.abs(CENTRES) < EDGE
    picture = np.where((on_plane[:, None] & on_plane)[..., None], PLANE, GROUND)
    for place, colour in ((target, TARGET), (sphere, SPHERE)):
        across, up = CENTRES - place[:, :1].astype(np.float32), CENTRES[::-1] - place[:, 2:].astype(np.float32)
        distance = np.hypot(across[:, None, :], up[:, :, None])
        # smooth edges, so that a place shows more finely than in whole pixels
        covered = np.clip((RADIUS - distance) * SCALE + 0.5, 0.0, 1.0)[..., None]
        picture = picture + covered * (colour - picture)
    return np.rint(picture).astype(np.uint8)


if __name__ == "__main__":
    main(Roller())
