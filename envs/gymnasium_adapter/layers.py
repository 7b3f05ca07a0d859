"""An environment and all that it wraps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def layers(env: Any) -> Iterator[Any]:
    """`env`, what it wraps, what that wraps ..., also where Shimmy put an environment of old gym."""
    seen = set()
    while hasattr(env, "__dict__") and id(env) not in seen:
        seen.add(id(env))
        yield env
        env = vars(env).get("env", vars(env).get("gym_env"))


def step_limit(env: Any) -> int | None:
    """Steps after which a time limit among its wrappers ends an episode; None without one."""
    limits = [vars(layer).get("_max_episode_steps") for layer in layers(env)]
    return min((steps for steps in limits if isinstance(steps, int) and steps > 0), default=None)
