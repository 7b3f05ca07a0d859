"""From an environment id to a picklable maker of environments, with errors that say what to install or to write."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import pickle
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from envs.gymnasium_adapter.action_mask import KEY
from envs.gymnasium_adapter.contract import Contract, held_to_contract
from envs.gymnasium_adapter.env_seeds import new_generators_seeded, own_spaces, seed_spaces, seeded_construction
from envs.gymnasium_adapter.mask_method import masked
from sac.errors import UserError
from sac.screen import make_unbreakable
from sac.seeds import seed_generators

log = logging.getLogger(__name__)
OLD = "gym:"  # prefix that asks for the old package `gym`
EXTRAS = {  # word in an import error or id -> the extra of this project that brings it
    "box2d": "box2d",
    "mujoco": "mujoco",
    "imageio": "mujoco",
    "bullet": "bullet",
    "pygame": "video",
    "moviepy": "video",
}


class EpisodeBorder(Contract):
    """What vector environments leave out, where they meet one environment.

    Options at every reset; a seed for every space that the environment may draw from; last observations that the reset
    cannot change (a vector environment with same-step autoreset calls `reset` before anyone reads the last observation,
    and an environment may well write its first one into the same array); of `info` nothing but the mask, since vector
    environments cannot put together what is of many kinds.
    """

    def __init__(self, env: gymnasium.Env, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(env, name)
        self._options = dict(options)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        options = {**self._options, **(options or {})} or None
        if seed is None:
            obs, info = super().reset(options=options)
        else:
            seed_spaces(self.env, seed)
            with new_generators_seeded(seed):
                obs, info = super().reset(seed=seed, options=options)
        return obs, _mask_only(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        info = _mask_only(info)
        if terminated or truncated:
            obs, info = deepcopy((obs, info))
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        """What an environment raises here is a warning: its siblings and the run end as if it had not."""
        try:
            super().close()
        except BaseException as error:
            log.warning("close() of the environment raised %s; nothing is lost", repr(error))


class WorkerBorder(EpisodeBorder):
    """The same in a process of its own: global generators are seeded with it, and what it raises can be sent."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            seed_generators(seed)
        with _sendable():
            return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        with _sendable():
            return super().step(action)


def _mask_only(info: Mapping[str, Any]) -> dict[str, Any]:
    mask = info.get(KEY)
    return {} if mask is None else {KEY: mask}


@contextlib.contextmanager
def _sendable() -> Iterator[None]:
    """An exception that another process could not read becomes a RuntimeError of the same words."""
    try:
        yield
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


@dataclass
class EnvMaker:
    """Makes one sub-environment; crosses to worker processes with its specification, not only its name.

    With a seed, what is drawn while it is made comes from there.
    """

    env_id: str
    spec: Any  # EnvSpec of gymnasium or of gym
    old: bool
    render_mode: str | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    reward_weights: Sequence[float] = ()
    mask: str | None = None  # part of the observation or method that is the action mask
    seed: int | None = None
    parent: int = field(default_factory=os.getpid)

    def __call__(self) -> gymnasium.Env:
        border = EpisodeBorder
        if os.getpid() != self.parent:
            border = WorkerBorder
            ignore_ctrl_c()
            make_unbreakable()  # an environment may print
        kwargs = dict(self.env_kwargs)
        if self.render_mode is not None:  # environments that draw nothing need not know the word
            kwargs["render_mode"] = self.render_mode
        with explained(self.env_id), seeded_construction(self.seed):
            if self.old:
                env = importlib.import_module("envs.gymnasium_adapter.old_gym").make(self.spec, **kwargs)
            else:
                env = gymnasium.make(self.spec, **kwargs)
        own_spaces(env)
        env = masked(held_to_contract(env, self.env_id, self.reward_weights), self.env_id, self.mask)
        return border(env, self.env_id, self.reset_options)


