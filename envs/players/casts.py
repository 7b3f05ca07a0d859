"""Agents that all decide at every step, for players with one or several behaviours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from envs.players.protocol import (
    AgentReport,
    BehaviourActions,
    PlayerBehaviour,
    SceneContext,
    SceneGenerator,
    join_reports,
)


class Cast(ABC):
    """n agents of a behaviour. A subclass sets `behaviour` and `max_step`, and says what they see and what happens."""

    behaviour: PlayerBehaviour
    max_step: int

    def __init__(self, world: SceneContext, first_id: int = 0, default_agents: int = 16):
        self.random = world.random
        self.n = max(1, int(world.value("env_copys", default_agents)))
        self.ids = first_id + np.arange(self.n)
        self.steps, self.reward = np.zeros(self.n, np.int64), np.zeros(self.n)
        self.place(np.ones(self.n, bool))

    @abstractmethod
    def place(self, agents: np.ndarray) -> None:
        """Begins episodes of the agents [n] bool."""

    @abstractmethod
    def observe(self) -> np.ndarray:
        """[n, F]"""

    @abstractmethod
    def move(self, actions: BehaviourActions) -> tuple[np.ndarray, np.ndarray]:
        """Rewards [n] and whether each episode has reached its end [n] bool."""

    def groups(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The group [n] of each agent and the reward [n] of its group; None without groups."""
        return None

    def act(self, actions: BehaviourActions) -> AgentReport | None:
        """Moves all agents; the report of those whose episodes ended."""
        self.reward, arrived = self.move(actions)
        self.steps += 1
        over = arrived | (self.steps >= self.max_step)
        if not over.any():
            return None
        ended = self._report(np.ones(self.n, bool), interrupted=~arrived)
        ended = _rows(ended, over)
        self.steps[over], self.reward[over] = 0, 0.0
        self.place(over)
        return ended

    def report(self, ended: AgentReport | None) -> AgentReport:
        """The endings, followed by the requests of all agents."""
        requests = self._report(np.zeros(self.n, bool), np.zeros(self.n, bool))
        return requests if ended is None else join_reports(ended, requests)

    def _report(self, done: np.ndarray, interrupted: np.ndarray) -> AgentReport:
        groups = self.groups()
        ids, rewards = (None, None) if groups is None else groups
        return AgentReport(
            self.behaviour, self.ids, [self.observe()], self.reward, done, interrupted, group_id=ids,
            group_reward=rewards,
        )  # fmt: skip


def _rows(report: AgentReport, chosen: np.ndarray) -> AgentReport:
    """Some rows of a report of vectors."""
    return AgentReport(
        report.behaviour, report.ids[chosen], [x[chosen] for x in report.obs], report.reward[chosen],
        report.done[chosen], report.interrupted[chosen],
        group_id=None if report.group_id is None else report.group_id[chosen],
        group_reward=None if report.group_reward is None else report.group_reward[chosen],
    )  # fmt: skip


def perform(casts: Sequence[Cast]) -> SceneGenerator:
    """The generator of a scene in which these casts act side by side."""
    ended: list[AgentReport | None] = [None] * len(casts)
    while True:
        actions = yield [cast.report(over) for cast, over in zip(casts, ended)]
        ended = [cast.act(actions[cast.behaviour.name]) for cast in casts]
