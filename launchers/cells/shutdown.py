"""How the processes of a cell end: role by role, so that nothing that was played or learnt is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launchers.cells.process import Process

ROLES_IN_SHUTDOWN_ORDER = ("actor", "learner", "replay")  # of a cell; other roles end after these


class Shutdown:
    """Asks the processes of one role after the other to save and end.

    With `seconds_per_role`, processes that take longer than that are killed. Processes of `roles_to_kill` are killed
    instead of asked: after a bug their state is not worth keeping.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        seconds_per_role: float = float("inf"),
        roles_to_kill: Sequence[str] = (),
    ):
        self._processes, self._seconds_per_role, self._roles_to_kill = processes, seconds_per_role, roles_to_kill
        others = [process.role for process in processes if process.role not in ROLES_IN_SHUTDOWN_ORDER]
        self._roles = [*ROLES_IN_SHUTDOWN_ORDER, *dict.fromkeys(others)]  # those that have not ended
        self._asked_at = 0.0

    def begin(self) -> None:
        """Cancels all restarts and asks the first role to end."""
        for process in self._processes:
            process.cancel_restart()
        self._ask_first_role()

    def advance(self) -> bool:
        """Asks the next role when the processes of one have ended; returns whether all roles have."""
        while self._roles:
            alive = [process for process in self._first_role() if process.alive]
            if alive and time.monotonic() - self._asked_at < self._seconds_per_role:
                return False
            for process in alive:
                process.end()
            self._roles.pop(0)
            self._ask_first_role()
        return True

    def _first_role(self) -> list[Process]:
        return [process for process in self._processes if self._roles and process.role == self._roles[0]]

    def _ask_first_role(self) -> None:
        self._asked_at = time.monotonic()
        for process in self._first_role():
            if process.role in self._roles_to_kill:
                process.end()
            else:
                process.ask_to_end()
