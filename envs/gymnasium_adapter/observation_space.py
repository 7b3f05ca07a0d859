"""Gymnasium observation spaces -> named sensors, and batches of raw observations -> {sensor: array}."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from envs.gymnasium_adapter.observed_mask import ObservedMask, of_zeros_and_ones, part_at
from envs.gymnasium_adapter.picture_axes import picture_axes
from envs.gymnasium_adapter.reading import AS_IT_COMES, NO_LIMIT, Reading, limited
from sac.errors import UserError
from sac.types import Bound, Sensor

Convert = Callable[[np.ndarray], np.ndarray]
MASK_WORDS = "mask", "legal", "valid", "avail"  # in names of masks
PLAIN = "obs"  # sensor name of a space that is not a Dict or Tuple


class ObservationSpace:
    """Knows the sensors of one observation space, and which part of it is the action mask.

    `copy`: the raw batches are buffers that the environment writes again, so nothing may keep a view of them.
    `remarks` are sentences for the user. Raises UserError for a space that has no fixed-size array form.
    """

    def __init__(self, space: spaces.Space, copy: bool = False, reading: Reading = AS_IT_COMES) -> None:
        self._space = space
        self._copy = copy
        self._parts: list[tuple[str, tuple, Convert]] = []
        self._floats: list[str] = []
        self._mask = ObservedMask(reading.mask)
        self._looks_like_mask: dict[str, int] = {}  # sensors that may well be one, and their widths
        self.remarks: list[str] = []
        self.has_text = False
        sensors = []
        for path, leaf in _leaves(space, ()):
            name = _name(path)
            if _is_text(leaf):
                self.has_text = True
                self.remarks.append(f"observation '{name}' is text, which networks do not read: it is left out")
                continue
            if self._mask.takes(name, path, leaf):
                continue
            sensor, convert = _sensor(name, leaf, reading, self.remarks)
            sensors.append(sensor)
            self._parts.append((name, path, convert))
            if any(word in name.lower() for word in MASK_WORDS) and of_zeros_and_ones(leaf):
                self._looks_like_mask[name] = int(np.prod(leaf.shape))
            if isinstance(leaf, spaces.Box) and np.issubdtype(leaf.dtype, np.floating):
                self._floats.append(name)
        if len({s.name for s in sensors}) < len(sensors):
            raise UserError(f"observation space {space}: two parts would have the same sensor name; rename a key")
        if not sensors:
            raise UserError(
                f"observation space {space}: without its text and its action mask nothing is left to observe; "
                "add a part with a gymnasium.ObservationWrapper"
            )
        self.sensors = tuple(sensors)

    @property
    def mask_width(self) -> int | None:
        """Entries of the action mask that is part of the observation; None without one."""
        return self._mask.width

    def likely_mask(self, width: int) -> str | None:
        """The sensor of this width that looks like an action mask, if there is one."""
        return next((name for name, size in self._looks_like_mask.items() if size == width), None)

    def mask(self, raw: Any) -> np.ndarray | None:
        """Action masks [k, width] bool of a raw batch; None where they are no part of the observation."""
        return self._mask.of(raw)

    def batch(self, raw: Any) -> dict[str, np.ndarray]:
        """k raw observations as a vector environment batches them -> {sensor: [k, ...]}."""
        obs = {}
        for name, path, convert in self._parts:
            part = part_at(raw, path)
            value = convert(part)
            obs[name] = value.copy() if self._copy and np.may_share_memory(value, part) else value
        return obs

    def together(self, raws: list[Any]) -> Any:
        """A list of single raw observations -> a raw batch."""
        return concatenate(self._space, raws, create_empty_array(self._space, n=len(raws)))

    def nonfinite(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{sensor: [k] bool} of the sensors that hold a NaN or an infinity in some row; empty when all is well."""
        found = {}
        for name in self._floats:
            finite = np.isfinite(obs[name])
            if not finite.all():
                found[name] = ~finite.reshape(len(finite), -1).all(axis=1)
        return found


def named_spaces(space: spaces.Space) -> Iterator[tuple[str, spaces.Space]]:
    """The parts of an observation space, each with its sensor's name."""
    for path, leaf in _leaves(space, ()):
        yield _name(path), leaf


