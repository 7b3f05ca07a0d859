"""The loop of an actor: act, send the rows, fetch the policy, report."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Protocol

from sac.collect.exploration import Exploring
from sac.collect.restarting_env import EnvironmentFailed
from sac.collect.rollout import Rollout
from sac.distributed.actor_links import ActorLinks
from sac.distributed.fetching import FetchedPolicy
from sac.distributed.initial_priorities import InitialPriorities
from sac.distributed.remote_agent import RunEnded

REPORT_SECONDS = 1.0  # between two reports
DRAIN_SECONDS = 2.0  # that the replay has to store the last rows when the actor ends


class ActorObserver(Protocol):
    def note(self, text: str) -> None: ...
    def progress(self, step: int, updates: int) -> None: ...


class ActorLoop:
    """Collects with `rollout` and hands over what it brings.

    `fetched` keeps an agent of this process up to date (None: the learner chooses the actions); `priorities` works out
    TD errors of new rows (None: the replay gives them its default priority).
    """

    def __init__(
        self, rollout: Rollout, exploring: Exploring, links: ActorLinks, observer: ActorObserver, *,
        fetched: FetchedPolicy | None, priorities: InitialPriorities | None,
    ):  # fmt: skip
        self.rollout, self.exploring, self.links, self.observer = rollout, exploring, links, observer
        self.policy, self.inserter = links.policy, links.inserter
        self.fetched, self.priorities = fetched, priorities
        self._episodes: list[tuple[float, int]] = []  # return and length of those that are not reported yet
        self._reported_at = float("-inf")
        self._counted = time.monotonic(), 0, 0.0  # time, transitions and seconds waited at the last report

    def play(self) -> int:
        """Plays until the run is over or a signal comes; returns the number of transitions.

        Raises EnvironmentFailed when the environment has failed too often. What was played is sent in any case.
        """
        try:
            with suppress(RunEnded):
                while not self.links.ended():
                    self._turn()
            self.inserter.flush()
        except EnvironmentFailed:
            self.drain()
            raise
        self.drain()
        return self.inserter.transitions

    def drain(self) -> None:
        """Waits until the replay has stored all rows, for DRAIN_SECONDS at most."""
        self.inserter.drain(DRAIN_SECONDS)

    def _turn(self) -> None:
        """Plays one turn of the environment. Raises RunEnded when the run ends while an action is waited for."""
        turn = self.rollout.advance()
        transitions = self.inserter.add(turn.step)
        self._episodes += [(e.total_reward, e.length) for e in turn.episodes if e.complete]
        if self.priorities is not None:
            self.priorities.send_td_errors()
        if self.fetched is not None:
            self.fetched.after_turn(transitions, turn.iteration_ended)
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        """Tells learner, replay and observer how far this actor is."""
        now, transitions, waited = time.monotonic(), self.inserter.transitions, self.inserter.waited
        before, transitions_before, waited_before = self._counted
        self._reported_at, self._counted = now, (now, transitions, waited)
        seconds = max(now - before, 1e-9)
        waiting = (waited - waited_before) / seconds
        counters = {
            "version": self.policy.version,
            "steps_per_second": (transitions - transitions_before) / seconds,
            "waiting": waiting,
        }
        self.policy.client.counters = self.inserter.client.counters = counters
        self.exploring.steps = max(self.exploring.steps, self.policy.transitions)  # the steps of all actors count
        self.policy.client.pump()
        self.policy.report(self._episodes)
        self._episodes = []
        self.observer.progress(transitions, 0)
        self.observer.note(f"version {self.policy.version}, waits {100 * waiting:.0f} %")
