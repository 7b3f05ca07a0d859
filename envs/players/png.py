"""Sensors of pictures [H, W, C] uint8, which are sent as concatenated RGB PNGs, as Unity compresses them."""

from __future__ import annotations

from envs.players.protocol import PlayerSensor
from envs.png import encode, mapping

__all__ = ["encode", "mapping", "sensor"]


def sensor(name: str, shape: tuple[int, int, int], channels_first: bool) -> PlayerSensor:
    """A sensor of pictures [H, W, C], described as by com.unity.ml-agents >= 3.0 (channels first) or by older ones."""
    height, width, channels = shape
    if channels_first:
        return PlayerSensor(name, (channels, height, width), True, mapping(channels), (1, 2, 2))
    return PlayerSensor(name, shape, True, mapping(channels), (2, 2, 1))