def part_names(space: spaces.Space) -> list[str]:
    """What the parts of an observation space are called."""
    return [name for name, _ in named_spaces(space)]


def _name(path: tuple) -> str:
    return "/".join(map(str, path)) or PLAIN


def _leaves(space: spaces.Space, path: tuple) -> Iterator[tuple[tuple, spaces.Space]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, index))
    else:
        yield path, space


def _is_text(space: spaces.Space) -> bool:
    """Text, or a space of another package's own that holds words."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind in "US")


def _sensor(name: str, space: spaces.Space, reading: Reading, remarks: list[str]) -> tuple[Sensor, Convert]:
    """The sensor, and the function from [k, *space.shape] to [k, *sensor shape]."""
    if isinstance(space, spaces.Box):
        return _box(name, space, reading, remarks)
    if isinstance(space, spaces.Discrete):
        counts, start = np.array([space.n]), np.array([space.start])
        return Sensor(name, (int(space.n),)), _one_hot(name, counts, start)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = space.nvec.ravel(), np.asarray(space.start).ravel()
        return Sensor(name, (int(nvec.sum()),)), _one_hot(name, nvec, start)
    if isinstance(space, spaces.MultiBinary):
        return Sensor(name, (int(np.prod(space.shape)),)), _vector("float32")
    raise UserError(
        f"observation '{name}' has the space {space}; supported are Box, Discrete, MultiDiscrete, MultiBinary and "
        "Dict or Tuple of them. Change it with a gymnasium.ObservationWrapper"
    )


def _box(name: str, space: spaces.Box, reading: Reading, remarks: list[str]) -> tuple[Sensor, Convert]:
    dtype = "uint8" if space.dtype == np.uint8 else "float32"
    rank = len(space.shape)
    if rank > 4:
        raise UserError(f"observation '{name}' has the shape {space.shape}; images have at most four axes")
    if rank <= 1 or (rank == 2 and dtype == "float32"):
        shape, convert = (int(np.prod(space.shape)),), _vector(dtype)
    else:
        shape, convert = _picture(dtype, *picture_axes(name, space.shape, reading.channels, remarks), space.shape)
    scaled = reading.by_bounds and (dtype == "uint8" or len(shape) == 3)
    return Sensor(name, shape, dtype, _bounds(space, convert) if scaled else None), convert


def _picture(dtype: str, order: tuple[int, ...], merged: bool, raw: tuple[int, ...]) -> tuple[tuple[int, ...], Convert]:
    shape = tuple(raw[i] for i in order)
    shape = shape[:2] + (int(np.prod(shape[2:])),) if merged else shape

    def convert(x: np.ndarray) -> np.ndarray:
        return _cast(x.transpose(0, *(i + 1 for i in order)).reshape(len(x), *shape), dtype)

    return shape, convert


def _bounds(space: spaces.Box, convert: Convert) -> tuple[Bound, Bound] | None:
    """Lowest and highest values in the order of the sensor; None where a bound means nothing."""
    if not space.low.size or not limited(space).all() or np.abs(space.low.astype(float)).max() >= NO_LIMIT:
        return None
    low, high = (convert(bound[None])[0].ravel().tolist() for bound in (space.low, space.high))
    return tuple(float(b[0]) if len(set(b)) == 1 else tuple(map(float, b)) for b in (low, high))


def _vector(dtype: str) -> Convert:
    return lambda x: _cast(x.reshape(len(x), -1), dtype)


def _cast(x: np.ndarray, dtype: str) -> np.ndarray:
    """What is too large for the dtype becomes an infinity, which whoever reads it refuses in words."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def _one_hot(name: str, counts: np.ndarray, start: np.ndarray) -> Convert:
    """Numbers [k, ...], each with its own count -> their one-hot vectors side by side [k, sum of counts]."""
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]])
    width = int(counts.sum())

    def convert(x: np.ndarray) -> np.ndarray:
        out, numbers = np.zeros((len(x), width), np.float32), x.reshape(len(x), -1) - start
        if ((numbers < 0) | (numbers >= counts)).any():
            raise UserError(f"observation '{name}' holds a number outside of its space: {x.min()} to {x.max()}")
        np.put_along_axis(out, numbers + offset, 1.0, axis=1)
        return out

    return convert
