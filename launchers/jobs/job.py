"""One job of a multirun, and the files by which the parent process and the child process exchange it.

jobs/<number>/job.json       the job's number, overrides and trial        (written by the parent)
jobs/<number>/composed.yaml  the composed config                          (written by the parent)
jobs/<number>/status.json    how far the job is, at last how it ended     (written by the child)
jobs/<number>/job.log        standard output and standard error           (written by the child)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sac.files import write_atomically

WAITING, RUNNING, DONE, PRUNED, FAILED, INTERRUPTED = "waiting", "running", "done", "pruned", "failed", "interrupted"
KILLED = "killed by"  # first words of the error of a process that a signal, or the loss of its node, has ended
CHILD_MODULE = "launchers.jobs.child"  # what a child process runs, if the job comes from no search
SEEDS = ("seed", "sac.seed", "repeat")  # keys in which the runs of one experiment differ


@dataclass
class Status:
    """How far a process is.

    `return_` is the latest training return, `score` the latest evaluation return, `rate` is in environment steps a
    second, `seconds` since the process began, and `result` holds the numbers of result.json.
    """

    state: str = WAITING
    folder: str = ""  # the run folder
    process: int = 0  # process id
    step: int = 0
    max_step: int = -1
    return_: float | None = None
    score: float | None = None
    rate: float | None = None
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""  # of a bug; empty for an error that the user can correct
    note: str = ""  # what the process is doing, in a few words
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def killed(self) -> bool:
        """Whether a signal, or the loss of its node, has ended the process."""
        return self.error.startswith(KILLED)

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.state not in (WAITING, RUNNING)


@dataclass
class Job:
    """A composed config and where it runs.

    `overrides` tell this job from the others of its multirun. `typed` maps the keys that were set explicitly to their
    values. With `named` the config holds the final base.name, else the job's number is appended to it. `module` is what
    the child process runs. `trial` is what a search's child process reports with, see launchers.search.reporter.
    """

    number: int
    folder: Path
    config: DictConfig
    overrides: list[str]
    typed: dict[str, Any]
    named: bool = False
    trial: dict[str, Any] | None = None
    module: str = CHILD_MODULE
    roles: bool = False  # several processes run the job, each in its own folder below `folder`
    env: dict[str, str] = field(default_factory=dict)  # environment variables of the child process; no file holds them

    @property
    def log(self) -> Path:
        return self.folder / "job.log"

    @property
    def screens(self) -> Path:
        """The log, or the pattern of all logs where the job has several processes."""
        return self.folder / "*" / "job.log" if self.roles else self.log

    @property
    def lock(self) -> Path:
        """The file that the process of the job locks, so that never two processes run it at once."""
        return self.folder / "lock"

    @property
    def experiment(self) -> tuple[str, ...]:
        """The overrides that the job shares with jobs that differ in their seeds only."""
        return tuple(o for o in self.overrides if o.split("=")[0] not in SEEDS)

    def write(self) -> None:
        """Writes what the child process reads. `module`, `roles` and `env` stay with the parent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "status.json").unlink(missing_ok=True)  # of an earlier attempt
        write_atomically(self.folder / "composed.yaml", OmegaConf.to_yaml(self.config))
        fields = {k: getattr(self, k) for k in ("number", "overrides", "typed", "named", "trial")}
        write_atomically(self.folder / "job.json", json.dumps(fields, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job that `write` has written into `folder`."""
        fields = json.loads((folder / "job.json").read_text(encoding="utf8"))
        config = OmegaConf.load(folder / "composed.yaml")
        assert isinstance(config, DictConfig)
        return cls(folder=folder, config=config, **fields)

    def status(self) -> Status:
        return read_status(self.folder)


def read_status(folder: Path) -> Status:
    """The status in a job's folder; a fresh one when the file is missing, torn, or just being replaced (on Windows)."""
    try:
        fields: Mapping[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf8"))
        return Status(**fields)
    except (OSError, ValueError, TypeError):
        return Status()