def ignore_ctrl_c() -> None:
    """In a worker: Ctrl-C reaches the whole process group, and it is the parent who ends workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # blocked while the worker was starting; no child should inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def env_maker(
    env_id: str, render_mode: str | None, env_kwargs: Mapping[str, Any], reset_options: Mapping[str, Any],
    reward_weights: Sequence[float] = (), mask: str | None = None,
) -> EnvMaker:  # fmt: skip
    """Finds an id: `Name-v1`, `module:Name-v1`, `gym:Name-v1`. Old gym is for what begins with `gym:`, and for names
    that Gymnasium knows in no version.

    Raises UserError with the nearest known ids.
    """
    spec, old = _find(env_id)
    return EnvMaker(env_id, spec, old, render_mode, dict(env_kwargs), dict(reset_options), tuple(reward_weights), mask)


def _find(env_id: str) -> tuple[Any, bool]:
    wants_old = env_id.startswith(OLD)
    module, _, name = env_id.removeprefix(OLD).rpartition(":")
    if module or "Bullet" in name:
        _import_registering(module or "pybullet_envs_gymnasium", env_id)
    if not wants_old:
        spec = gymnasium.registry.get(name) or gymnasium.registry.get(_newest(name))
        if spec is not None:
            return spec, False
        versions = _versions(_unversioned(name))
        if versions:
            raise UserError(_other_version(env_id, name, versions))
    old_gym = importlib.import_module("envs.gymnasium_adapter.old_gym")  # slow and noisy: only when asked
    spec = old_gym.find(name)
    if spec is None:
        known = old_gym.known_ids() if wants_old else [*gymnasium.registry, *old_gym.known_ids()]
        raise UserError(_unknown(env_id, name, known, OLD if wants_old else ""))
    return spec, True


def _import_registering(module: str, env_id: str) -> None:
    with explained(env_id):
        importlib.import_module(module)


def _unversioned(name: str) -> str:
    """`ALE/Pong-v5` -> `ALE/Pong`."""
    return re.sub(r"-v\d+$", "", name)


def _versions(name: str) -> list[str]:
    """Ids under which Gymnasium knows a name without its version, newest first."""
    specs = [s for s in gymnasium.registry.values() if _unversioned(s.id) == name]
    return [s.id for s in sorted(specs, key=lambda s: -1 if s.version is None else s.version, reverse=True)]


def _newest(name: str) -> str | None:
    """`Pendulum` -> `Pendulum-v1`."""
    return next(iter(_versions(name)), None)


def _other_version(env_id: str, name: str, versions: list[str]) -> str:
    prefix = env_id.removesuffix(name)
    more = f", or {', '.join(prefix + v for v in versions[1:])}" if len(versions) > 1 else ""
    return (
        f"environment '{env_id}': Gymnasium does not have this version; use the newest, {prefix}{versions[0]}{more}. "
        "(Environments of the old package gym are named gym:<id>)"
    )


def _unknown(env_id: str, name: str, known: list[str], prefix: str) -> str:
    near = list(dict.fromkeys(difflib.get_close_matches(name, known, n=5, cutoff=0.5)))
    near.sort(key=lambda s: _unversioned(s) != _unversioned(name))  # other versions of the same first
    advice = f"Nearest ids: {', '.join(prefix + s for s in near)}." if near else "No known id is near."
    return (
        f"environment '{env_id}' is known neither to Gymnasium nor to old gym. {advice} An id that another package "
        f"registers needs that package's name in front: 'package:{name}'"
    )


@contextlib.contextmanager
def explained(env_id: str) -> Iterator[None]:
    """Turns what is missing or mistyped into a UserError; any other exception passes as it is."""
    try:
        yield
    except Exception as error:
        message = _explanation(env_id, error)
        if message is None:
            raise
        raise UserError(message) from error


def _explanation(env_id: str, error: Exception) -> str | None:
    text = str(error).rstrip(".")
    if {cls.__name__ for cls in type(error).__mro__} & {"ImportError", "DependencyNotInstalled"}:  # of gym or gymnasium
        extra = next((extra for word, extra in EXTRAS.items() if word in f"{text} {env_id}".lower()), None)
        cure = f' Install what it needs with: pip install -e ".[{extra}]"' if extra else ""
        newest = _newest(_unversioned(env_id.removeprefix(OLD).rpartition(":")[2]))
        hint = f" Use the newest version, {newest}." if newest and newest != env_id else ""
        return f"environment '{env_id}' cannot be loaded: {text}.{hint}{cure}"
    mistyped = "keyword argument" in text or "required positional argument" in text  # in base.env_kwargs
    no_env = (
        "must inherit from" in text or "incompatible with Gymnasium" in text
    )  # a class of another kind, or of old gym
    if isinstance(error, gymnasium.error.Error) or (isinstance(error, TypeError) and (mistyped or no_env)):
        return f"environment '{env_id}' cannot be made: {text}"
    return None
