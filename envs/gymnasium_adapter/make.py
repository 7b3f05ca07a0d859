"""Finds an environment id and makes a picklable factory for it; errors say what to install or to write instead."""

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
import numpy as np

from envs.gymnasium_adapter.action_mask import MASK_KEY
from envs.gymnasium_adapter.contract import Contract, with_contract
from envs.gymnasium_adapter.env_seeds import copy_class_spaces, new_generators_seeded, seed_spaces, seeded_construction
from envs.gymnasium_adapter.mask_method import with_mask_method
from sac.errors import UserError
from sac.reset_values import drawn
from sac.screen import make_unbreakable
from sac.seeds import seed_generators

log = logging.getLogger(__name__)
OLD_GYM_PREFIX = "gym:"  # before the id of an environment of the old package `gym`
EXTRA_OF_WORD = {  # word in an import error or id -> extra of this project that installs it
    "box2d": "box2d",
    "mujoco": "mujoco",
    "imageio": "mujoco",
    "bullet": "bullet",
    "pygame": "video",
    "moviepy": "video",
}


class SubEnvWrapper(Contract):
    """The outermost wrapper of a sub-environment, which does what a vector environment leaves out.

    It passes the reset options at every reset, drawing those that are distributions, and seeds every space that the
    environment may draw from. It copies last observations: with same-step autoreset `reset` is called before they are
    read, and an environment may write its first observation into the same array. Of `info` it keeps the action mask
    only, since vector environments cannot combine values of different kinds.
    """

    def __init__(self, env: gymnasium.Env, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(env, name)
        self._options = dict(options)
        self._random = np.random.default_rng()  # for options that are distributions

    def set_reset_options(self, options: Mapping[str, Any]) -> None:
        """Takes other options from the next reset on."""
        self._options = dict(options)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self._random = np.random.default_rng(seed)
        options = drawn({**self._options, **(options or {})}, self._random) or None
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
        """Closes the environment; an exception becomes a warning, so that the other environments are closed too."""
        try:
            super().close()
        except BaseException as error:
            log.warning("close() of the environment raised %s; nothing is lost", repr(error))


class WorkerSubEnvWrapper(SubEnvWrapper):
    """The same in a worker process: it also seeds the global generators, and what it raises can be pickled."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            seed_generators(seed)
        with _picklable():
            return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        with _picklable():
            return super().step(action)


def _mask_only(info: Mapping[str, Any]) -> dict[str, Any]:
    mask = info.get(MASK_KEY)
    return {} if mask is None else {MASK_KEY: mask}


@contextlib.contextmanager
def _picklable() -> Iterator[None]:
    """Replaces an exception that cannot be pickled by a RuntimeError with the same text."""
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
    """Makes one sub-environment when it is called.

    It carries the environment's specification, not only its id, so that worker processes need not register it. With a
    seed, everything that is drawn while the environment is made comes from the seed.
    """

    env_id: str
    spec: Any  # EnvSpec of gymnasium or of gym
    old: bool
    render_mode: str | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    reward_weights: Sequence[float] = ()
    mask: str | None = None  # the part of the observation, or the method, that gives the action mask
    seed: int | None = None
    parent: int = field(default_factory=os.getpid)  # the process id of the trainer

    def __call__(self) -> gymnasium.Env:
        wrapper: type[SubEnvWrapper] = SubEnvWrapper
        if os.getpid() != self.parent:
            wrapper = WorkerSubEnvWrapper
            ignore_ctrl_c()
            make_unbreakable()  # an environment may print
        kwargs = dict(self.env_kwargs)
        if self.render_mode is not None:  # environments that cannot render need not have this argument
            kwargs["render_mode"] = self.render_mode
        with explained(self.env_id), seeded_construction(self.seed):
            if self.old:
                env = importlib.import_module("envs.gymnasium_adapter.old_gym").make(self.spec, **kwargs)
            else:
                env = gymnasium.make(self.spec, **kwargs)
        copy_class_spaces(env)
        env = with_mask_method(with_contract(env, self.env_id, self.reward_weights), self.env_id, self.mask)
        return wrapper(env, self.env_id, self.reset_options)


def ignore_ctrl_c() -> None:
    """Makes a worker ignore Ctrl-C, which reaches the whole process group: the parent process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(
        signal, "pthread_sigmask"
    ):  # it was blocked while the worker started, and the worker's children would inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def env_maker(
    env_id: str, render_mode: str | None, env_kwargs: Mapping[str, Any], reset_options: Mapping[str, Any],
    reward_weights: Sequence[float] = (), mask: str | None = None,
) -> EnvMaker:  # fmt: skip
    """The factory of an id: `Name-v1`, `module:Name-v1` or `gym:Name-v1`.

    Old gym is searched for ids that begin with `gym:`, and for names that Gymnasium has in no version.

    Raises UserError with the nearest known ids.
    """
    spec, old = _find(env_id)
    return EnvMaker(env_id, spec, old, render_mode, dict(env_kwargs), dict(reset_options), tuple(reward_weights), mask)


