"""Holds an environment to Gymnasium's contract: converts what loses no information, refuses everything else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sac.errors import ContractBroken

Convert = Callable[[Any], Any]  # a raw value -> the value in its space's type; raises ContractViolation
STEP_VALUES = "observation, reward, terminated, truncated, info"
INFO_TYPES = dict, Mapping, type(None)  # any mapping is accepted as `info`; None stands for an empty one
MAX_SHOWN_CHARACTERS = 60  # of a value in a message


class ContractViolation(Exception):  # noqa: N818 - becomes a ContractBroken where the environment's name is known
    """A value that the contract does not allow; the text names the value and what is allowed."""


class Contract(gymnasium.Wrapper):
    """Returns what the environment returns, in the types of its spaces; `info` passes unchanged.

    `weights` belong to a reward of several numbers: their weighted sum becomes the reward. `reset` and `step` raise
    ContractBroken where the environment returns what Gymnasium's contract does not allow.
    """

    def __init__(self, env: gymnasium.Env, name: str, weights: Sequence[float] = ()) -> None:
        super().__init__(env)
        self._weights = np.array(weights, np.float64)
        self._name, self._convert = name, converter("observation", env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        try:
            result = _reset(self.env, seed, options)
            if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], INFO_TYPES)):
                raise ContractViolation(
                    f"reset() returned {short_repr(result)}; allowed is a tuple of two: observation, info (a dict)"
                )
            info: Any = result[1] or {}
            return self._convert(result[0]), info
        except ContractViolation as violation:
            raise broken(self._name, "reset", violation) from None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        result = self.env.step(action)
        try:
            if not (isinstance(result, tuple) and len(result) == 5):
                raise ContractViolation(
                    f"step() returned {short_repr(result)}; allowed is a tuple of five: {STEP_VALUES}{_old(result)}"
                )
            obs, reward, terminated, truncated, info = result
            if not isinstance(info, INFO_TYPES):
                raise ContractViolation(f"info is {short_repr(info)}; allowed is a dict")
            terminated, truncated = _flag("terminated", terminated), _flag("truncated", truncated)
            return self._convert(obs), self._one_number(reward), terminated, truncated, info or {}
        except ContractViolation as violation:
            raise broken(self._name, "step", violation) from None

    def _one_number(self, reward: Any) -> float:
        """The reward as one number; several numbers are summed with the weights."""
        if isinstance(reward, float | int | np.floating) and not self._weights.size:
            return float(reward)
        array = _array(reward)
        if array is None or array.dtype.kind not in "biuf" or not array.size:
            raise ContractViolation(f"reward is {short_repr(reward)}; allowed is one number")
        check_weights(self._weights, array.size, self._name)
        return float(array.ravel() @ self._weights) if self._weights.size else float(array.reshape(()))


def broken(name: str, call: str, violation: ContractViolation) -> ContractBroken:
    """The error for a violation by the method `call` of the environment `name`."""
    text = str(violation)
    return ContractBroken(f"environment '{name}': {text if text.startswith(call) else f'{call}(): {text}'}")


def _reset(env: gymnasium.Env, seed: int | None, options: dict | None) -> Any:
    """Calls `reset`; without options the keyword is left out, since not every environment has it."""
    given = {"seed": seed} if options is None else {"seed": seed, "options": options}
    try:
        return env.reset(**given)
    except TypeError as error:
        unknown = re.search(r"reset\(\) got an unexpected keyword argument '(seed|options)'", str(error))
        if unknown is None:
            raise
        raise ContractViolation(
            f"reset() takes no {unknown[1]}; allowed is reset(self, *, seed=None, options=None)"
        ) from error


def with_contract(env: gymnasium.Env, name: str, weights: Sequence[float] = ()) -> gymnasium.Env:
    """`env` with a Contract put below Gymnasium's own wrappers, because these rely on the contract."""
    lowest: gymnasium.Wrapper | None = None
    inner = env
    while isinstance(inner, gymnasium.Wrapper) and type(inner).__module__.startswith("gymnasium."):
        lowest, inner = inner, inner.env
    space = getattr(inner, "reward_space", None)  # of mo-gymnasium; absent where a wrapper of it has summed the numbers
    if isinstance(space, spaces.Space) and space.shape:
        check_weights(np.array(weights, np.float64), math.prod(space.shape), name)
    contract = Contract(inner, name, weights)
    if lowest is None:
        return contract
    lowest.env = contract
    return env


def check_weights(weights: np.ndarray, count: int, name: str) -> None:
    """Raises ContractBroken unless there is one weight for each of `count` numbers; a single number needs no weight."""
    if count == 1 < weights.size:
        raise ContractBroken(
            f"base.reward_weights={weights.tolist()}: the reward of '{name}' is one number; set base.reward_weights=[]"
        )
    if count != (weights.size or 1):
        raise ContractBroken(
            f"base.reward_weights={weights.tolist()}: '{name}' gives rewards of {count} numbers; give one weight for "
            f"each, for example base.reward_weights={[1.0] * count}, and their weighted sum is the reward"
        )


