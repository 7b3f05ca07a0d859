"""Encodes pictures [H, W, C] uint8 as concatenated RGB PNGs, as Unity compresses the pictures of sensors."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encode(picture: np.ndarray) -> bytes:
    """Three channels in each PNG. A single channel is sent as grey RGB; missing channels of the last PNG are black."""
    channels = picture.shape[2]
    if channels == 1:
        picture = np.repeat(picture, 3, axis=2)
    elif channels % 3:
        picture = np.concatenate([picture, np.zeros_like(picture[..., : 3 - channels % 3])], axis=2)
    return b"".join(_one(picture[..., first : first + 3]) for first in range(0, picture.shape[2], 3))


def mapping(channels: int) -> tuple[int, ...]:
    """The target channel of each channel that `encode` sends; -1 marks padding."""
    if channels == 1:
        return (0, 0, 0)
    return tuple(range(channels)) + (-1,) * (-channels % 3)


def _one(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG", compress_level=1)
    return file.getvalue()
