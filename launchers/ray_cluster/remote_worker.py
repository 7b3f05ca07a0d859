"""A process on another node, seen from the launcher."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from launchers.jobs.table import REFRESH_INTERVAL_SECONDS

KILL_TIMEOUT_SECONDS = 2.0  # time for a Ray actor to kill its process
REPLICA_THREADS = 4  # of a Ray actor: one waits for the process, the others answer
WAITS = "waits for Ray to place it"


class RemoteWorker:
    """A process on another node: a RunningProcess that asks the Ray actor `replica` for everything."""

    loss = "its Ray actor is lost"  # first words of the error when Ray has lost the replica for good

    def __init__(self, replica: Any, job: Job, share: Share):
        self.job, self.share, self._replica = job, share, replica
        self._outcome = replica.run.remote(job, share)
        self._status, self._placed = replace(job.status(), state=states.WAITING, error="", note=WAITS), False
        self._answer: Any = None  # to the question for the status that is under way
        self._next_question, self._silent_seconds = 0.0, 0.0
        self._asked = self._killed = False

    def status(self) -> Status:
        """The latest status that has arrived; asks for the next one and never waits."""
        if self._answer is None and time.monotonic() >= self._next_question:
            self._next_question = time.monotonic() + REFRESH_INTERVAL_SECONDS
            self._answer = self._replica.status.remote()
        elif self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            with contextlib.suppress(RayError):
                (self._status, self._silent_seconds), self._placed = ray.get(self._answer), True
            self._answer = None
        return self._status

    def silent_seconds(self) -> float:
        """Seconds since the process last wrote its status, by its node's clock; 0 until Ray has placed it."""
        self.status()
        return self._silent_seconds

    def processes(self) -> list[tuple[str, Status]]:
        return []

    def poll(self) -> Status | None:
        """How the process ended; None while it runs, and while Ray places it on another node."""
        if not self._over:
            return None
        try:
            outcome: Status = ray.get(self._outcome)
        except RayTaskError as error:
            cause = error.cause
            outcome = Status(states.FAILED, error=f"{type(cause).__name__}: {cause}", traceback=str(error))
        except RayError as error:
            outcome = replace(
                self.job.status(), state=states.FAILED, error=f"{self.loss}: {_reason(error)}", note="", traceback=""
            )
            if self._asked:
                ended = "killed" if self._placed else "asked to end before Ray had placed it"
                outcome = replace(outcome, state=states.INTERRUPTED, error=ended)
        return outcome

    def ask_to_end(self) -> None:
        self._asked = True
        if self._placed:
            self._replica.ask_to_end.remote()
        else:
            self.end()

    def kill(self) -> None:
        """Kills the process; the next `poll` returns how it ended."""
        if not self._killed:
            self._killed = True
            self._replica.kill.remote()

    def end(self) -> None:
        """Kills the process; a Ray actor that does not answer is killed itself, and its process ends with it."""
        self._asked = True
        if self._over:
            return
        if self._placed:
            self._replica.end.remote()
            ray.wait([self._outcome], timeout=KILL_TIMEOUT_SECONDS)
        if not self._over:
            ray.kill(self._replica)

    @property
    def _over(self) -> bool:
        return bool(ray.wait([self._outcome], timeout=0)[0])


def _reason(error: RayError) -> str:
    """Why a Ray actor is lost: of Ray's paragraphs the one clause that says it, where there is one."""
    if isinstance(error, ActorUnavailableError):  # a loss of which Ray knows no more yet
        return "Ray cannot reach it"
    words = " ".join(str(error).split())
    found = re.search(r"because (.+?)\.(?: |$)", words)
    return found[1] if found else words
