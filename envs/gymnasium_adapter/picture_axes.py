"""Decides which axes of a picture are its rows, its columns and its channels."""

from __future__ import annotations


def picture_axes(name: str, shape: tuple[int, ...], channels: str, remarks: list[str]) -> tuple[tuple[int, ...], bool]:
    """The order of axes that makes a picture [H, W, ...], and whether the axes after W become one of channels.

    `shape` is [H, W], a picture with channels, or a stack of such pictures, whose frames become channels.
    """
    if len(shape) == 2:
        return (0, 1), True
    stack = len(shape) - 3
    first = _channels_first(name, shape, channels, remarks)
    h, w, c = (stack + i for i in ((1, 2, 0) if first else (0, 1, 2)))
    return (h, w, *range(stack), c), stack > 0


def _channels_first(name: str, shape: tuple[int, ...], channels: str, remarks: list[str]) -> bool:
    """Whether the first axis holds the channels. In doubt the shorter one of first and last does, or the last."""
    first, height, last = shape[-3:]
    is_first = {
        "auto": first < last,
        "first": True,
        "last": False,
        "before": len(shape) == 3 and first <= 16 and min(height, last) >= 32,
    }[channels]
    if channels in ("auto", "before") and is_first:
        remarks.append(
            f"observation '{name}' of shape {shape} is taken as channels first and turned into [H, W, C]; "
            "base.channels=last says otherwise"
        )
    elif channels == "auto" and first == last > 1:
        remarks.append(
            f"observation '{name}' of shape {shape}: its first and its last axis could both be channels, the last is "
            "taken; base.channels=first says otherwise"
        )
    return is_first
