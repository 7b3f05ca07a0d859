"""Action masks that are part of the observation, as in PettingZoo and RLlib."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.gymnasium_adapter.action_mask import to_bool_mask
from sac.errors import UserError


class ObservedMask:
    """The part `name` of an observation space, or all parts below it; reads masks from raw batches."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._paths: list[tuple] = []
        self._width = 0

    def takes(self, name: str, path: tuple, space: spaces.Space) -> bool:
        """Whether a part of the space belongs to the mask, which then includes it. Raises UserError for its kind."""
        if self._name is None or not (name == self._name or name.startswith(f"{self._name}/")):
            return False
        if not isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
            raise UserError(f"base.action_mask={self._name}: a mask is a Box or MultiBinary of 0 and 1, not {space}")
        self._paths.append(path)
        self._width += int(np.prod(space.shape))
        return True

    @property
    def width(self) -> int | None:
        """The number of entries of the mask; None where the space has no such part."""
        return self._width if self._paths else None

    def of(self, raw: Any) -> np.ndarray | None:
        """Masks [k, width] bool of a raw batch, 1 = allowed; None where the space has no such part."""
        if not self._paths:
            return None
        parts = [np.asarray(part_at(raw, path)) for path in self._paths]
        mask = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        return to_bool_mask(mask, f"base.action_mask={self._name}")


def part_at(raw: Any, path: tuple) -> Any:
    """The part of a nested observation at `path`, a tuple of keys."""
    for key in path:
        raw = raw[key]
    return raw


def is_binary(space: spaces.Space) -> bool:
    """Whether a space holds nothing but zeros and ones."""
    if isinstance(space, spaces.Box):
        return bool((space.low == 0).all() and (space.high == 1).all())
    return isinstance(space, spaces.MultiBinary)
