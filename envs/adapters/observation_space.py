"""Gymnasium observation spaces -> named sensors, and batches of raw observations -> {sensor: array}."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from sac.errors import UserError
from sac.types import Sensor

log = logging.getLogger(__name__)

Convert = Callable[[np.ndarray], np.ndarray]
PLAIN = "obs"  # sensor name of a space that is not a Dict or Tuple


class ObservationSpace:
    """Knows the sensors of one observation space. Raises UserError for a space that has no fixed-size array form.

    `copy`: the raw batches are buffers that the environment writes again, so nothing may keep a view of them.
    """

    def __init__(self, space: spaces.Space, copy: bool = False) -> None:
        self._space = space
        self._copy = copy
        self._parts: list[tuple[str, tuple, Convert]] = []
        self._floats: list[str] = []
        sensors = []
        for path, leaf in _leaves(space, ()):
            name = _name(path)
            shape, dtype, convert = _converter(name, leaf)
            sensors.append(Sensor(name, shape, dtype))
            self._parts.append((name, path, convert))
            if isinstance(leaf, spaces.Box) and np.issubdtype(leaf.dtype, np.floating):
                self._floats.append(name)
        if len({s.name for s in sensors}) < len(sensors):
            raise UserError(f"observation space {space}: two parts would have the same sensor name; rename a key")
        self.sensors = tuple(sensors)

    def batch(self, raw: Any) -> dict[str, np.ndarray]:
        """k raw observations as a vector environment batches them -> {sensor: [k, ...]}."""
        obs = {}
        for name, path, convert in self._parts:
            part = raw
            for key in path:
                part = part[key]
            value = convert(part)
            obs[name] = value.copy() if self._copy and np.may_share_memory(value, part) else value
        return obs

    def stack(self, raws: list[Any]) -> dict[str, np.ndarray]:
        """A list of single raw observations -> {sensor: [k, ...]}."""
        return self.batch(concatenate(self._space, raws, create_empty_array(self._space, n=len(raws))))

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


def _converter(name: str, space: spaces.Space) -> tuple[tuple[int, ...], str, Convert]:
    """Sensor shape, dtype and the function from [k, *space.shape] to [k, *sensor shape]."""
    if isinstance(space, spaces.Box):
        return _box(name, space)
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), "float32", _one_hot(name, np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = space.nvec.ravel(), np.asarray(space.start).ravel()
        return (int(nvec.sum()),), "float32", _one_hot(name, nvec, start)
    if isinstance(space, spaces.MultiBinary):
        return (int(np.prod(space.shape)),), "float32", _vector("float32")
    raise UserError(
        f"observation '{name}' has the space {space}; supported are Box, Discrete, MultiDiscrete, MultiBinary and "
        "Dict or Tuple of them. Change it with a gymnasium.ObservationWrapper"
    )


def _box(name: str, space: spaces.Box) -> tuple[tuple[int, ...], str, Convert]:
    dtype = "uint8" if space.dtype == np.uint8 else "float32"
    rank = len(space.shape)
    if rank <= 1 or (rank == 2 and dtype == "float32"):
        return (int(np.prod(space.shape)),), dtype, _vector(dtype)
    if rank > 4:
        raise UserError(f"observation '{name}' has the shape {space.shape}; images have at most four axes")
    order, merged = _image_axes(name, space.shape)
    shape = tuple(space.shape[i] for i in order)
    shape = shape[:2] + (int(np.prod(shape[2:])),) if merged else shape

    def image(x: np.ndarray) -> np.ndarray:
        x = x.transpose(0, *(i + 1 for i in order)).reshape(len(x), *shape)
        return x.astype(dtype, copy=False)

    return shape, dtype, image


def _image_axes(name: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """Order of the axes that makes an image [H, W, ...], and whether the axes after W become one of channels."""
    if len(shape) == 2:
        return (0, 1), True
    if len(shape) == 4:
        return (1, 2, 0, 3), True  # a stack of images: its frames become channels
    if shape[0] <= 16 and min(shape[1:]) >= 32:
        log.warning("observation '%s' of shape %s is taken as channels first and turned into [H, W, C]", name, shape)
        return (1, 2, 0), False
    return (0, 1, 2), False


def _vector(dtype: str) -> Convert:
    return lambda x: x.reshape(len(x), -1).astype(dtype, copy=False)


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
