"""An actor's two connections, to the learner and to the replay. Waiting for one keeps the other alive."""

from __future__ import annotations

from collections.abc import Callable

from sac.distributed.insert_client import InsertClient
from sac.distributed.policy_client import PolicyClient
from sac.distributed.remote_agent import RunEnded
from sac.wire.client import Client

WELCOME_POLL_SECONDS = 0.1


class ActorLinks:
    """`policy` talks to the learner, `inserter` to the replay; `interrupted()` says whether a signal has come."""

    def __init__(
        self, to_learner: Client, to_replay: Client, interrupted: Callable[[], bool], note: Callable[[str], None]
    ):
        self.policy = PolicyClient(to_learner, self._stop_waiting_for_learner)
        self.inserter = InsertClient(to_replay, self._stop_waiting_for_replay)
        self._interrupted, self._note = interrupted, note

    def ended(self) -> bool:
        """Whether a signal came, or learner or replay have said that the run is over."""
        return self._interrupted() or self.policy.client.ended or self.inserter.client.ended

    def _stop_waiting_for_learner(self) -> bool:
        """Called again and again while the learner is waited for: serves the replay; true when waiting shall stop."""
        if not self.policy.client.connected:
            self._note("waits for the learner")
        self.inserter.pump()
        return self.ended()

    def _stop_waiting_for_replay(self) -> bool:
        """Called again and again while the replay is waited for: serves the learner; true when waiting shall stop."""
        self._note("waits for the replay")
        self.policy.client.pump()
        return self.ended()


def wait_until_welcome(
    client: Client, pump: Callable[[float], object], interrupted: Callable[[], bool], note: Callable[[str], None]
) -> None:
    """Pumps until the server has welcomed the client. Raises RunEnded when a signal or the end of the run comes first,
    and Refused when the server refuses the client.
    """
    while not client.connected:
        note(f"waits for the {client.server}")
        pump(WELCOME_POLL_SECONDS)
        if interrupted() or client.ended:
            raise RunEnded
