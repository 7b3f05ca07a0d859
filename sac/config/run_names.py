"""Names of runs: what `{time}` in base.name stands for, and the name of a job of a multirun."""

from __future__ import annotations

import os
import random
import string
import time

from omegaconf import DictConfig

from sac.config.schema import Config

TIME_VARIABLE = "SAC_MOMENT"  # environment variable: the time and letters that all jobs of a multirun share
FOLDER_CHOSEN_BY = "base.models, base.scene and base.name choose the folder of a run"


def time_and_letters() -> str:
    """Date, time and four random letters, e.g. 20250131-235959AbCd.

    The letters come from the system's random source, so two runs with the same seed have different names.
    """
    letters = "".join(random.SystemRandom().choices(string.ascii_letters, k=4))
    return time.strftime("%Y%m%d-%H%M%S") + letters


def resolved_name(name: str) -> str:
    """The name with `{time}` replaced by the present time and letters."""
    return name.replace("{time}", time_and_letters())


def name_in_multirun(composed: Config | DictConfig, job: int) -> str:
    """The run's name with the number of its job, so that no two jobs of a multirun share a folder."""
    return f"{composed.base.name.replace('{time}', os.environ.get(TIME_VARIABLE) or time_and_letters())}-{job}"
