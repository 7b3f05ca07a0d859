"""The options of the launcher `processes`: types and ranges. Their defaults are in conf/."""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sac.config.keys import at_least, key


@dataclass
class ProcessOptions:
    """The section hydra.launcher; conf/hydra/launcher/processes.yaml says what each key means."""

    n_jobs: int | None = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)
