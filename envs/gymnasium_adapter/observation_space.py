"""Turns Gymnasium observation spaces into named sensors, and batches of raw observations into {sensor: array}."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from envs.gymnasium_adapter.observed_mask import ObservedMask, is_binary, part_at
from envs.gymnasium_adapter.picture_axes import picture_axes
from envs.gymnasium_adapter.reading import DEFAULT_READING, UNBOUNDED_FROM, Reading, has_bounds
from sac.errors import UserError
from sac.types import Bound, Sensor

Convert = Callable[[np.ndarray], np.ndarray]
MASK_WORDS = "mask", "legal", "valid", "avail"  # one of these is in the name of most masks
PLAIN_SENSOR_NAME = "obs"  # of a space that is neither a Dict nor a Tuple


class ObservationSpace:
    """The sensors of one observation space, and the part of it that is the action mask.

    `copy`: the environment reuses its batches as buffers, so that returned arrays must be no views of them.
    `remarks` are sentences for the user. Raises UserError for a space that has no form as arrays of fixed size.
    """

    def __init__(self, space: spaces.Space, copy: bool = False, reading: Reading = DEFAULT_READING) -> None:
        self._space = space
        self._copy = copy
        self._parts: list[tuple[str, tuple, Convert]] = []
        self._floats: list[str] = []
        self._mask = ObservedMask(reading.mask)
        self._looks_like_mask: dict[str, int] = {}  # sensors that may be a mask, and their widths
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
            if any(word in name.lower() for word in MASK_WORDS) and is_binary(leaf):
                self._looks_like_mask[name] = _vector_shape(leaf)[0]
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
        """The number of entries of the action mask that is part of the observation; None without one."""
        return self._mask.width

    def likely_mask(self, width: int) -> str | None:
        """The name of a sensor of this width that looks like an action mask, or None."""
        return next((name for name, size in self._looks_like_mask.items() if size == width), None)

    def mask(self, raw: Any) -> np.ndarray | None:
        """Action masks [k, width] bool of a raw batch; None where the observation contains none."""
        return self._mask.of(raw)

    def batch(self, raw: Any) -> dict[str, np.ndarray]:
        """{sensor: [k, ...]} of k raw observations, batched as by a vector environment."""
        obs = {}
        for name, path, convert in self._parts:
            part = part_at(raw, path)
            value = convert(part)
            obs[name] = value.copy() if self._copy and np.may_share_memory(value, part) else value
        return obs

    def stack(self, raws: list[Any]) -> Any:
        """A raw batch of a list of single raw observations."""
        empty: Any = create_empty_array(self._space, n=len(raws))
        return concatenate(self._space, raws, empty)

    def nonfinite(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{sensor: [k] bool}: the rows with a NaN or an infinity, for each sensor that has some; else empty."""
        found = {}
        for name in self._floats:
            finite = np.isfinite(obs[name])
            if not finite.all():
                found[name] = ~finite.reshape(len(finite), -1).all(axis=1)
        return found


def named_spaces(space: spaces.Space) -> Iterator[tuple[str, spaces.Space]]:
    """The parts of an observation space that are no Dict or Tuple, each with the name of its sensor."""
    for path, leaf in _leaves(space, ()):
        yield _name(path), leaf


def part_names(space: spaces.Space) -> list[str]:
    """The names of the parts of an observation space."""
    return [name for name, _ in named_spaces(space)]


def _name(path: tuple) -> str:
    return "/".join(map(str, path)) or PLAIN_SENSOR_NAME


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
    """Whether the space holds text, also where it is a class of another package."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind in "US")


def _sensor(name: str, space: spaces.Space, reading: Reading, remarks: list[str]) -> tuple[Sensor, Convert]:
    """The sensor of a part of the space, and the function from [k, *space.shape] to [k, *sensor.shape]."""
    if isinstance(space, spaces.Box):
        return _box(name, space, reading, remarks)
    if isinstance(space, spaces.Discrete):
        counts, start = np.array([space.n]), np.array([space.start])
        return Sensor(name, (int(space.n),)), _one_hot(name, counts, start)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = space.nvec.ravel(), np.asarray(space.start).ravel()
        return Sensor(name, (int(nvec.sum()),)), _one_hot(name, nvec, start)
    if isinstance(space, spaces.MultiBinary):
        return Sensor(name, _vector_shape(space)), _vector("float32")
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
        shape, convert = _vector_shape(space), _vector(dtype)
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
    """Lowest and highest values in the sensor's layout; None where the space has no meaningful bounds."""
    if not space.low.size or not has_bounds(space).all() or np.abs(space.low.astype(float)).max() >= UNBOUNDED_FROM:
        return None
    return _bound(convert(space.low[None])[0]), _bound(convert(space.high[None])[0])


def _bound(values: np.ndarray) -> Bound:
    """One number where all values are equal, else each of them in row-major order."""
    numbers = tuple(map(float, values.ravel().tolist()))
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _vector_shape(space: spaces.Space) -> tuple[int, ...]:
    return (int(np.prod(space.shape or ())),)


def _vector(dtype: str) -> Convert:
    return lambda x: _cast(x.reshape(len(x), -1), dtype)


def _cast(x: np.ndarray, dtype: str) -> np.ndarray:
    """The array in this dtype. A number that is too large becomes an infinity, which `nonfinite` reports later."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def _one_hot(name: str, counts: np.ndarray, start: np.ndarray) -> Convert:
    """Converts numbers [k, ...] to one-hot vectors of `counts` entries each, concatenated to [k, sum of counts]."""
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]])
    width = int(counts.sum())

    def convert(x: np.ndarray) -> np.ndarray:
        out, numbers = np.zeros((len(x), width), np.float32), x.reshape(len(x), -1) - start
        if ((numbers < 0) | (numbers >= counts)).any():
            raise UserError(f"observation '{name}' holds a number outside of its space: {x.min()} to {x.max()}")
        np.put_along_axis(out, numbers + offset, 1.0, axis=1)
        return out

    return convert
