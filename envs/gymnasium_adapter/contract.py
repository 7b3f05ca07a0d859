"""Holds an environment to Gymnasium's contract: what loses nothing is taken, the rest is refused in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sac.errors import ContractBroken

Fit = Callable[[Any], Any]  # a raw value -> the value as its space has it; raises Misfit
STEP = "observation, reward, terminated, truncated, info"
INFO = dict, Mapping, type(None)  # `info` may be any mapping; None says as little as an empty one
SHOWN = 60  # letters of a value in a message


class Misfit(Exception):  # noqa: N818 - it becomes a ContractBroken as soon as the environment's name is known
    """What came, and what is allowed."""


class Contract(gymnasium.Wrapper):
    """Returns what the environment returns, in the types of its spaces; `info` is handed on as it is.

    `weights`: of a reward of several numbers, whose weighted sum is the reward. Raises ContractBroken where `reset` or
    `step` returns something else than Gymnasium's contract allows.
    """

    def __init__(self, env: gymnasium.Env, name: str, weights: Sequence[float] = ()) -> None:
        super().__init__(env)
        self._weights = np.array(weights, np.float64)
        self._name, self._fit = name, fitting("observation", env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        try:
            result = _reset(self.env, seed, options)
            if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], INFO)):
                raise Misfit(f"reset() returned {shown(result)}; allowed is a tuple of two: observation, info (a dict)")
            return self._fit(result[0]), result[1] or {}
        except Misfit as misfit:
            raise broken(self._name, "reset", misfit) from None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        result = self.env.step(action)
        try:
            if not (isinstance(result, tuple) and len(result) == 5):
                raise Misfit(f"step() returned {shown(result)}; allowed is a tuple of five: {STEP}{_old(result)}")
            obs, reward, terminated, truncated, info = result
            if not isinstance(info, INFO):
                raise Misfit(f"info is {shown(info)}; allowed is a dict")
            terminated, truncated = _flag("terminated", terminated), _flag("truncated", truncated)
            return self._fit(obs), self._one_number(reward), terminated, truncated, info or {}
        except Misfit as misfit:
            raise broken(self._name, "step", misfit) from None

    def _one_number(self, reward: Any) -> float:
        if isinstance(reward, float | int | np.floating) and not self._weights.size:
            return float(reward)
        array = _array(reward)
        if array is None or array.dtype.kind not in "biuf" or not array.size:
            raise Misfit(f"reward is {shown(reward)}; allowed is one number")
        check_weights(self._weights, array.size, self._name)
        return float(array.ravel() @ self._weights) if self._weights.size else float(array.reshape(()))


def broken(name: str, call: str, misfit: Misfit) -> ContractBroken:
    """The error for what the method `call` of the environment `name` returned."""
    text = str(misfit)
    return ContractBroken(f"environment '{name}': {text if text.startswith(call) else f'{call}(): {text}'}")


def _reset(env: gymnasium.Env, seed: int | None, options: dict | None) -> Any:
    """`options` are left out where there are none: environments without any may not know the word."""
    given = {"seed": seed} if options is None else {"seed": seed, "options": options}
    try:
        return env.reset(**given)
    except TypeError as error:
        unknown = re.search(r"reset\(\) got an unexpected keyword argument '(seed|options)'", str(error))
        if unknown is None:
            raise
        raise Misfit(f"reset() takes no {unknown[1]}; allowed is reset(self, *, seed=None, options=None)") from error


def held_to_contract(env: gymnasium.Env, name: str, weights: Sequence[float] = ()) -> gymnasium.Env:
    """`env` with a Contract below Gymnasium's own wrappers, which rely on the contract themselves."""
    lowest, held = None, env
    while _is_gymnasiums(held):
        lowest, held = held, held.env
    space = getattr(held, "reward_space", None)  # as mo-gymnasium has it; its wrapper may have added numbers up
    if isinstance(space, spaces.Space) and space.shape:
        check_weights(np.array(weights, np.float64), math.prod(space.shape), name)
    contract = Contract(held, name, weights)
    if lowest is None:
        return contract
    lowest.env = contract
    return env


def check_weights(weights: np.ndarray, count: int, name: str) -> None:
    """Raises ContractBroken unless there is one weight for each of `count` numbers (none are needed for one)."""
    if count == 1 < weights.size:
        raise ContractBroken(
            f"base.reward_weights={weights.tolist()}: the reward of '{name}' is one number; set base.reward_weights=[]"
        )
    if count != (weights.size or 1):
        raise ContractBroken(
            f"base.reward_weights={weights.tolist()}: '{name}' gives rewards of {count} numbers; give one weight for "
            f"each, for example base.reward_weights={[1.0] * count}, and their weighted sum is the reward"
        )


