"""The jobs of a cell's processes: for each role the cell's job, with what is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from launchers.cells.process import Process
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from launchers.jobs.running import RunningProcess
from launchers.jobs.worker import Worker
from sac.runs.folder import RunFolder


def processes_of(
    job: Job, share: Share, roles: Sequence[str], actors: int, threads: Mapping[str, int], actor_timeout: float,
    start: Callable[[Job, Share], RunningProcess] = Worker, learner: int = 1,
) -> list[Process]:  # fmt: skip
    """One Process for each of `roles`, and one for each actor; `learner` is the number of its learner in a population.

    `threads` are those of each role, `actor_timeout` is in seconds. Raises UserError as `trusted` does.
    """
    processes, job = [], trusted(job)
    for role in ("replay", "learner", "actor"):
        for number in range(1, actors + 1) if role == "actor" else (learner,):
            if role in roles:
                timeout = actor_timeout if role == "actor" else None  # a learner may compile or evaluate for long
                own_share = _share_of(role, share, threads[role])
                processes.append(Process(role, _job_of(role, number, job), own_share, timeout, start))
    return processes


def trusted(job: Job) -> Job:
    """A copy of the job whose processes may run the run's code, on whichever machine they are.

    Trust is recorded on this machine only, so processes elsewhere are told by base.trust=true. Raises UserError when
    the code is not trusted here.
    """
    config = job.config
    same_command = "the same command with base.trust=true"
    RunFolder.of(config).check_code(job.typed.get("base.trust") is True, same_command)
    return replace(job, typed={**job.typed, "base.trust": True})


def copy_of(config: DictConfig) -> DictConfig:
    """A copy of the config, to be changed without changing the original."""
    copy = OmegaConf.create(OmegaConf.to_container(config))
    assert isinstance(copy, DictConfig)
    return copy


def _job_of(role: str, number: int, job: Job) -> Job:
    config = copy_of(job.config)
    config.role, config.net.number = role, number
    config.ckpt = config.ckpt if config.ckpt is not None and role == "learner" else "auto"
    folder = job.folder / (f"actor-{number}" if role == "actor" else role)
    mine = Job(number, folder, config, [f"role={role}"], job.typed, named=True, env=dict(job.env))
    if role == "learner":  # in a search only the learner reports
        mine = replace(mine, trial=job.trial, module=job.module)
    return mine


def _share_of(role: str, share: Share, threads: int) -> Share:
    """A role's part of the cell's share: only the learner sees the GPU."""
    return replace(share, threads=threads, gpu=share.gpu if role == "learner" else "-1" if share.gpu else None)
