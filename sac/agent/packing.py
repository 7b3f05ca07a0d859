"""Batches as one array: TensorFlow takes about a tenth of a millisecond for each array that it is given."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from sac.backend import Tensor, tf
from sac.types import Batch, obs_columns, obs_of

APART = "uint8"  # columns of this type, mostly pictures, would take four times the memory as float32


class Column(NamedTuple):
    """A column of a Batch with its place in the packed array."""

    name: str
    shape: tuple[int, ...]  # without the leading axes [K, B]
    dtype: np.dtype
    first: int  # of the numbers [W] of a window


class Packed(NamedTuple):
    """A Batch as TensorFlow gets it."""

    numbers: np.ndarray | Tensor  # [..., B, W] float32: all columns but those below; booleans and choices are exact
    apart: dict[str, np.ndarray] | dict[str, Tensor]  # {column: [..., B, ...]}


class Layout:
    """How Batches with arrays of certain shapes [K, B, ...] are packed. Arrival numbers are left out."""

    def __init__(self, batches: Batch):
        self.sensors = tuple(batches.obs)
        self.columns: list[Column] = []
        self.apart: list[str] = []
        self.width = 0
        for name, array in _arrays(batches).items():
            if array.dtype == APART:
                self.apart.append(name)
                continue
            self.columns.append(Column(name, array.shape[2:], array.dtype, self.width))
            self.width += prod(array.shape[2:])

    @staticmethod
    def key(batches: Batch) -> tuple:
        """Equal for Batches that share a layout."""
        return tuple((name, x.shape, x.dtype.char) for name, x in _arrays(batches).items())

    def pack(self, batches: Batch) -> Packed:
        """Batches [K, B, ...] whose `key` is that of this layout, as TensorFlow gets them."""
        arrays = _arrays(batches)
        k, b = batches.weight.shape
        numbers = np.empty((k, b, self.width), np.float32)
        for name, shape, _, first in self.columns:
            size = prod(shape)
            if size:
                numbers[:, :, first : first + size] = arrays[name].reshape(k, b, size)
        return Packed(numbers, {name: arrays[name] for name in self.apart})

    def unpack(self, packed: Packed) -> Batch:
        """The Batch [B, ...] of tensors, from packed tensors [B, ...]; `index` is empty."""
        found: dict[str, Tensor] = dict(packed.apart)
        for name, shape, dtype, first in self.columns:
            x = tf.reshape(packed.numbers[:, first : first + prod(shape)], (packed.numbers.shape[0], *shape))
            found[name] = x != 0 if dtype == np.bool_ else tf.cast(x, tf.as_dtype(dtype))
        obs = obs_of(found)
        rest = {name: found[name] for name in Batch._fields if name not in ("obs", "index")}
        return Batch(obs={name: obs[name] for name in self.sensors}, index=(), **rest)  # type: ignore[arg-type]


def _arrays(batches: Batch) -> dict[str, np.ndarray]:
    """The arrays that networks and losses need, by column."""
    rest = {name: getattr(batches, name) for name in Batch._fields if name not in ("obs", "index")}
    return obs_columns(batches.obs) | rest
