"""What one process does. Roles are imported when they are called: some need no TensorFlow."""

from __future__ import annotations

import os
from importlib import import_module

from sac.config.overrides import run_command
from sac.config.schema import Config
from sac.runs.folder import RunFolder
from sac.track.observer import Observer

LOAD_CODE = ("train", "play", "learner", "actor")  # the others hold numbers only


def run(config: Config, observer: Observer | None = None) -> float | None:
    """Runs the role that the config names; returns its objective (None without one).

    `observer` is whoever watches the run from outside, e.g. a launcher.
    """
    limit_threads(config.base.threads)
    check_code(config)
    role = getattr(import_module(f"sac.roles.{config.role}"), config.role)
    return role(config, observer=observer or Observer())


def check_code(config: Config) -> None:
    """Raises UserError before code of a run is loaded that did not come from this machine."""
    resumes = config.role == "play" or config.ckpt is not None
    if config.role in LOAD_CODE and resumes:
        what = [f"role={config.role}"] * (config.role != "train") + [f"ckpt={config.ckpt}"] * (config.ckpt is not None)
        command = run_command(config, *what, "base.trust=true")
        RunFolder.of(config).check_code(config.base.trust, command)


def limit_threads(threads: int | None) -> None:
    """Sets the threads of the BLAS libraries that NumPy may bring: they look once, when NumPy is imported."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
