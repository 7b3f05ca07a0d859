"""A player for tests only: parameters choose each peculiarity of the protocol that a real scene may show.

What agents do depends on their id and the tick (the step of the academy) only, so that a test can predict it.

Environment parameters (all are 0 = off by default unless stated): `env_copys` agents (2), `episode` ticks of an episode
(5; agents with odd ids end interrupted), `phases` 1 = agent i asks every (1 + i % 3) ticks, `shuffle` 1 = descending
ids, `fresh_ids` 1 = a new id each episode, `vanish` tick from which the last agent is gone, `bystanders` tick at which
a second behaviour appears, `nan_obs` / `nan_reward` tick from which agent 0 sends NaN for `nan_ticks` (1) ticks, `die`
/ `leave` / `hang` tick at which the player crashes / quits / stops, `large` numbers in an extra sensor, `pictures` 1 =
the picture sensors, `channels_first` 1 = as packages >= 3.0 send them, `bare` 1 = without properties and mappings,
`camera` 1 = the first picture sensor is called a camera.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from envs.players import png
from envs.players.protocol import (
    TIME_SCALE_SETTING,
    AgentReport,
    BehaviourActions,
    PlayerBehaviour,
    PlayerSensor,
    SceneContext,
    SceneGenerator,
    main,
)

PICTURE_HEIGHT, PICTURE_WIDTH = 6, 5
PICTURE_CHANNELS = {"GridColour": 3, "GridGrey": 1, "GridStack": 6, "GridMapped": 2, "GridRaw": 2}  # name: channels
BRANCHES = (3, 2)
BYSTANDER_IDS = np.array([100, 101])
NEW_ID_OFFSET = 1000  # from the id of one episode to that of the next
CRASH_EXIT_CODE = 7
REWARD, GROUP_REWARD = 1.0, 0.5  # in every message of an agent


def picture(agent: int, tick: int, channels: int) -> np.ndarray:
    """[PICTURE_HEIGHT, PICTURE_WIDTH, channels] uint8 that differs for every agent, tick, place and channel."""
    places = np.arange(PICTURE_HEIGHT * PICTURE_WIDTH * channels).reshape(PICTURE_HEIGHT, PICTURE_WIDTH, channels)
    return ((places * 7 + agent * 31 + tick * 3) % 256).astype(np.uint8)


def forbidden(tick: int) -> np.ndarray:
    """[choices] bool: at each tick another choice of the first branch."""
    mask = np.zeros(sum(BRANCHES), bool)
    mask[tick % BRANCHES[0]] = True
    return mask


class Zoo:
    """The scene; its agents are numbered 0, 1, 2 ..., and their ids may change."""

    name = "Zoo"

    def play(self, world: SceneContext) -> SceneGenerator:
        """Counts ticks, and yields reports whenever agents ask for actions or end."""
        self.begin(world)
        ended: list[tuple] = []
        self.tick = 0
        while True:
            self.misbehave()
            asking = self.asking()
            reports = []
            if ended or asking:
                reports.append(self.report(ended, asking))
            if 0 < self.value("bystanders") <= self.tick:
                reports.append(self.bystander_report())
            if reports:
                actions = yield reports
                self.receive(asking, actions)
            self.tick += 1
            ended = self.end_episodes()

    def begin(self, world: SceneContext) -> None:
        """Begins a RESET: makes new agents."""
        self.world = world
        count = self.value("env_copys", 2)
        self.agents = list(range(count))
        self.ids = {agent: agent for agent in self.agents}
        self.steps = dict.fromkeys(self.agents, 0)
        self.last_action = {agent: [0.0] * 4 for agent in self.agents}
        self.behaviour = PlayerBehaviour("Zoo", tuple(self.sensors()), continuous=2, branches=BRANCHES)
        self.bystander = PlayerBehaviour("Bystander", (PlayerSensor("State", (1,)),), continuous=1)
        world.stats += [("time_scale", world.engine.get(TIME_SCALE_SETTING, 0.0), 1), ("seed", world.seed, 1)]
        world.stats += [(f"parameter/{name}", world.value(name, 0.0), 1) for name in world.parameters]

    def value(self, name: str, default: int = 0) -> int:
        """An environment parameter."""
        return int(self.world.value(name, default))

    def sensors(self) -> Iterator[PlayerSensor]:
        """The sensors that the environment parameters ask for."""
        yield PlayerSensor("State", (3,))  # id, tick, steps of the episode
        yield PlayerSensor("State", (4,))  # the last action; the same name on purpose
        if self.value("large"):
            yield PlayerSensor("Large", (self.value("large"),))
        if not self.value("pictures"):
            return
        for name, channels in PICTURE_CHANNELS.items():
            title = "CameraSensor" if name == "GridColour" and self.value("camera") else name
            sensor = png.sensor(title, (PICTURE_HEIGHT, PICTURE_WIDTH, channels), self.value("channels_first") > 0)
            if self.value("bare"):
                sensor = replace(sensor, mapping=(), properties=())
            yield replace(sensor, png=name != "GridRaw")

    def misbehave(self) -> None:
        """Crashes, quits or hangs at the ticks that the parameters name."""
        if self.tick and self.tick == self.value("die"):
            print("the zoo burns down", flush=True)
            os._exit(CRASH_EXIT_CODE)
        if self.tick and self.tick == self.value("leave"):
            raise SystemExit(0)
        while self.tick and self.tick == self.value("hang"):
            time.sleep(1.0)

    def present(self) -> list[int]:
        """The agents that still exist, in the order of their messages."""
        gone = self.value("vanish") and self.tick >= self.value("vanish")
        agents = self.agents[:-1] if gone else self.agents
        return agents[::-1] if self.value("shuffle") else agents

    def asking(self) -> list[int]:
        """The agents that ask for an action at this tick."""
        phases = self.value("phases")
        return [agent for agent in self.present() if not phases or self.tick % (1 + agent % 3) == 0]

    def receive(self, asking: list[int], actions: dict[str, BehaviourActions]) -> None:
        """Keeps the actions, which are observed next, and reports those of bystanders as statistics."""
        if "Zoo" in actions:
            received = actions["Zoo"]
            for agent, numbers, choices in zip(asking, received.continuous.tolist(), received.discrete.tolist()):
                self.last_action[agent] = numbers + choices
        if "Bystander" in actions:
            self.world.stats.append(("bystander_action", float(np.abs(actions["Bystander"].continuous).sum()), 2))
            self.world.stats.append(("bystander_count", float(len(actions["Bystander"].continuous)), 0))

    def end_episodes(self) -> list[tuple]:
        """Ends episodes; returns (agent, id, observations) of each."""
        ended = []
        for agent in self.present():
            self.steps[agent] += 1
            if self.steps[agent] >= self.value("episode", 5):
                ended.append((agent, self.ids[agent], self.observe(agent)))
                self.steps[agent] = 0
                if self.value("fresh_ids"):
                    self.ids[agent] += NEW_ID_OFFSET
        return ended

    def sends_nan(self, kind: str) -> bool:
        """Whether agent 0 sends NaN at this tick; `kind` is nan_obs or nan_reward."""
        start = self.value(kind)
        return 0 < start <= self.tick < start + self.value("nan_ticks", 1)

    def observe(self, agent: int) -> list:
        """One entry for each sensor."""
        state = [float(agent), float(self.tick), float(self.steps[agent])]
        if agent == 0 and self.sends_nan("nan_obs"):
            state[1] = np.nan
        values: list[Any] = [state, self.last_action[agent]]
        if self.value("large"):
            values.append(np.full(self.value("large"), 0.5))
        for sensor in self.behaviour.sensors[len(values) :]:
            channels = sensor.shape[0 if self.value("channels_first") else 2]
            pixels = picture(agent, self.tick, channels)
            if sensor.png:
                values.append(png.encode(pixels))
            else:
                ordered = pixels.transpose(2, 0, 1) if self.value("channels_first") else pixels
                values.append(ordered / 255.0)
        return values

    def report(self, ended: list[tuple], asking: list[int]) -> AgentReport:
        """The report of the endings, followed by that of the agents that ask."""
        rows = [(agent, agent_id, obs, True) for agent, agent_id, obs in ended]
        rows += [(agent, self.ids[agent], self.observe(agent), False) for agent in asking]
        reward = [np.nan if agent == 0 and self.sends_nan("nan_reward") else REWARD for agent, *_ in rows]
        columns = zip(*(obs for _, _, obs, _ in rows))
        return AgentReport(
            self.behaviour,
            np.array([agent_id for _, agent_id, _, _ in rows]),
            [
                list(column) if sensor.png else np.array(column)
                for sensor, column in zip(self.behaviour.sensors, columns)
            ],
            np.array(reward),
            np.array([done for *_, done in rows]),
            np.array([done and agent % 2 == 1 for agent, _, _, done in rows]),
            mask=np.tile(forbidden(self.tick), (len(rows), 1)),
            group_id=np.ones(len(rows), int),
            group_reward=np.full(len(rows), GROUP_REWARD),
        )

    def bystander_report(self) -> AgentReport:
        """The report of the second behaviour."""
        nothing = np.zeros(len(BYSTANDER_IDS), bool)
        return AgentReport(self.bystander, BYSTANDER_IDS, [np.zeros((2, 1))], np.zeros(2), nothing, nothing)


if __name__ == "__main__":
    main(Zoo())
