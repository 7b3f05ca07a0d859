"""Several cells, or single processes, whose learners evolve, and the process of the evolver that compares them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launchers.cells.cell import SAVE_SECONDS_PER_ROLE, Cell
from launchers.cells.process import Process
from launchers.cells.role_jobs import copy_of
from launchers.jobs import job as states
from launchers.jobs.job import CHILD_MODULE, Job, Status
from launchers.jobs.resources import Share
from sac.config.live_keys import live_distributions
from sac.config.overrides import run_command
from sac.config.parameter_space import ParameterSpace
from sac.config.schema import EVOLVER
from sac.config.validation import check_assignable
from sac.errors import UserError
from sac.runs.folder import RunFolder
from sac.seeds import seed_of

Draw = Mapping[str, Any]  # key of the config -> value
LEARNING_ROLES = ("learner", "train")


class Population:
    """Runs one job as several cells and an evolver; for a Pool it is a RunningJob.

    It ends when all cells have ended, and then the evolver. When a cell or the evolver fails, the others save and end.
    `draws` are what each learner has drawn from `random_params`.
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
        """Title and status of each process; the title of a learner says what it has drawn."""
        rows = [(self._evolver.title(), self._evolver.status())] if self._evolver is not None else []
        for number, cell in self._cells.items():
            for title, status in cell.processes():
                draw = f" {self._draws[number - 1]}" if title.startswith(LEARNING_ROLES) else ""
                rows.append((f"{number}: {title}{draw}".rstrip(), status))
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
        if self._evolver_asked_at is not None and time.monotonic() - self._evolver_asked_at > SAVE_SECONDS_PER_ROLE:
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
        note = f"the best of {len(self._results)} learners is learner {number}" if named == number else ""
        return replace(results[number], seconds=time.monotonic() - self._began, note=note)


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


def evolves(config: DictConfig) -> bool:
    """Whether the learners of a population report to an evolver."""
    return config.base.evolver_enabled is not False


def population_of(
    job: Job, share: Share, learners: int, processes_of_member: Callable[[Job, int], Sequence[Process]]
) -> Population:
    """The members of a job; each has a run of its own, <name>-1, <name>-2 ..., beside the evolver's run <name>.

    `processes_of_member(job, number)` makes the processes of a member from its own job.
    """
    run, draws, cells = RunFolder.of(job.config).path.absolute(), draws_of(job, learners), []
    if job.config.base.evolver_shared_start and job.config.base.evolver_start_seed is None:
        job.config.base.evolver_start_seed = _seed(job.config)
    for number, draw in enumerate(draws, 1):
        config = copy_of(job.config)
        config.base.name = f"{job.config.base.name}-{number}"
        config.base.evolver_enabled = evolves(job.config)
        config.net.evolver_records = str(run / "net")
        for name, value in draw.items():
            OmegaConf.update(config, name, value, force_add=True)
        for holder in (config, config.sac):
            if holder.seed is not None:
                holder.seed = seed_of(holder.seed, number)
        typed = {
            name: value for name, value in job.typed.items() if name not in draw
        }  # so that a drawn value is not overwritten at a restart
        folder = job.folder / str(number)
        mine = replace(
            job, folder=folder, config=config, typed=typed, trial=None, module=CHILD_MODULE, env=dict(job.env)
        )
        cells.append(Cell(mine, share, processes_of_member(mine, number)))
    return Population(job, share, cells, _evolver_of(job, share) if evolves(job.config) else None, draws)


def check_population(job: Job, learners: int) -> None:
    """Raises UserError for a population that cannot run."""
    base, many = job.config.base, f"hydra.launcher.learners={learners}"
    for key in ("evolver_enabled", "evolver_strategy", "evolver_fitness"):
        check_assignable(f"base.{key}", base[key])
    check_assignable("eval.per_step", job.config.eval.per_step)
    draws_of(job, learners)
    if job.config.net.directory != "file":
        raise UserError(f"{many}: its learners need net=default, not fixed addresses")
    if not evolves(job.config):
        return
    enabled = copy_of(job.config)
    enabled.base.evolver_enabled = True
    live_distributions(enabled)
    if base.evolver_fitness == "evaluation" and job.config.eval.per_step < 1:
        raise UserError(
            f"{many}: learners are compared by their evaluations: set eval.per_step to a number of steps, or "
            "base.evolver_fitness=training"
        )


def draws_of(job: Job, learners: int) -> Sequence[Draw]:
    """What each learner draws from `random_params`; nothing in a search, whose trial has chosen the values.

    Raises UserError as ParameterSpace does.
    """
    if job.trial is not None or not job.config.random_params:
        return [{} for _ in range(learners)]
    return ParameterSpace.of(job.config).spread(learners, _seed(job.config))


def _seed(config: DictConfig) -> int:
    return config.sac.seed if config.sac.seed is not None else int.from_bytes(os.urandom(3), "little")


def _evolver_of(job: Job, share: Share) -> Process:
    config = copy_of(job.config)
    config.role, config.ckpt = EVOLVER, "auto"
    mine = Job(1, job.folder / EVOLVER, config, [f"role={EVOLVER}"], job.typed, named=True, env=dict(job.env))
    return Process(EVOLVER, mine, replace(share, threads=1, gpu="-1" if share.gpu else None))
