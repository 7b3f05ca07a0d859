"""What the members of a population are made of: the cell of each learner, with what it has drawn, and the evolver."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from omegaconf import DictConfig, OmegaConf

from launchers.cells.cell import Cell
from launchers.cells.population import Draw, Population
from launchers.cells.process import Process
from launchers.cells.role_jobs import copy_of
from launchers.jobs.job import CHILD_MODULE, Job
from launchers.jobs.resources import Share
from sac.config.live_keys import check_evolution
from sac.config.parameter_space import ParameterSpace
from sac.config.schema import EVOLVER
from sac.config.shared_rows import check_shared_rows
from sac.config.validation import check_assignable
from sac.errors import UserError
from sac.runs.folder import RunFolder
from sac.seeds import seed_of, seed_of_repetition

log = logging.getLogger(__name__)


class Members(Protocol):
    """Makes the processes of a population; launchers differ in where these run."""

    def cell(self, job: Job, number: int) -> Cell:
        """The cell of learner `number`, from this learner's own job."""

    def evolver(self, job: Job, share: Share) -> Process:
        """The process of the evolver; by default on this machine."""
        return Process(EVOLVER, job, share)


def evolves(config: DictConfig) -> bool:
    """Whether the learners of a population report to an evolver."""
    return config.base.evolver_enabled is not False


def population_of(job: Job, share: Share, learners: int, members: Members) -> Population:
    """The population of a job; each learner has a run <name>-1, <name>-2 ..., beside the evolver's run <name>."""
    whole, job = job, _without_searched(job)
    run, cells, begun = RunFolder.of(job.config).path.absolute(), [], []
    if job.config.base.evolver_shared_start and job.config.base.evolver_start_seed is None:
        job.config.base.evolver_start_seed = seed_of_repetition(job.config.sac.seed, job.config.repeat)
    for number, draw in enumerate(draws_of(job, learners), 1):
        config = copy_of(job.config)
        config.base.name = f"{job.config.base.name}-{number}"
        config.base.evolver_enabled = evolves(job.config)
        config.net.evolver_records = str(run / "net")
        for name, value in draw.items():
            OmegaConf.update(config, name, value, force_add=True)
        for holder in (config, config.sac):
            if holder.seed is not None:
                holder.seed = seed_of(holder.seed, number)
        typed = {name: value for name, value in job.typed.items() if name not in draw}  # a restart keeps what was drawn
        typed["net.evolver_records"] = str(run / "net")  # also after the run's folder was moved
        folder = job.folder / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        mine = replace(
            job, folder=folder, config=config, typed=typed, trial=None, module=CHILD_MODULE, env=dict(job.env)
        )
        cells.append(members.cell(mine, number))
        begun.append(_begun_with(config, draw))
    evolver = members.evolver(*_evolver_job(job, share, learners)) if evolves(job.config) else None
    return Population(whole, share, cells, evolver, begun)


def check_population(job: Job, learners: int) -> None:
    """Raises UserError for a population that cannot run, and warns of settings without effect."""
    base, many = job.config.base, f"hydra.launcher.learners={learners}"
    for key in base:
        if str(key).startswith(f"{EVOLVER}_"):
            check_assignable(f"base.{key}", base[key])
    if base.evolver_learners not in (None, learners):
        raise UserError(f"base.evolver_learners={base.evolver_learners}: leave it out, {many} says how many there are")
    check_assignable("eval.per_step", job.config.eval.per_step)
    job = _without_searched(job)
    draws_of(job, learners)
    if job.config.net.directory != "file":
        raise UserError(f"{many}: its learners need net=default, not fixed addresses")
    if not evolves(job.config):
        return
    enabled = copy_of(job.config)
    enabled.base.evolver_enabled = True
    check_evolution(enabled)
    explore = base.evolver_explore
    if explore != "perturb" and (base.evolver_strategy != "pbt" or not job.config.random_params):
        log.warning(
            "base.evolver_explore=%s has no effect: it proposes what random_params names, for "
            "base.evolver_strategy=pbt", explore,
        )  # fmt: skip


def check_sharing(job: Job, single_process: bool) -> None:
    """Raises UserError where the learners of a job, each a `single_process` or a cell, cannot share rows."""
    for key in ("base.evolver_share_replay", "replay.batch_size", "replay.keep_loaded"):
        check_assignable(key, OmegaConf.select(job.config, key))
    check_shared_rows(job.config, single_process, evolves(job.config))


def _without_searched(job: Job) -> Job:
    """The job without `random_params` in a search: the trial has chosen values, which no learner draws or moves."""
    if job.trial is None:
        return job
    config = copy_of(job.config)
    config.random_params = {}
    typed = {name: value for name, value in job.typed.items() if not name.startswith("random_params")}
    return replace(job, config=config, typed=typed)


def draws_of(job: Job, learners: int) -> Sequence[Draw]:
    """What each learner draws from `random_params`. Raises UserError as ParameterSpace does."""
    if not job.config.random_params:
        return [{} for _ in range(learners)]
    seed = seed_of_repetition(job.config.sac.seed, job.config.repeat)
    return ParameterSpace.of(job.config).spread(learners, seed)


def _begun_with(config: DictConfig, draw: Draw) -> Draw:
    """What a learner has begun with: an earlier launch has drawn it where the run exists already."""
    folder = RunFolder.of(config)
    try:
        begun = folder.read_config() if draw and folder.config.exists() else OmegaConf.create()
    except UserError:  # the learner itself will say what is wrong
        begun = OmegaConf.create()
    return {name: OmegaConf.select(begun, name, default=value) for name, value in draw.items()}


def _evolver_job(job: Job, share: Share, learners: int) -> tuple[Job, Share]:
    config = copy_of(job.config)
    config.role, config.ckpt, config.base.evolver_learners = EVOLVER, "auto", learners
    typed = {**job.typed, "base.evolver_learners": learners}  # also where an earlier command had fewer
    mine = Job(1, job.folder / EVOLVER, config, [f"role={EVOLVER}"], typed, named=True, env=dict(job.env))
    return mine, replace(share, threads=1, gpu="-1" if share.gpu else None)
