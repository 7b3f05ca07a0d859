"""Roles: what one process does. A role's module is imported when it runs, since some roles need no TensorFlow."""

from __future__ import annotations

import os
from importlib import import_module

from sac.config.overrides import run_command
from sac.config.schema import Config
from sac.runs.compile_cache import use_compile_cache
from sac.runs.folder import RunFolder
from sac.track.observer import Observer

ROLES_THAT_LOAD_CODE = ("train", "play", "learner", "actor")  # the others handle arrays only


def run(config: Config, observer: Observer | None = None) -> float | None:
    """Runs the role that the config names, and returns its objective, if it has one.

    `observer` is told about the run, e.g. for a launcher.
    """
    limit_threads(config.base.threads)
    use_compile_cache(config.base.compile_cache, config.base.threads)
    check_code(config)
    role = getattr(import_module(f"sac.roles.{config.role}"), config.role)
    return role(config, observer=observer or Observer())


def check_code(config: Config) -> None:
    """Raises UserError when the role would load code from a run folder that is not trusted on this machine."""
    resumes = config.role == "play" or config.ckpt is not None
    if config.role in ROLES_THAT_LOAD_CODE and resumes:
        what = [] if config.role == "train" else [f"role={config.role}"]
        what += [] if config.ckpt is None else [f"ckpt={config.ckpt}"]
        command = run_command(config, *what, "base.trust=true")
        RunFolder.of(config).check_code(config.base.trust, command)


def limit_threads(threads: int | None) -> None:
    """Sets the threads of NumPy's BLAS library, which reads these variables once, when NumPy is imported."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
