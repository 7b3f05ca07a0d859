"""Converts actions in [-1, 1] and choice numbers into batches of a Gymnasium action space, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.gymnasium_adapter.reading import has_bounds
from sac.errors import UserError
from sac.types import Action

Encode = Callable[[Action], Any]
Decode = Callable[[np.ndarray], np.ndarray]


class ActionSpace:
    """The layout of one action space: its Boxes side by side are the continuous part, each of its choices is a branch.

    Raises UserError for a space without bounds or without a form in continuous columns and discrete branches.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        self.continuous = 0
        self.branches: tuple[int, ...] = ()
        self._low: list[float] = []
        self._high: list[float] = []
        self._leaves: list[tuple[tuple, bool, Decode]] = []  # path, is it continuous, decode function
        self._encode = self._encoder(space, ())

    @property
    def bounds(self) -> np.ndarray:
        """Lowest and highest value of each continuous action in the space's own units [2, A]."""
        return np.array([self._low, self._high], np.float64)

    def encode(self, action: Action) -> Any:
        """Actions of all n agents as `VectorEnv.step` takes them, in new arrays: environments may write into them."""
        return self._encode(action)

    def decode(self, raw: Any, k: int) -> Action:
        """The inverse of `encode` for k actions, batched as a vector environment takes them; clipped to [-1, 1]."""
        continuous, discrete = [np.zeros((k, 0), np.float64)], [np.zeros((k, 0), np.int32)]
        for path, is_continuous, convert in self._leaves:
            part = raw
            for key in path:
                part = part[key]
            (continuous if is_continuous else discrete).append(convert(np.asarray(part).reshape(k, -1)))
        return Action(np.concatenate(continuous, axis=1), np.concatenate(discrete, axis=1))

    def _encoder(self, space: spaces.Space, path: tuple) -> Encode:
        if isinstance(space, spaces.Dict):
            named = {key: self._encoder(part, (*path, key)) for key, part in space.spaces.items()}
            return lambda action: {key: encode(action) for key, encode in named.items()}
        if isinstance(space, spaces.Tuple):
            parts = [self._encoder(part, (*path, i)) for i, part in enumerate(space.spaces)]
            return lambda action: tuple(encode(action) for encode in parts)
        if isinstance(space, spaces.Box):
            return self._box(space, path)
        if isinstance(space, spaces.Discrete):
            index, start = self._add_branches([int(space.n)], int(space.start), path).start, int(space.start)
            return lambda action: action.discrete[:, index].astype(np.int64) + start
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            return self._choices(space, path)
        raise UserError(
            f"action space {space}: supported are Box, Discrete, MultiDiscrete, MultiBinary and Dict or Tuple of them. "
            "Change it with a gymnasium.ActionWrapper"
        )

    def _box(self, space: spaces.Box, path: tuple) -> Encode:
        if not has_bounds(space).all():
            raise UserError(
                f"action space {space} has no bounds to scale [-1, 1] to (infinite ones, or so large that they only "
                "mean it, count as none); give it the range that makes sense with gymnasium.wrappers.TransformAction"
            )
        lowest, highest = space.low.ravel(), space.high.ravel()
        columns = slice(self.continuous, self.continuous + lowest.size)
        self.continuous = columns.stop
        integral = not np.issubdtype(space.dtype, np.floating)
        wide = np.float64 if integral else np.result_type(space.dtype, np.float32)  # float16 would overflow in between
        low, high = lowest.astype(wide), highest.astype(wide)
        half, middle = high / 2 - low / 2, (high + low) / 2
        is_unit = bool((low == -1).all() and (high == 1).all())
        self._low += low.tolist()
        self._high += high.tolist()

        def encode(action: Action) -> np.ndarray:
            a = action.continuous[:, columns]
            if not is_unit:
                a = a * half + middle
            a = np.minimum(np.maximum(a, low), high)  # rounding may lead out of the box by one bit
            a = _to_integers(a, low, high, lowest, highest) if integral else a
            return a.astype(space.dtype, copy=False).reshape(len(a), *space.shape)

        def decode(x: np.ndarray) -> np.ndarray:
            return np.clip((x - middle) / np.where(half > 0, half, 1), -1.0, 1.0)

        self._leaves.append((path, True, decode))
        return encode

    def _choices(self, space: spaces.MultiDiscrete | spaces.MultiBinary, path: tuple) -> Encode:
        start: np.ndarray | int = 0
        counts = np.full(int(np.prod(space.shape)), 2)
        if isinstance(space, spaces.MultiDiscrete):
            start, counts = np.asarray(space.start).ravel(), space.nvec.ravel()
        columns = self._add_branches([int(n) for n in counts], start, path)

        def encode(action: Action) -> np.ndarray:
            chosen = action.discrete[:, columns].astype(space.dtype) + start
            return chosen.astype(space.dtype, copy=False).reshape(len(chosen), *space.shape)

        return encode

    def _add_branches(self, counts: list[int], start: np.ndarray | int, path: tuple) -> slice:
        begin = len(self.branches)
        self.branches += tuple(counts)
        self._leaves.append((path, False, lambda x: (x.astype(np.int64) - start).astype(np.int32)))
        return slice(begin, len(self.branches))


def _to_integers(
    a: np.ndarray, low: np.ndarray, high: np.ndarray, lowest: np.ndarray, highest: np.ndarray
) -> np.ndarray:
    """Values a [k, n] of float64, rounded to the integer dtype of the bounds `lowest` and `highest` [n].

    `low` and `high` are the bounds as float64. These may round out of a 64-bit dtype, so values at a bound become the
    exact bound.
    """
    inside = np.where((a > low) & (a < high), np.rint(a), 0).astype(lowest.dtype)
    return np.where(a >= high, highest, np.where(a <= low, lowest, inside))
