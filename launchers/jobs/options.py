"""The options of the launcher `processes`, checked like every other key; their defaults stand in conf/."""

# ruff: noqa: RUF009 - a key() is a fresh dataclasses.field each time

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sac.config.schema import at_least, key


@dataclass
class ProcessOptions:
    """hydra.launcher, see conf/hydra/launcher/processes.yaml."""

    n_jobs: int | None = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)
