"""Several cells whose learners evolve: their processes, and the evolver's."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launchers.cells.cell import ORDER, SOON, Cell, Process, parts_of
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from sac.config.schema import EVOLVER
from sac.runs.folder import RunFolder
from sac.seeds import seed_of

Draw = Mapping[str, Any]  # key of the config -> value


class Population:
    """Runs one job as several cells and an evolver; to a Pool it is what a Worker is.

    It ends when all cells have. When one fails, or the evolver does, the others save and end.
    """

    def __init__(self, job: Job, share: Share, cells: Sequence[Cell], evolver: Process | None, draws: Sequence[Draw]):
        self.job, self.share, self._evolver = job, share, evolver
        self._draws = [" ".join(f"{name}={_short(value)}" for name, value in draw.items()) for draw in draws]
        self._cells = dict(enumerate(cells, 1))
        self._results: dict[int, Status] = {}  # of the cells that have ended
        self._failure: Status | None = None
        self._ending: float | None = None  # since when the evolver is asked to end
        self._began = time.monotonic()
        if evolver is not None:
            evolver.start_if_due()

    def status(self) -> Status:
        """The best learner's."""
        found = [self._results.get(number) or cell.status() for number, cell in self._cells.items()]
        best = max(found, key=lambda status: -math.inf if status.score is None else status.score)
        return replace(best, state=states.RUNNING, error="", seconds=time.monotonic() - self._began)

    def parts(self) -> list[tuple[str, Status]]:
        own = [(self._evolver.words(), self._evolver.status())] if self._evolver is not None else []
        for number, cell in self._cells.items():
            for name, status in cell.parts():
                draw = f" {self._draws[number - 1]}" if name.startswith("learner") else ""
                own.append((f"{number}: {name}{draw}".rstrip(), status))
        return own

    def outcome(self) -> Status | None:
        """Looks after the processes; None as long as some are there."""
        for number, cell in self._cells.items():
            result = cell.outcome() if number not in self._results else None
            if result is not None:
                cell.end()
                self._results[number] = result
                if result.state == states.FAILED:
                    self._fail(f"learner {number}", result)
        self._watch_evolver()
        if len(self._results) < len(self._cells) or self._evolver_is_there():
            return None
        return self._result()

    def ask_to_end(self) -> None:
        for number, cell in self._cells.items():
            if number not in self._results:
                cell.ask_to_end()

    def end(self) -> None:
        """At once."""
        for cell in self._cells.values():
            cell.end()
        if self._evolver is not None:
            self._evolver.next_start = None
            if self._evolver.worker is not None:
                self._evolver.worker.end()
                self._evolver.worker = None

    def _watch_evolver(self) -> None:
        """One that was killed starts again: the learners train on meanwhile."""
        if self._evolver is None:
            return
        ended = self._evolver.ended()
        running = self._failure is None and len(self._results) < len(self._cells)
        if ended is not None and running and ended.state != states.DONE and not self._evolver.again(ended):
            self._fail(EVOLVER, ended)
        elif running:
            self._evolver.start_if_due()

    def _evolver_is_there(self) -> bool:
        """It ends after all learners have."""
        evolver = self._evolver
        if evolver is None or not evolver.alive:
            return False
        if self._ending is None:
            self._ending = time.monotonic()
            evolver.worker.ask_to_end()
        if time.monotonic() - self._ending > SOON:
            evolver.worker.end()
            evolver.worker = None
        return evolver.alive

    def _fail(self, who: str, ended: Status) -> None:
        if self._failure is None:
            self._failure = replace(ended, state=states.FAILED, error=f"{who}: {ended.error}")
            self.ask_to_end()

    def _result(self) -> Status:
        """The best learner's, where all have come to their ends."""
        if self._failure is not None:
            return replace(self._failure, seconds=time.monotonic() - self._began)
        results = list(self._results.values())
        cut = [status for status in results if status.state == states.INTERRUPTED]
        best = max(cut or results, key=_objective)
        return replace(best, seconds=time.monotonic() - self._began)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _objective(status: Status) -> float:
    value = status.result.get("objective")
    return -math.inf if value is None else float(value)


def evolves(config: DictConfig) -> bool:
    """Whether several learners have an evolver."""
    return config.base.evolver_enabled is not False


def population_of(
    job: Job, share: Share, learners: int, actors: int, threads: Mapping[str, int], patience: float
) -> Population:
    """The cells of a job, each with a run of its own beside the evolver's: <name>-1, <name>-2 ..."""
    run, draws, cells = RunFolder.of(job.config).path.absolute(), draws_of(job, learners), []
    for number, draw in enumerate(draws, 1):
        config = OmegaConf.create(OmegaConf.to_container(job.config))
        config.base.name = f"{job.config.base.name}-{number}"
        config.base.evolver_enabled = evolves(job.config)
        config.net.evolver_records = str(run / "net")
        for name, value in draw.items():
            OmegaConf.update(config, name, value, force_add=True)
        for holder in (config, config.sac):
            if holder.seed is not None:
                holder.seed = seed_of(holder.seed, number)
        typed = {name: value for name, value in job.typed.items() if name not in draw}  # a draw outlives a restart
        folder = job.folder / str(number)
        mine = replace(job, folder=folder, config=config, typed=typed, trial=None, env=dict(job.env))
        parts = parts_of(mine, share, ORDER, actors, threads, patience, learner=number)
        cells.append(Cell(mine, share, parts))
    return Population(job, share, cells, _evolver_of(job, share) if evolves(job.config) else None, draws)


def draws_of(job: Job, learners: int) -> list[Draw]:
    """What `random_params` gives each learner; in a search they are the search's. Raises UserError as a search does."""
    if job.trial is not None or not job.config.random_params:
        return [{} for _ in range(learners)]
    from launchers.search.space import Space  # Optuna takes a second

    seed = job.config.sac.seed if job.config.sac.seed is not None else int.from_bytes(os.urandom(3), "little")
    return Space.of(job.config).spread(learners, seed)


def _evolver_of(job: Job, share: Share) -> Process:
    config = OmegaConf.create(OmegaConf.to_container(job.config))
    config.role, config.ckpt = EVOLVER, "auto"
    mine = Job(
        1, job.folder / EVOLVER, config, [f"role={EVOLVER}"], job.typed, named=True, env=dict(job.env)
    )  # fmt: skip
    return Process(EVOLVER, mine, replace(share, threads=1, gpu="-1" if share.gpu else None))
