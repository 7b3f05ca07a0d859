"""One job of a multirun as files: what a child process is told, and what it tells back.

jobs/<number>/job.json       what was typed, its number, its trial        (written by the parent)
jobs/<number>/composed.yaml  the composed config; its run has a config.yaml   (written by the parent)
jobs/<number>/status.json    how far it is, at last how it ended          (written by the child)
jobs/<number>/job.log        its screen
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
KILLED = "killed by"  # so the error of a process begins that a signal has ended
SEEDS = ("seed", "sac.seed", "repeat")  # what runs of one experiment differ in


@dataclass
class Status:
    """How far a process is; `return_` of training, `score` of evaluation, `rate` in environment steps a second."""

    state: str = WAITING
    folder: str = ""  # of the run
    process: int = 0  # its id
    step: int = 0
    max_step: int = -1
    return_: float | None = None
    score: float | None = None
    rate: float | None = None
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""  # of a bug; empty for what the user can mend
    note: str = ""  # what it is doing, in a few words
    result: dict[str, Any] = field(default_factory=dict)  # as in result.json

    @property
    def killed(self) -> bool:
        return self.error.startswith(KILLED)

    @property
    def over(self) -> bool:
        return self.state not in (WAITING, RUNNING)


@dataclass
class Job:
    """`overrides` is what makes this job; `typed` are the keys that were set explicitly, with their values.

    `named` says that the config holds its final name; else the name of the run gets the number. `trial` is what the
    child needs to report to a search (see reporter.Reporter).
    """

    number: int
    folder: Path
    config: DictConfig
    overrides: list[str]
    typed: dict[str, Any]
    named: bool = False
    trial: dict[str, Any] | None = None
    roles: bool = False  # several processes run it, each in a folder of its own below `folder`
    env: dict[str, str] = field(default_factory=dict)  # environment variables, written nowhere

    @property
    def log(self) -> Path:
        return self.folder / "job.log"

    @property
    def screens(self) -> Path:
        """Where to look, as a user would type it."""
        return self.folder / "*" / "job.log" if self.roles else self.log

    @property
    def lock(self) -> Path:
        """Held by the process that runs the job: never two at once."""
        return self.folder / "lock"

    @property
    def experiment(self) -> tuple[str, ...]:
        """What it shares with the jobs that only have other seeds."""
        return tuple(o for o in self.overrides if o.split("=")[0] not in SEEDS)

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "status.json").unlink(missing_ok=True)  # of an earlier attempt
        write_atomically(self.folder / "composed.yaml", OmegaConf.to_yaml(self.config))
        told = {k: getattr(self, k) for k in ("number", "overrides", "typed", "named", "trial")}
        write_atomically(self.folder / "job.json", json.dumps(told, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Job:
        told = json.loads((folder / "job.json").read_text(encoding="utf8"))
        return cls(folder=folder, config=OmegaConf.load(folder / "composed.yaml"), **told)

    def status(self) -> Status:
        return read_status(self.folder)


def read_status(folder: Path) -> Status:
    """What a process has told; nothing yet where the file is not there, is just being replaced (on Windows) or torn."""
    try:
        told: Mapping[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf8"))
        return Status(**told)
    except (OSError, ValueError, TypeError):
        return Status()