def _is_gymnasiums(env: gymnasium.Env) -> bool:
    return isinstance(env, gymnasium.Wrapper) and type(env).__module__.startswith("gymnasium.")


def fitting(name: str, space: spaces.Space) -> Fit:
    """What turns raw values into those of a space, and refuses others."""
    if isinstance(space, spaces.Dict):
        return _dict(name, {key: fitting(f"{name} '{key}'", part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return _tuple(name, [fitting(f"{name} [{i}]", part) for i, part in enumerate(space.spaces)])
    if isinstance(space, spaces.Box):
        return _box(name, space)
    if isinstance(space, spaces.Discrete):
        return _numbers(name, space, int(space.start), int(space.start) + int(space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return _numbers(name, space, np.asarray(space.start), np.asarray(space.start) + space.nvec - 1)
    if isinstance(space, spaces.MultiBinary):
        return _numbers(name, space, 0, 1)
    return lambda value: value


def _dict(name: str, parts: dict[str, Fit]) -> Fit:
    def fit(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not parts.keys() <= value.keys():
            raise Misfit(f"{name} is {shown(value)}; allowed is a dict with the keys {', '.join(map(str, parts))}")
        return {key: part(value[key]) for key, part in parts.items()}

    return fit


def _tuple(name: str, parts: list[Fit]) -> Fit:
    def fit(value: Any) -> tuple:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            raise Misfit(f"{name} is {shown(value)}; allowed is a tuple of {len(parts)}")
        return tuple(part(x) for part, x in zip(parts, value))

    return fit


def _box(name: str, space: spaces.Box) -> Fit:
    shape, dtype = space.shape, space.dtype
    kinds = "biuf" if np.issubdtype(dtype, np.floating) else "biu"
    low, high = _range(dtype)

    def fit(value: Any) -> np.ndarray:
        if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
            return value
        array = _array(value)
        if array is None or array.dtype.kind not in kinds or array.shape != shape:
            raise Misfit(f"{name} is {shown(value)}; allowed is an array {list(shape)} of {dtype}")
        if kinds == "biu" and array.size and not low <= array.min() <= array.max() <= high:
            raise Misfit(f"{name} holds {array.min()} to {array.max()}; allowed is {low} to {high} ({dtype})")
        with np.errstate(over="ignore"):  # an infinity is told of as one
            return array.astype(dtype)

    return fit


def _range(dtype: np.dtype) -> tuple[int, int]:
    """Least and greatest whole number of a type; of no use for floats."""
    if np.issubdtype(dtype, np.integer):
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return 0, 1


def _numbers(name: str, space: spaces.Space, first: Any, last: Any) -> Fit:
    """Whole numbers from `first` to `last`, each perhaps with bounds of its own."""
    shape, dtype = space.shape, space.dtype
    allowed = f"{first} to {last} ({space})" if shape == () else str(space)

    def fit(value: Any) -> Any:
        array = _array(value)
        if array is not None and shape == () and array.size == 1:
            array = array.reshape(())
        if array is None or array.dtype.kind not in "biu" or array.shape != shape:
            raise Misfit(f"{name} is {shown(value)}; allowed are whole numbers, {allowed}")
        if ((array < first) | (array > last)).any():
            raise Misfit(f"{name} is {array.tolist()}; allowed is {allowed}")
        return array.astype(dtype)[()]

    return fit


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = _array(value)
    if array is None or array.size != 1 or array.dtype.kind not in "biuf" or array.reshape(()) not in (0, 1):
        raise Misfit(f"{name} is {shown(value)}; allowed is True or False")
    return bool(array.reshape(()))


def _array(value: Any) -> np.ndarray | None:
    try:
        return np.asarray(value)
    except Exception:  # ragged lists; tensors have exceptions of their own
        return None


def shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, np.ndarray) and value.size != 1:
        return f"an array {list(value.shape)} of {value.dtype}"
    text = " ".join(repr(value).split())
    text = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {text}"
    return text if value is None or isinstance(value, str | dict) else f"{text} ({type(value).__name__})"


def _old(result: Any) -> str:
    if not isinstance(result, tuple) or len(result) != 4:
        return ""
    return " (four are those of old gym, whose environments are named gym:<id> once they are registered there)"
