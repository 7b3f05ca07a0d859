"""The loop of an actor, with stand-ins for its environment and its connections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sac.collect.agent_slots import Episode
from sac.collect.restarting_env import EnvironmentFailed
from sac.collect.rollout import RolloutStep
from sac.distributed.actor_loop import ActorLoop
from sac.distributed.remote_agent import RunEnded
from tests.wire.wire_kit import tagged


class Connections:
    """Both connections of an actor in one: notes what is called, and ends the run after `turns` turns."""

    def __init__(self, turns: int):
        self.turns, self.calls, self.reported = turns, [], []
        self.transitions, self.waited, self.version, self.client = 0, 0.0, 3, SimpleNamespace(pump=lambda: [])
        self.policy = self.inserter = self

    def ended(self) -> bool:
        return self.calls.count("add") >= self.turns

    def add(self, step) -> int:
        self.calls.append("add")
        self.transitions += len(step.stream)
        return len(step.stream)

    def flush(self) -> None:
        self.calls.append("flush")

    def drain(self, seconds: float) -> bool:
        self.calls.append("drain")
        return True

    def report(self, episodes) -> None:
        self.reported += episodes


class Playing:
    """A rollout that brings two rows a turn, and fails in turn number `at`."""

    def __init__(self, at: int = -1, failure: BaseException | None = None):
        self.turn, self.at, self.failure = 0, at, failure

    def advance(self) -> RolloutStep:
        self.turn += 1
        if self.turn == self.at:
            raise self.failure
        episodes = [Episode(0, 1.5, 2, complete=True), Episode(1, 9.0, 1, complete=False)]
        return RolloutStep(tagged(1, 2 * self.turn, 2), episodes)


def loop(rollout: Playing, links: Connections) -> ActorLoop:
    observer = SimpleNamespace(note=lambda text: None, progress=lambda step, updates: None)
    return ActorLoop(rollout, SimpleNamespace(steps=0), links, observer, fetched=None, priorities=None)


def test_it_plays_until_the_run_is_over_and_sends_everything():
    links = Connections(turns=3)
    assert loop(Playing(), links).play() == 6
    assert links.calls == ["add", "add", "add", "flush", "drain"]
    assert links.reported == [(1.5, 2)], "complete episodes of the first report; the next one is due after a second"


def test_an_actor_whose_run_ends_while_it_waits_for_an_action_sends_what_it_has():
    links = Connections(turns=9)
    assert loop(Playing(at=3, failure=RunEnded()), links).play() == 4
    assert links.calls == ["add", "add", "flush", "drain"]


def test_rows_are_stored_before_a_failed_environment_is_reported():
    links = Connections(turns=9)
    with pytest.raises(EnvironmentFailed):
        loop(Playing(at=2, failure=EnvironmentFailed(ValueError("broken"))), links).play()
    assert links.calls == ["add", "drain"]
