"""Actions in [-1, 1] and choice numbers -> batches of a Gymnasium action space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from sac.errors import UserError
from sac.types import Action

Encode = Callable[[Action], Any]


class ActionSpace:
    """Layout of one action space: Boxes side by side are the continuous part, every choice is a branch.

    Raises UserError for a space without bounds or without a form in continuous columns and discrete branches.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        self.continuous = 0
        self.branches: tuple[int, ...] = ()
        self._encode = self._encoder(space)

    def encode(self, action: Action) -> Any:
        """Actions of all n agents -> what `VectorEnv.step` takes. New arrays: environments may write into them."""
        return self._encode(action)

    def _encoder(self, space: spaces.Space) -> Encode:
        if isinstance(space, spaces.Dict):
            parts = {key: self._encoder(part) for key, part in space.spaces.items()}
            return lambda action: {key: part(action) for key, part in parts.items()}
        if isinstance(space, spaces.Tuple):
            parts = [self._encoder(part) for part in space.spaces]
            return lambda action: tuple(part(action) for part in parts)
        if isinstance(space, spaces.Box):
            return self._box(space)
        if isinstance(space, spaces.Discrete):
            index, start = self._add_branches([int(space.n)]).start, int(space.start)
            return lambda action: action.discrete[:, index].astype(np.int64) + start
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            return self._choices(space)
        raise UserError(
            f"action space {space}: supported are Box, Discrete, MultiDiscrete, MultiBinary and Dict or Tuple of them. "
            "Change it with a gymnasium.ActionWrapper"
        )

    def _box(self, space: spaces.Box) -> Encode:
        low, high = space.low.ravel(), space.high.ravel()
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UserError(
                f"action space {space} has no bounds to scale [-1, 1] to; give it some with "
                "gymnasium.wrappers.TransformAction"
            )
        columns = slice(self.continuous, self.continuous + low.size)
        self.continuous = columns.stop
        whole = not np.issubdtype(space.dtype, np.floating)
        kind = np.float64 if whole else space.dtype
        low, high = low.astype(kind), high.astype(kind)
        half, middle = (high - low) / 2, (high + low) / 2
        same = bool((low == -1).all() and (high == 1).all())

        def encode(action: Action) -> np.ndarray:
            a = action.continuous[:, columns]
            if not same:
                a = a * half + middle
            a = np.minimum(np.maximum(a, low), high)  # rounding may leave the box by one bit
            a = np.rint(a) if whole else a
            return a.astype(space.dtype, copy=False).reshape(len(a), *space.shape)

        return encode

    def _choices(self, space: spaces.MultiDiscrete | spaces.MultiBinary) -> Encode:
        multi = isinstance(space, spaces.MultiDiscrete)
        start = np.asarray(space.start).ravel() if multi else 0
        counts = space.nvec.ravel() if multi else np.full(int(np.prod(space.shape)), 2)
        columns = self._add_branches([int(n) for n in counts])

        def encode(action: Action) -> np.ndarray:
            chosen = action.discrete[:, columns].astype(space.dtype) + start
            return chosen.astype(space.dtype, copy=False).reshape(len(chosen), *space.shape)

        return encode

    def _add_branches(self, counts: list[int]) -> slice:
        begin = len(self.branches)
        self.branches += tuple(counts)
        return slice(begin, len(self.branches))
