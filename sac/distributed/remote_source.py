"""The learner's source of transitions in a cell: a replay elsewhere, filled by actors that use its policy."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

from sac.distributed.policy_server import PolicyServer
from sac.distributed.replay_client import ReplayClient
from sac.distributed.weights import ServedPolicy
from sac.training.learner import Diverged, Learner
from sac.training.progress import Progress


class RemoteSource:
    """A TransitionSource whose transitions come from actors; it publishes the policy with which these act."""

    replay_bytes = 0  # the replay's process saves them

    def __init__(
        self, remote: ReplayClient, service: PolicyServer, policy: ServedPolicy, learner: Learner, progress: Progress,
        publish_every_updates: int,
    ):  # fmt: skip
        self.remote, self.service, self.policy, self.learner = remote, service, policy, learner
        self.progress, self._publish_every_updates = progress, publish_every_updates
        self._published_at_update = 0

    def begin(self) -> None:
        """Publishes the first policy and lets actors in."""
        self.publish()
        self.service.begin()

    def advance(self) -> bool:
        """Makes at most one call of updates, takes in finished episodes, and publishes the policy when that is due.

        Raises the failure of the policy server.
        """
        if self.service.failure is not None:
            raise self.service.failure
        self.learner.work(max_calls=1)
        self.progress.steps = max(self.progress.steps, self.remote.transitions)
        self.remote.client.counters = {"updates": self.learner.updates, "version": self.service.version}
        while True:
            try:
                self.progress.episode_ended(*self.service.episodes.get_nowait())
            except queue.Empty:
                break
        if self.learner.updates - self._published_at_update >= self._publish_every_updates:
            self.publish()
        return False

    def publish(self) -> None:
        """Gives the present policy to the actors."""
        self._published_at_update = self.learner.updates
        self.service.publish(self.policy.copy(), self.progress.steps)

    def on_divergence(self, error: Diverged) -> bool:
        return False

    def done(self, max_step: int) -> bool:
        return self.remote.spent(max_step)

    def parts(self) -> dict[str, Any]:
        return {"moments": self.learner.stats}

    def resumed(self) -> str:
        return ""

    def begin_episodes(self) -> None:
        pass

    def break_off(self) -> None:
        pass

    def metrics(self) -> Mapping[str, float]:
        return self.service.metrics()

    def finish(self) -> None:
        """Tells replay and actors that the run is over."""
        self.remote.finish()
        self.service.end()
