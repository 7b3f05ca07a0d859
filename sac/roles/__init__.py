"""What one process does. Roles are imported when they are called: some need no TensorFlow."""

from __future__ import annotations

import os
from importlib import import_module

from sac.config import Config
from sac.track.observer import Observer


def run(config: Config, observer: Observer | None = None) -> float | None:
    """Runs the role that the config names; returns its objective (None without one).

    `observer` is whoever watches the run from outside, e.g. a launcher.
    """
    limit_threads(config.base.threads)
    role = getattr(import_module(f"sac.roles.{config.role}"), config.role)
    return role(config, observer=observer or Observer())


def limit_threads(threads: int | None) -> None:
    """Sets the threads of the BLAS libraries that NumPy may bring: they look once, when NumPy is imported."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
