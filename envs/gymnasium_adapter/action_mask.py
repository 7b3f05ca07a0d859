"""Action masks of a Gymnasium vector environment, from its observations or from its `info` in each of its layouts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from sac.errors import UserError

log = logging.getLogger(__name__)

MASK_KEY = "action_mask"


class ActionMask:
    """Masks of `n` sub-environments as [k, C] bool rows; an environment that gives no mask allows every choice.

    The masks are those that the observations contain (`seen`, of `seen_width` entries), else `info["action_mask"]`.
    Raises UserError when `seen_width` does not fit the branches.
    """

    def __init__(self, space: spaces.Space, branches: tuple[int, ...], n: int, seen_width: int | None = None) -> None:
        self._space = space
        self._width = sum(branches)
        self._source = f"info['{MASK_KEY}']" if seen_width is None else "the action mask of the observation"
        if seen_width is not None:
            self._check(seen_width)
        self._first = np.cumsum((0, *branches[:-1])) if branches else None
        self.all_legal = np.ones((n, self._width), bool)
        self.empty = 0  # masks so far that allowed no choice of a branch
        self.all_legal.flags.writeable = False  # many turns hand out this array
        self._warned = False

    def rows(self, info: Any, seen: np.ndarray | None = None) -> np.ndarray:
        """Masks [n, C] of all sub-environments."""
        if seen is not None:
            return self._some_legal(seen)
        if self._first is None or (isinstance(info, Mapping) and MASK_KEY not in info):
            return self.all_legal
        value = info[MASK_KEY] if isinstance(info, Mapping) else None
        if isinstance(value, np.ndarray) and value.dtype != object and value.size == self.all_legal.size:
            mask = to_bool_mask(value.reshape(self.all_legal.shape), self._source)
            given = info.get(f"_{MASK_KEY}")
            if given is not None and not given.all():
                mask[~given] = True
        else:
            mask = np.stack([self._row(value_at(info, MASK_KEY, i)) for i in range(len(self.all_legal))])
        return self._some_legal(mask)

    def final_rows(self, info: Any, ids: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Masks [e, C] of the last observations of the episodes of `ids` [e], which were reset in the same step."""
        if seen is not None:
            return self._some_legal(seen)
        finals = [value_at(info, "final_info", i) or {} for i in ids]
        masks = [self._row(final.get(MASK_KEY)) for final in finals]
        return self._some_legal(np.stack(masks)) if masks else self.all_legal[:0]

    def _row(self, value: Any) -> np.ndarray:
        if value is None:
            return self.all_legal[0]
        flat = _flat(self._space, value, self._source)
        self._check(flat.size)
        return flat

    def _check(self, width: int) -> None:
        if width != self._width:
            raise UserError(
                f"{self._source} has {width} entries; the action space {self._space} needs {self._width}, one for "
                "each choice of each branch"
            )

    def _some_legal(self, mask: np.ndarray) -> np.ndarray:
        """Allows every choice of a branch that has no legal one, as is usual in the info of a final state."""
        if self._first is None:
            return mask
        possible = np.logical_or.reduceat(mask, self._first, axis=1)
        if possible.all():
            return mask
        self.empty += int((~possible.all(axis=1)).sum())
        if not self._warned:
            self._warned = True
            log.warning("%s forbids every choice of a branch; all of them count as legal then", self._source)
        widths = np.diff((*self._first, self._width))
        return mask | np.repeat(~possible, widths, axis=1)


def value_at(info: Any, key: str, i: int) -> Any:
    """`info[key]` of sub-environment i, or None. `info` is a dict of arrays with `_key` flags, or a list of dicts."""
    if not isinstance(info, Mapping):
        return info[i].get(key)
    if key not in info or (f"_{key}" in info and not info[f"_{key}"][i]):
        return None
    value = info[key]
    if isinstance(value, Mapping):
        return {name: value_at(value, name, i) for name in value if not name.startswith("_")}
    return value[i]


def to_bool_mask(numbers: np.ndarray, source: str) -> np.ndarray:
    """A mask of 0 and 1 (allowed) as a new bool array. Raises UserError for other numbers; `source` is named there."""
    if numbers.dtype == bool:
        return numbers.copy()
    odd = numbers[(numbers != 0) & (numbers != 1)]
    if odd.size:
        raise UserError(f"{source}: a mask holds 1 (allowed) and 0 (not), found {odd[0]}")
    return numbers.astype(bool)


def _flat(space: spaces.Space, value: Any, source: str) -> np.ndarray:
    """[C] bool of one environment's mask, which is flat or has the form that `space.sample(mask)` takes."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return to_bool_mask(value.ravel(), source)
    if value is None or isinstance(space, spaces.Box):
        return np.zeros(0, bool) if isinstance(space, spaces.Box) else np.ones(_choices(space), bool)
    if isinstance(space, spaces.Dict):
        parts = [_flat(part, value.get(key), source) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple) and len(value) == len(space.spaces):
        parts = [_flat(part, value[i], source) for i, part in enumerate(space.spaces)]
    else:
        parts = [to_bool_mask(np.ravel(part), source) for part in value]
    return np.concatenate(parts)


def _choices(space: spaces.Space) -> int:
    """The number of discrete choices in an action space, over all its branches."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.MultiBinary):
        return 2 * int(np.prod(space.shape))
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else getattr(space, "spaces", ())
    return sum(map(_choices, parts))
