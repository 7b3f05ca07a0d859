"""The layers of an environment: its wrappers and what they wrap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def layers(env: Any) -> Iterator[Any]:
    """`env`, the environment that it wraps, and so on to the innermost, which may be one of old gym inside Shimmy's."""
    seen = set()
    while hasattr(env, "__dict__") and id(env) not in seen:
        seen.add(id(env))
        yield env
        env = vars(env).get("env", vars(env).get("gym_env"))


def step_limit(env: Any) -> int | None:
    """The number of steps after which a time-limit wrapper ends an episode; None without such a wrapper."""
    limits = [vars(layer).get("_max_episode_steps") for layer in layers(env)]
    return min((steps for steps in limits if isinstance(steps, int) and steps > 0), default=None)
