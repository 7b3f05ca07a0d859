"""Converts pictures of Unity (PNG or raw floats, channels last or first) to [H, W, C] uint8."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG = 1  # a value of compression_type
NONE, EQUIVARIANT = 1, 2  # values of dimension_properties; the channel axis of a picture is NONE


def split_pngs(data: bytes) -> Iterator[bytes]:
    """Splits concatenated PNG files by walking their chunks. Raises ValueError for other data."""
    start = 0
    while start < len(data):
        if data[start : start + 8] != PNG_SIGNATURE:
            raise ValueError("no PNG where one should begin")
        end, kind = start + 8, b""
        while kind != b"IEND":
            if end + 12 > len(data):
                raise ValueError("a PNG is cut off")
            length, kind = struct.unpack_from(">I4s", data, end)
            end += 12 + length
        yield data[start:end]
        start = end


def decode_pngs(data: bytes, channels: int, mapping: Sequence[int]) -> np.ndarray:
    """Decodes concatenated RGB PNGs to [H, W, channels] uint8.

    `mapping` gives each source channel its target channel: sources of the same target are averaged, and -1 marks
    padding. Without a mapping a single channel is the average of the first picture, and of more channels the first ones
    are taken.
    """
    pictures = [np.asarray(Image.open(io.BytesIO(part)).convert("RGB")) for part in split_pngs(data)]
    if not mapping:
        mapping = (0, 0, 0) if channels == 1 else tuple(range(channels))
        pictures = pictures[:1] if channels == 1 else pictures
    source = pictures[0] if len(pictures) == 1 else np.concatenate(pictures, axis=2)
    if list(mapping) == list(range(channels)):  # nothing is averaged
        return source[..., :channels]
    columns = []
    for target in range(channels):
        sources = [index for index, wanted in enumerate(mapping) if wanted == target]
        columns.append(source[..., sources].mean(axis=2))
    return np.rint(np.stack(columns, axis=2)).astype(np.uint8)


def png_size(data: bytes) -> tuple[int, int]:
    """(height, width) of a PNG, from its header."""
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def is_channels_first(observation: Any, package_version: str) -> bool:
    """Whether a rank-3 observation is [C, H, W], as com.unity.ml-agents >= 3.0 sends it, or [H, W, C] as older ones do.

    The properties of the axes tell it, else the size of the PNG. Otherwise the shorter one of the first and the last
    axis holds the channels; if they are equal, the version of the package decides.
    """
    shape, properties = tuple(observation.shape), tuple(observation.dimension_properties)
    if properties == (NONE, EQUIVARIANT, EQUIVARIANT):
        return True
    if properties == (EQUIVARIANT, EQUIVARIANT, NONE):
        return False
    if observation.compression_type == PNG:
        size = png_size(observation.compressed_data)
        if (shape[:2] == size) != (shape[1:] == size):
            return shape[1:] == size
    if shape[0] != shape[2]:
        return shape[0] < shape[2]
    major = package_version.split(".")[0]
    return major.isdigit() and int(major) >= 3


def from_floats(values: np.ndarray, channels_first: bool) -> np.ndarray:
    """[H, W, C] uint8 of one raw picture with values in [0, 1]."""
    pixels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return pixels.transpose(1, 2, 0) if channels_first else pixels
