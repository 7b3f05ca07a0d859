"""Pictures for stand-in players: [H, W, C] uint8 as concatenated 8-bit RGB PNGs, the way Unity compresses sensors."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from envs.players.protocol import PlayerSensor


def sensor(name: str, shape: tuple[int, int, int], channels_first: bool) -> PlayerSensor:
    """Of [H, W, C] pictures, described as com.unity.ml-agents >= 3.0 (channels first) or older ones do."""
    height, width, channels = shape
    if channels_first:
        shape, properties = (channels, height, width), (1, 2, 2)
    else:
        properties = (2, 2, 1)
    return PlayerSensor(name, shape, True, mapping(channels), properties)


def encode(picture: np.ndarray) -> bytes:
    """Three channels a PNG; one channel is sent as grey RGB; missing channels of the last PNG are black."""
    channels = picture.shape[2]
    if channels == 1:
        picture = np.repeat(picture, 3, axis=2)
    elif channels % 3:
        picture = np.concatenate([picture, np.zeros_like(picture[..., : 3 - channels % 3])], axis=2)
    return b"".join(_one(picture[..., first : first + 3]) for first in range(0, picture.shape[2], 3))


def mapping(channels: int) -> tuple[int, ...]:
    """Target channel of each source channel of `encode`; -1 is padding."""
    if channels == 1:
        return (0, 0, 0)
    return tuple(range(channels)) + (-1,) * (-channels % 3)


def _one(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG", compress_level=1)
    return file.getvalue()
