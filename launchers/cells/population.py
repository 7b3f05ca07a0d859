"""Several cells, or single processes, whose learners evolve, and the process of the evolver that compares them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from launchers.cells.cell import SAVE_SECONDS_PER_ROLE, Cell
from launchers.cells.process import Process
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from sac.config.overrides import run_command
from sac.config.schema import EVOLVER, LEARNING_ROLES
from sac.runs.folder import RunFolder

Draw = Mapping[str, Any]  # key of the config -> value
EVOLVER_END_SECONDS = 3 * SAVE_SECONDS_PER_ROLE  # time for the evolver to save and to draw the lineage


class Population:
    """Runs one job as several cells and an evolver; for a Pool it is a RunningJob.

    It ends when all cells have ended, and then the evolver. When a cell or the evolver fails, the others save and end.
    `draws` are what each learner has drawn from `random_params` at its beginning.
    """

    def __init__(self, job: Job, share: Share, cells: Sequence[Cell], evolver: Process | None, draws: Sequence[Draw]):
        self.job, self.share, self._evolver = job, share, evolver
        self._draws = [" ".join(f"{name}={_short(value)}" for name, value in draw.items()) for draw in draws]
        self._cells = dict(enumerate(cells, 1))
        self._results: dict[int, Status] = {}  # of the cells that have ended
        self._failure: Status | None = None
        self._evolver_asked_at: float | None = None  # when the evolver was asked to end
        self._began = time.monotonic()

    def start(self) -> None:
        for cell in self._cells.values():
            cell.start()
        if self._evolver is not None:
            self._evolver.start_if_due()

    def status(self) -> Status:
        """The status of the learner with the best evaluation."""
        found = [self._results.get(number) or cell.status() for number, cell in self._cells.items()]
        best = max(found, key=lambda status: -math.inf if status.score is None else status.score)
        return replace(best, state=states.RUNNING, error="", seconds=time.monotonic() - self._began)

    def processes(self) -> list[tuple[str, Status]]:
        """Title and status of each process; the title of a learner says with what it has begun."""
        rows = [(self._evolver.title(), self._evolver.status())] if self._evolver is not None else []
        for number, cell in self._cells.items():
            for title, status in cell.processes():
                draw = self._draws[number - 1] if title.startswith(LEARNING_ROLES) else ""
                rows.append((f"{number}: {title}" + (f" began with {draw}" if draw else ""), status))
        return rows

    def poll(self) -> Status | None:
        """Polls every cell and the evolver, restarts the evolver if it was killed, and ends it after the last cell.

        Returns how the population ended, when all processes have; else None.
        """
        for number, cell in self._cells.items():
            result = cell.poll() if number not in self._results else None
            if result is not None:
                cell.end()
                self._results[number] = result
                if result.state == states.FAILED:
                    self._fail(f"learner {number}", result)
        if self._evolver is not None:
            self._poll_evolver(self._evolver)
        if not self._cells_have_ended():
            return None
        if self._evolver is not None and not self._end_evolver(self._evolver):
            return None
        return self._result()

    def ask_to_end(self) -> None:
        for number, cell in self._cells.items():
            if number not in self._results:
                cell.ask_to_end()

    def end(self) -> None:
        """Kills all processes."""
        for cell in self._cells.values():
            cell.end()
        if self._evolver is not None:
            self._evolver.cancel_restart()
            self._evolver.end()

    def _cells_have_ended(self) -> bool:
        return len(self._results) == len(self._cells)

    def _poll_evolver(self, evolver: Process) -> None:
        """Starts an evolver again that was killed; the learners train on meanwhile."""
        ended = evolver.poll()
        running = self._failure is None and not self._cells_have_ended()
        if ended is not None and running and ended.state != states.DONE and not evolver.plan_restart(ended):
            self._fail(EVOLVER, ended)
        elif running:
            evolver.start_if_due()

    def _end_evolver(self, evolver: Process) -> bool:
        """Asks the evolver to end, and kills it when that takes too long; returns whether it has ended."""
        if evolver.alive and self._evolver_asked_at is None:
            self._evolver_asked_at = time.monotonic()
            evolver.ask_to_end()
        if self._evolver_asked_at is not None and time.monotonic() - self._evolver_asked_at > EVOLVER_END_SECONDS:
            evolver.end()
        return not evolver.alive

    def _fail(self, where: str, ended: Status) -> None:
        if self._failure is None:
            self._failure = replace(ended, state=states.FAILED, error=f"{where}: {ended.error}")
            self.ask_to_end()

    def _result(self) -> Status:
        """The first failure; else the best of the interrupted learners; else the best learner.

        The best is the one that the evolver calls so; without an evolver it is the one with the best last evaluation.
        """
        if self._failure is not None:
            return replace(self._failure, seconds=time.monotonic() - self._began)
        interrupted = {n: status for n, status in self._results.items() if status.state == states.INTERRUPTED}
        results = interrupted or self._results
        told = self._evolver.last.result.get("best") if self._evolver is not None else None
        named = int(told.removeprefix("learner-")) if told else 0
        number = named if named in results else max(results, key=lambda n: _objective(results[n]))
        note = self._note(number) if named == number else ""
        return replace(results[number], seconds=time.monotonic() - self._began, note=note)

    def _note(self, best: int) -> str:
        assert self._evolver is not None
        value, by = self._evolver.last.result["mean_return"], self.job.config.base.evolver_fitness
        measured = {"training": "training episodes", "evaluation": "evaluations"}[by]
        return (
            f"the best of {len(self._results)} learners is learner {best}, whose newest {measured} have a mean return "
            f"of {value:.4g}"
        )


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _objective(status: Status) -> float:
    value = status.result.get("objective")
    return -math.inf if value is None else float(value)


def say_best(ended: Sequence[tuple[Job, Status]]) -> None:
    """Prints which learner of each population is the best, and how to play it."""
    for job, status in ended:
        if status.note and status.state == states.DONE:
            base = OmegaConf.merge(job.config.base, {"name": Path(status.folder).name})
            play = run_command(OmegaConf.create({"base": base}), "role=play")
            print(f"job {job.number}: {status.note}; play it with: {play}", flush=True)
            lineage = RunFolder.of(job.config).path / "lineage.png"
            if lineage.exists():
                print(f"job {job.number}: who descends from whom: {lineage}", flush=True)