def _find(env_id: str) -> tuple[Any, bool]:
    wants_old = env_id.startswith(OLD_GYM_PREFIX)
    module, _, name = env_id.removeprefix(OLD_GYM_PREFIX).rpartition(":")
    if module or "Bullet" in name:
        _import_registering(module or "pybullet_envs_gymnasium", env_id)
    if not wants_old:
        spec = gymnasium.registry.get(name) or gymnasium.registry.get(_newest(name) or "")
        if spec is not None:
            return spec, False
        versions = _versions(_unversioned(name))
        if versions:
            raise UserError(_other_version(env_id, name, versions))
    old_gym = importlib.import_module(
        "envs.gymnasium_adapter.old_gym"
    )  # imported only where it is needed: it is slow and prints notices
    spec = old_gym.find(name)
    if spec is None:
        known = old_gym.known_ids() if wants_old else [*gymnasium.registry, *old_gym.known_ids()]
        raise UserError(_unknown(env_id, name, known, OLD_GYM_PREFIX if wants_old else ""))
    return spec, True


def _import_registering(module: str, env_id: str) -> None:
    with explained(env_id):
        importlib.import_module(module)


def _unversioned(name: str) -> str:
    """`ALE/Pong-v5` -> `ALE/Pong`."""
    return re.sub(r"-v\d+$", "", name)


def _versions(name: str) -> list[str]:
    """The ids of all versions that Gymnasium has of a name, newest first."""
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
    near.sort(key=lambda s: _unversioned(s) != _unversioned(name))  # other versions of the same name come first
    advice = f"Nearest ids: {', '.join(prefix + s for s in near)}." if near else "No known id is near."
    return (
        f"environment '{env_id}' is known neither to Gymnasium nor to old gym. {advice} An id that another package "
        f"registers needs that package's name in front: 'package:{name}'"
    )


@contextlib.contextmanager
def explained(env_id: str) -> Iterator[None]:
    """Turns errors of missing packages and mistyped arguments into a UserError; other exceptions pass unchanged."""
    try:
        yield
    except Exception as error:
        message = _explanation(env_id, error)
        if message is None:
            raise
        raise UserError(message) from error


def _explanation(env_id: str, error: Exception) -> str | None:
    """The message for an error of making an environment; None where the error is not the user's."""
    text = str(error).rstrip(".")
    if {cls.__name__ for cls in type(error).__mro__} & {
        "ImportError",
        "DependencyNotInstalled",
    }:  # both gym and gymnasium have this class
        extra = next((extra for word, extra in EXTRA_OF_WORD.items() if word in f"{text} {env_id}".lower()), None)
        cure = f' Install what it needs with: pip install -e ".[{extra}]"' if extra else ""
        newest = _newest(_unversioned(env_id.removeprefix(OLD_GYM_PREFIX).rpartition(":")[2]))
        hint = f" Use the newest version, {newest}." if newest and newest != env_id else ""
        return f"environment '{env_id}' cannot be loaded: {text}.{hint}{cure}"
    mistyped = "keyword argument" in text or "required positional argument" in text  # arguments of base.env_kwargs
    # a class that is no environment, or one of old gym
    no_env = "must inherit from" in text or "incompatible with Gymnasium" in text
    if isinstance(error, gymnasium.error.Error) or (isinstance(error, TypeError) and (mistyped or no_env)):
        return f"environment '{env_id}' cannot be made: {text}"
    return None
