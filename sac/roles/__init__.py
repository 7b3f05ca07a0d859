"""What one process does. Roles are imported when they are called: some need no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from sac.config import Config


def role(name: str) -> Callable[[Config], float | None]:
    """The function of a role: takes the config, returns the objective (None without one)."""
    return getattr(import_module(f"sac.roles.{name}"), name)