def converter(name: str, space: spaces.Space) -> Convert:
    """A function that converts raw values to those of a space and raises ContractViolation for others."""
    if isinstance(space, spaces.Dict):
        return _dict(name, {key: converter(f"{name} '{key}'", part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return _tuple(name, [converter(f"{name} [{i}]", part) for i, part in enumerate(space.spaces)])
    if isinstance(space, spaces.Box):
        return _box(name, space)
    if isinstance(space, spaces.Discrete):
        return _numbers(name, space, int(space.start), int(space.start) + int(space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return _numbers(name, space, np.asarray(space.start), np.asarray(space.start) + space.nvec - 1)
    if isinstance(space, spaces.MultiBinary):
        return _numbers(name, space, 0, 1)
    return lambda value: value


def _dict(name: str, parts: dict[str, Convert]) -> Convert:
    def fit(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not parts.keys() <= value.keys():
            raise ContractViolation(
                f"{name} is {short_repr(value)}; allowed is a dict with the keys {', '.join(map(str, parts))}"
            )
        return {key: part(value[key]) for key, part in parts.items()}

    return fit


def _tuple(name: str, parts: list[Convert]) -> Convert:
    def fit(value: Any) -> tuple:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            raise ContractViolation(f"{name} is {short_repr(value)}; allowed is a tuple of {len(parts)}")
        return tuple(part(x) for part, x in zip(parts, value))

    return fit


def _box(name: str, space: spaces.Box) -> Convert:
    shape, dtype = space.shape, space.dtype
    kinds = "biuf" if np.issubdtype(dtype, np.floating) else "biu"
    low, high = _range(dtype)

    def fit(value: Any) -> np.ndarray:
        if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
            return value
        array = _array(value)
        if array is None or array.dtype.kind not in kinds or array.shape != shape:
            raise ContractViolation(f"{name} is {short_repr(value)}; allowed is an array {list(shape)} of {dtype}")
        if kinds == "biu" and array.size and not low <= array.min() <= array.max() <= high:
            raise ContractViolation(
                f"{name} holds {array.min()} to {array.max()}; allowed is {low} to {high} ({dtype})"
            )
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is reported later
            return array.astype(dtype)

    return fit


def _range(dtype: np.dtype) -> tuple[int, int]:
    """The least and the greatest number of an integer or bool type; (0, 1) for floats, which have no use for it."""
    if np.issubdtype(dtype, np.integer):
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return 0, 1


def _numbers(name: str, space: spaces.Space, first: Any, last: Any) -> Convert:
    """Converts whole numbers from `first` to `last`, which are numbers or arrays of the space's shape."""
    shape, dtype = space.shape, space.dtype
    allowed = f"{first} to {last} ({space})" if shape == () else str(space)

    def fit(value: Any) -> Any:
        array = _array(value)
        if array is not None and shape == () and array.size == 1:
            array = array.reshape(())
        if array is None or array.dtype.kind not in "biu" or array.shape != shape:
            raise ContractViolation(f"{name} is {short_repr(value)}; allowed are whole numbers, {allowed}")
        if ((array < first) | (array > last)).any():
            raise ContractViolation(f"{name} is {array.tolist()}; allowed is {allowed}")
        return array.astype(dtype)[()]

    return fit


def _flag(name: str, value: Any) -> bool:
    """True or False from a bool, 0 or 1, perhaps in an array of one element."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = _array(value)
    if array is None or array.size != 1 or array.dtype.kind not in "biuf" or array.reshape(()) not in (0, 1):
        raise ContractViolation(f"{name} is {short_repr(value)}; allowed is True or False")
    return bool(array.reshape(()))


def _array(value: Any) -> np.ndarray | None:
    """The value as an array; None where NumPy cannot make one."""
    try:
        return np.asarray(value)
    except Exception:  # ragged lists; tensors raise exceptions of their own
        return None


def short_repr(value: Any) -> str:
    """A short description of a value for a message."""
    if isinstance(value, np.ndarray) and value.size != 1:
        return f"an array {list(value.shape)} of {value.dtype}"
    text = " ".join(repr(value).split())
    text = text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {text}"
    return text if value is None or isinstance(value, str | dict) else f"{text} ({type(value).__name__})"


def _old(result: Any) -> str:
    """Advice for the four values of an environment of old gym; empty for anything else."""
    if not isinstance(result, tuple) or len(result) != 4:
        return ""
    return " (four are those of old gym, whose environments are named gym:<id> once they are registered there)"
