"""One cell: the processes of a replay, a learner and actors, which are started, watched, restarted and ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

from omegaconf import OmegaConf

from launchers.cells.restarts import POLICIES, Restarts
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.pool import Worker
from launchers.jobs.resources import Share
from sac.runs.folder import RunFolder

ORDER = ("actor", "learner", "replay")  # of the end: nothing that was played or learnt is lost
SOON = 10.0  # seconds that each kind may take to save and end when actors cannot go on
AT_ONCE = 1.0  # seconds that each kind may take to end after a bug


class Process:
    """One process of a cell, through all its restarts; `start(job, share)` makes it."""

    def __init__(
        self, role: str, job: Job, share: Share, patience: float | None = None,
        start: Callable[[Job, Share], Worker] = Worker,
    ):  # fmt: skip
        self.role, self.job, self.share, self._patience, self._start = role, job, share, patience, start
        self.name = f"actor {job.config.net.number}" if role == "actor" else role
        self.restarts = Restarts(POLICIES[role])
        self.worker: Worker | None = None
        self.last: Status = Status()  # of the life before
        self.next_start: float | None = time.monotonic()
        self._began = 0.0

    def start_if_due(self) -> None:
        if self.worker is None and self.next_start is not None and time.monotonic() >= self.next_start:
            self.next_start, self._began = None, time.monotonic()
            # A share is written into the job: each start gets the job as it was.
            once = replace(self.job, config=deepcopy(self.job.config), env=dict(self.job.env))
            self.worker = self._start(once, self.share)
            self.job.config.ckpt = "auto"  # a checkpoint that was chosen is where the first start begins

    def ended(self) -> Status | None:
        """How it ended, once for each of its ends."""
        if self.hangs:
            self.worker.kill()
        outcome = self.worker.outcome() if self.worker is not None else None
        if outcome is not None:
            self.worker.end()
            self.worker, self.last = None, outcome
        return outcome

    def again(self, outcome: Status) -> bool:
        """Plans the next start after it was killed or has failed; False when there will be none."""
        lived = time.monotonic() - self._began
        bug = bool(outcome.traceback)
        mistake = outcome.state == states.FAILED and not bug and not outcome.killed
        if mistake:
            return False
        delay = self.restarts.after_exception(lived) if bug else self.restarts.after_death(lived)
        if delay is None:
            return False
        self.next_start = time.monotonic() + delay
        return True

    @property
    def hangs(self) -> bool:
        """It has said nothing of itself for too long."""
        return self.worker is not None and self._patience is not None and self.worker.silent() > self._patience

    @property
    def alive(self) -> bool:
        return self.worker is not None

    def status(self) -> Status:
        if self.worker is not None:
            return self.worker.status()
        return replace(self.last, state=states.WAITING) if self.next_start is not None else self.last

    def words(self) -> str:
        return self.name + f" (restarts: {self.restarts.count})" * bool(self.restarts.count)


class Cell:
    """Runs one job as several processes; to a Pool it is what a Worker is.

    It ends when its learner has: with success, in order; after a bug of replay or learner at once and with failure.
    """

    def __init__(self, job: Job, share: Share, parts: Sequence[Process]):
        self.job, self.share, self._parts = job, share, list(parts)
        self._ending: Shutdown | None = None
        self._result: Status | None = None  # how it will have ended
        self._began = time.monotonic()
        for part in self._parts:
            part.start_if_due()

    def status(self) -> Status:
        """The learner's; without one the first part's."""
        status = replace(self._leader.status(), seconds=time.monotonic() - self._began)
        return replace(status, state=states.RUNNING) if status.state == states.WAITING else status

    def parts(self) -> list[tuple[str, Status]]:
        return [(part.words(), part.status()) for part in self._parts]

    def outcome(self) -> Status | None:
        """Looks after the processes; None as long as some are there."""
        for part in self._parts:
            ended = part.ended()
            if ended is not None:
                self._after(part, ended)
            if self._ending is None:
                part.start_if_due()
        if self._ending is None:
            return None
        return self._result if self._ending.over() else None

    def ask_to_end(self) -> None:
        if self._ending is None:
            self._result = replace(self.status(), state=states.INTERRUPTED)
            self._ending = Shutdown(self._parts)

    def end(self) -> None:
        """At once."""
        for part in self._parts:
            part.next_start = None
            if part.worker is not None:
                part.worker.end()
                part.worker = None

    @property
    def _leader(self) -> Process:
        return next((part for part in self._parts if part.role == "learner"), self._parts[0])

    def _after(self, part: Process, ended: Status) -> None:
        """A process has ended: so does the cell, or it starts again."""
        if self._ending is not None:
            if part is self._leader and self._result.state == states.INTERRUPTED:
                self._result = replace(ended, seconds=time.monotonic() - self._began)
            elif part.role == "replay" and ended.state == states.FAILED and not ended.killed:  # a kill costs no row
                self._fail(self._result, "replay, as it ended", ended)
            return
        if part is self._leader and ended.state in (states.DONE, states.PRUNED):
            self._result = replace(ended, seconds=time.monotonic() - self._began)
            self._ending = Shutdown(self._parts)
        elif ended.state == states.DONE:
            pass  # an actor or the replay was told that the run is over: the learner says so soon
        elif not part.again(ended):
            self._fail(self.status(), part.name, ended)
            bug = part.role != "actor"  # then nothing that the learner has is worth keeping
            self._ending = Shutdown(self._parts, AT_ONCE if bug else SOON, without=("learner",) if bug else ())

    def _fail(self, status: Status, who: str, ended: Status) -> None:
        error = f"{who}: {ended.error}"
        self._result = replace(status, state=states.FAILED, error=error, traceback=ended.traceback)


class Shutdown:
    """Asks the parts to end, one kind after the other. With `seconds` a kind that takes longer is killed.

    Kinds in `without` are killed right away: after a bug no state of theirs is worth keeping.
    """

    def __init__(self, parts: Sequence[Process], seconds: float = float("inf"), without: Sequence[str] = ()):
        self._parts, self._seconds, self._without = parts, seconds, without
        self._kinds = list(ORDER)
        self._asked = 0.0
        for part in parts:
            part.next_start = None
        self._ask()

    def over(self) -> bool:
        """Whether all have ended; goes on to the next kind when one has."""
        while self._kinds:
            left = [part for part in self._of(self._kinds[0]) if part.alive]
            if left and time.monotonic() - self._asked < self._seconds:
                return False
            for part in left:
                part.worker.end()
                part.worker = None
            self._kinds.pop(0)
            self._ask()
        return True

    def _of(self, role: str) -> list[Process]:
        return [part for part in self._parts if part.role == role]

    def _ask(self) -> None:
        self._asked = time.monotonic()
        for part in self._of(self._kinds[0]) if self._kinds else ():
            if part.worker is not None:
                if part.role in self._without:
                    part.worker.end()
                    part.worker = None
                else:
                    part.worker.ask_to_end()


def parts_of(
    job: Job, share: Share, roles: Sequence[str], actors: int, threads: Mapping[str, int], patience: float,
    start: Callable[[Job, Share], Worker] = Worker, learner: int = 1,
) -> list[Process]:  # fmt: skip
    """The processes of a job's cell, whose learner has this number."""
    found, job = [], vouched(job)
    for role in ("replay", "learner", "actor"):
        for number in range(1, actors + 1) if role == "actor" else (learner,):
            if role in roles:
                mine = patience if role == "actor" else None  # a learner may compile, or evaluate, for long
                own = _share(share, role, threads[role])
                found.append(Process(role, _role_job(job, role, number), own, mine, start))
    return found


def vouched(job: Job) -> Job:
    """The job whose processes trust the run's code, wherever they are: marks lie on this machine only.

    Raises UserError where nobody has trusted it here.
    """
    config = job.config
    again = "the same command with base.trust=true"
    RunFolder.of(config).check_code(job.typed.get("base.trust") is True, again)
    return replace(job, typed={**job.typed, "base.trust": True})


def _role_job(job: Job, role: str, number: int) -> Job:
    config = OmegaConf.create(OmegaConf.to_container(job.config))
    config.role, config.net.number = role, number
    config.ckpt = config.ckpt if config.ckpt is not None and role == "learner" else "auto"
    folder = job.folder / (f"actor-{number}" if role == "actor" else role)
    trial = job.trial if role == "learner" else None
    return Job(number, folder, config, [f"role={role}"], job.typed, named=True, trial=trial, env=dict(job.env))


def _share(share: Share, role: str, threads: int) -> Share:
    """Only the learner sees the cell's GPU."""
    return replace(share, threads=threads, gpu=share.gpu if role == "learner" else "-1" if share.gpu else None)
