"""Wraps environments of the old package `gym` (0.26 and the style of 0.21) for Gymnasium, by Shimmy."""

from __future__ import annotations

import contextlib
import inspect
import io
from typing import Any

import gymnasium

with contextlib.redirect_stderr(io.StringIO()):  # gym prints a notice that it is unmaintained
    import gym
    from gym.envs.registration import EnvSpec, load, registry
    from shimmy.openai_gym_compatibility import GymV26CompatibilityV0


def find(env_id: str) -> EnvSpec | None:
    """The specification of an id of old gym, or None."""
    return registry.get(env_id)


def known_ids() -> list[str]:
    """All ids of old gym."""
    return list(registry)


def make(spec: EnvSpec, **kwargs: Any) -> gymnasium.Env:
    """Builds the environment of a specification, whose id need not be registered in this process."""
    # gym's checker uses np.bool8, which NumPy 2 has removed
    kwargs["disable_env_checker"] = True
    if _is_old_style(spec):
        kwargs["apply_api_compatibility"] = True  # below gym's TimeLimit, which expects five values of `step`
    env = GymV26CompatibilityV0(env_id=spec, make_kwargs=kwargs)
    for side in ("observation_space", "action_space"):  # Shimmy drops the start of a Discrete
        space = getattr(env.gym_env, side)
        if isinstance(space, gym.spaces.Discrete):
            setattr(env, side, gymnasium.spaces.Discrete(int(space.n), start=int(space.start)))
    return env


def _is_old_style(spec: EnvSpec) -> bool:
    """Whether `reset` takes no seed, as in the API before gym 0.26."""
    entry = spec.entry_point if callable(spec.entry_point) else load(spec.entry_point)
    reset = getattr(entry, "reset", None)
    if reset is None:
        return False
    parameters = inspect.signature(reset).parameters.values()
    return not any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in parameters)
