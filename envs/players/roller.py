"""Stand-in for RollerBall, ML-Agents' tutorial: roll a sphere to a target without falling off a plane of 10 m x 10 m.

Environment parameters: `env_copys` agents (1), `relative_observation` 1 = six numbers (target x/z relative to the
sphere, own x/z, velocity x/z) instead of eight, `hide_velocity` 1 = without the last two numbers, `camera` 1 = a
picture from above instead of all numbers but the last two, `channels_first` 1 = pictures as packages >= 3.0 send them,
0 = as older ones do (1), `max_step` physics steps of an episode (1000), `decision_period` (10).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from envs.players import png
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
MAX_FORCE_NEWTONS = 10.0  # at an action of 1, the force multiplier of the tutorial
GRAVITY_METRES_PER_SECOND2 = 9.81
SPHERE_RADIUS_METRES = 0.5  # its mass is 1 kg
PLANE_HALF_EDGE_METRES = 5.0  # from the middle of the plane
TARGET_DISTANCE_METRES = 1.42  # between the centres, where the target is reached
MAX_TARGET_OFFSET_METRES = 4.0  # of a target from the middle, along x and z
ROLLING_INERTIA_KG = 1.4  # of a rolling sphere: m + I / r^2
SLIP_METRES_PER_SECOND = 7.0 * SPHERE_RADIUS_METRES  # Unity limits rotation to 7 rad/s: a faster sphere slides
SLIDING_METRES_PER_SECOND2 = 0.6 * GRAVITY_METRES_PER_SECOND2  # deceleration by sliding, at Unity's default friction
PICTURE_PIXELS, PIXELS_PER_METRE = 24, 2.0  # of the camera, which sees 1 m beyond the edge
PIXEL_CENTRES_METRES = (np.arange(PICTURE_PIXELS) + 0.5 - PICTURE_PIXELS / 2) / PIXELS_PER_METRE
PIXEL_CENTRES_METRES = PIXEL_CENTRES_METRES.astype(np.float32)
COLOURS_RGB = [[20, 30, 60], [130, 130, 130], [240, 200, 40], [230, 240, 250]]
GROUND, PLANE, TARGET, SPHERE = np.array(COLOURS_RGB, np.float32)


class Roller:
    """The scene; all arrays have one row for each of the n agents, which have a plane each."""

    name = "RollerBall"

    def play(self, world: SceneContext) -> SceneGenerator:
        """Simulates physics steps, and yields a report whenever agents ask for actions or end."""
        self.begin(world)
        period, ended, tick = max(1, int(world.value("decision_period", 10))), None, 0
        while True:
            asks = tick % period == 0
            if asks or ended is not None:
                actions = yield [self.report(ended, asks)]
                if asks:
                    self.force = np.clip(actions[self.name].continuous, -1.0, 1.0) * MAX_FORCE_NEWTONS
            tick += 1
            ended = self.act()
            self.simulate()

    def begin(self, world: SceneContext) -> None:
        """Begins a RESET: makes new agents in the middle, with targets at random places."""
        self.random = world.random
        self.n = n = max(1, int(world.value("env_copys", 1)))
        self.ids = np.arange(n)
        self.relative = world.value("relative_observation", 0) > 0
        self.hidden = world.value("hide_velocity", 0) > 0
        self.max_step = int(world.value("max_step", 1000))
        self.filmed = world.value("camera", 0) > 0
        channels_first = world.value("channels_first", 1) > 0
        self.behaviour = PlayerBehaviour(self.name, tuple(self.sensors(channels_first)), continuous=2)
        self.position = np.tile([0.0, SPHERE_RADIUS_METRES, 0.0], (n, 1))  # x, y, z
        self.velocity = np.zeros((n, 3))
        self.target = np.full((n, 3), SPHERE_RADIUS_METRES)
        self.force = np.zeros((n, 2))  # x, z
        self.steps = np.zeros(n, np.int64)
        self.move_targets(np.ones(n, bool))

    def sensors(self, channels_first: bool) -> Iterator[PlayerSensor]:
        """The sensors that the environment parameters ask for."""
        width = (0 if self.filmed else 4 if self.relative else 6) + 2 * (not self.hidden)
        if width:
            yield PlayerSensor(f"VectorSensor_size{width}", (width,))
        if self.filmed:
            yield png.sensor("CameraSensor", (PICTURE_PIXELS, PICTURE_PIXELS, 3), channels_first)

    def move_targets(self, agents: np.ndarray) -> None:
        """New targets for the agents [n] bool."""
        self.target[agents, ::2] = self.random.uniform(
            -MAX_TARGET_OFFSET_METRES, MAX_TARGET_OFFSET_METRES, (int(agents.sum()), 2)
        )

    def act(self) -> AgentReport | None:
        """Ends episodes at the target, beyond the edge or after their time, and begins new ones (OnActionReceived)."""
        self.steps += 1
        reached = ((self.position - self.target) ** 2).sum(1) < TARGET_DISTANCE_METRES**2
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
        self.force[over] = 0.0  # until the agent acts for the first time
        self.position[fallen] = [0.0, SPHERE_RADIUS_METRES, 0.0]
        self.velocity[fallen] = 0.0
        self.move_targets(over)
        return ended

    def simulate(self) -> None:
        """Does one physics step: rolling below SLIP_METRES_PER_SECOND, sliding above, free fall beyond the edge."""
        position, velocity, flat = self.position, self.velocity, self.velocity[:, ::2]
        falling = (np.abs(position[:, ::2]).max(1) > PLANE_HALF_EDGE_METRES) | (position[:, 1] < SPHERE_RADIUS_METRES)
        speed = np.sqrt((flat**2).sum(1))
        sliding = speed > SLIP_METRES_PER_SECOND
        drag = np.where(sliding & ~falling, SLIDING_METRES_PER_SECOND2 / np.maximum(speed, 1e-9), 0.0)
        inertia = np.where(sliding | falling, 1.0, ROLLING_INERTIA_KG)
        flat += (self.force / inertia[:, None] - drag[:, None] * flat) * STEP_SECONDS
        velocity[:, 1] = np.where(falling, velocity[:, 1] - GRAVITY_METRES_PER_SECOND2 * STEP_SECONDS, 0.0)
        position += velocity * STEP_SECONDS

    def observe(self, agents: np.ndarray | slice = slice(None)) -> list:
        """One entry for each sensor."""
        target, position = self.target[agents], self.position[agents]
        if self.filmed:
            parts = []
        elif self.relative:
            parts = [target[:, ::2] - position[:, ::2], position[:, ::2]]
        else:
            parts = [target, position]
        if not self.hidden:
            parts.append(self.velocity[agents, ::2])
        pictures = [[png.encode(picture) for picture in draw_top_view(target, position)]] if self.filmed else []
        return ([np.concatenate(parts, axis=1)] if parts else []) + pictures

    def report(self, ended: AgentReport | None, asks: bool) -> AgentReport:
        """The endings, followed by the requests of all agents if this is a decision step."""
        if not asks:
            assert ended is not None
            return ended
        nothing = np.zeros(self.n, bool)
        requests = AgentReport(self.behaviour, self.ids, self.observe(), np.zeros(self.n), nothing, nothing)
        return requests if ended is None else join_reports(ended, requests)


def draw_top_view(target: np.ndarray, sphere: np.ndarray) -> np.ndarray:
    """Pictures [k, PICTURE_PIXELS, PICTURE_PIXELS, 3] uint8 from above of places [k, 3]; z points up there."""
    on_plane = np.abs(PIXEL_CENTRES_METRES) < PLANE_HALF_EDGE_METRES
    picture = np.where((on_plane[:, None] & on_plane)[..., None], PLANE, GROUND)
    for place, colour in ((target, TARGET), (sphere, SPHERE)):
        across, up = (
            PIXEL_CENTRES_METRES - place[:, :1].astype(np.float32),
            PIXEL_CENTRES_METRES[::-1] - place[:, 2:].astype(np.float32),
        )
        distance = np.hypot(across[:, None, :], up[:, :, None])
        # smooth edges, so that places between whole pixels can be told apart
        covered = np.clip((SPHERE_RADIUS_METRES - distance) * PIXELS_PER_METRE + 0.5, 0.0, 1.0)[..., None]
        picture = picture + covered * (colour - picture)
    return np.rint(picture).astype(np.uint8)


if __name__ == "__main__":
    main(Roller())
